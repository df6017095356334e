"""The command for a machine with a GPU: what it does without one, and all of it rehearsed."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.measure import shown, utilisation
from mae_bench.training.gpus import GPUS, gpu_of_device

ROOT = Path(__file__).parents[2]
REVISION = "a" * 40

# In place of tools/benchmark.py: NAME --json FILE.
TOOL = """
import json, sys
from pathlib import Path
_, name, _, file = sys.argv
with Path("called.txt").open("a") as called:
    called.write(name + "\\n")
spread = dict(median=2.0, low=1.0, high=4000.0)
row = [name, 1234.5, 0.0123, None, spread]
table = dict(title="### T", header=list("abcde"), rows=[row])
Path(file).write_text(json.dumps(dict(tables=[table])))
if name == "large":
    sys.exit("error: OutOfMemoryError: CUDA out of memory. Tried to allocate 1 GiB")
if Path(name).exists():
    sys.exit("error: broken")
"""


@pytest.fixture
def rehearsal(tmp_path, monkeypatch):
    """Run the command on three parts that are made up, in a folder of its own."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/benchmark.py").write_text(TOOL)
    about = dict(machine="m", revision=REVISION, packages=dict(torch="t"))
    monkeypatch.setattr(gpu, "ROOT", tmp_path)
    monkeypatch.setattr(gpu, "timed_parts", lambda _: {n: [n] for n in ("base", "large", "loader")})
    monkeypatch.setattr(gpu, "describe", lambda device: about)

    def run() -> tuple[int, dict, list[str]]:
        (tmp_path / "called.txt").unlink(missing_ok=True)
        code = gpu.run(argparse.Namespace(device="cpu", out=tmp_path / "out"))
        report = json.loads((tmp_path / "out/gpu.json").read_text())
        called = tmp_path / "called.txt"
        return code, report, called.read_text().split() if called.exists() else []

    run.about = about
    return run


def test_what_does_not_fit_is_told_and_the_rest_goes_on(rehearsal, tmp_path):
    code, report, called = rehearsal()
    assert code == 0 and called == ["base", "large", "loader"]
    found = {name: part["status"] for name, part in report["parts"].items()}
    assert found == {"base": "done", "large": "out of memory", "loader": "done"}
    assert "1 GiB" in report["parts"]["large"]["message"]
    page = (tmp_path / "out/gpu.md").read_text()
    assert "## large: out of memory" in page
    assert "| base | 1234 | 0.0123 | - | 2.00 [1.00-4000] |" in page


def test_an_interrupted_run_keeps_the_parts_done(rehearsal, tmp_path):
    (tmp_path / "loader").touch()
    code, report, _ = rehearsal()
    assert code == 1 and report["parts"]["loader"]["status"] == "failed"
    del report["parts"]["large"]  # as if it had been stopped in there
    (tmp_path / "out/gpu.json").write_text(json.dumps(report))
    (tmp_path / "loader").unlink()
    code, report, called = rehearsal()
    assert code == 0 and called == ["large", "loader"]
    assert list(report["parts"]) == ["base", "large", "loader"]
    assert rehearsal()[2] == ["base", "large", "loader"]  # of one that was whole nothing is left


@pytest.mark.parametrize("revision", ["b" * 40, f"{REVISION}-dirty", None])
def test_parts_of_another_commit_are_done_anew(rehearsal, tmp_path, revision):
    _, report, _ = rehearsal()
    del report["parts"]["large"]
    rehearsal.about["revision"] = revision
    if revision != "b" * 40:  # which says nothing about what the code is now
        report["about"]["revision"] = revision
    (tmp_path / "out/gpu.json").write_text(json.dumps(report))
    assert rehearsal()[2] == ["base", "large", "loader"]


def test_every_part_of_a_gpu_is_a_command(monkeypatch):
    memory = argparse.Namespace(total_memory=24 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: memory)
    parts = gpu.timed_parts(rehearsal=False)
    assert {arguments[0] for arguments in parts.values()} == {
        *("pretrain", "det", "seg", "evaluation", "loader")
    }
    for size in ("base", "large", "huge"):
        for name in ("pretrain", "det", "seg", "evaluation"):
            assert f"{name}_{size}" in parts
    assert "--batch 78" in " ".join(parts["pretrain_base"])  # 24 of 80 GB
    for name, (command, *arguments) in parts.items():
        module = __import__(f"benchmarks.{command}", fromlist=["add_arguments"])
        parser = argparse.ArgumentParser(exit_on_error=False)
        module.add_arguments(parser)
        parser.parse_args(arguments), name


def test_a_test_that_was_skipped_was_not_done(tmp_path):
    path = tmp_path / "found.xml"
    path.write_text(
        '<testsuites><testsuite><testcase name="a" time="1.5"><properties>'
        '<property name="cosine" value="0.99"/><property name="kernel" value="x"/>'
        "</properties></testcase>"
        '<testcase name="b" time="0"><skipped message="no GPU"/></testcase>'
        "</testsuite></testsuites>"
    )
    first, second = gpu.read_tests(path)
    assert first == dict(
        name="a", outcome="passed", seconds=1.5, measured={"cosine": 0.99, "kernel": "x"}
    )
    assert second["outcome"] == "skipped" and second["message"] == "no GPU"


def test_without_a_gpu_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="needs a GPU, and PyTorch .* finds none"):
        gpu.run(argparse.Namespace(device="cuda", out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("device", "key"),
    [
        ("NVIDIA H100 80GB HBM3", "h100-80g"),
        ("NVIDIA A100-SXM4-80GB", "a100-80g"),
        ("NVIDIA A100 80GB PCIe", "a100-80g"),
        ("Tesla V100-SXM2-16GB", "v100-16g"),
        ("NVIDIA GeForce RTX 4090", "rtx4090-24g"),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
    ],
)
def test_mfu_is_of_the_data_sheet_of_that_gpu(device, key, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: device)
    assert gpu_of_device(device) == (GPUS[key] if key else None)
    if key is None:
        assert utilisation(1.0, 1.0, "bfloat16") is None
        return
    gflops = GPUS[key].mixed * 1000  # of one second at the peak
    assert utilisation(gflops, 2.0, "bfloat16") == pytest.approx(0.5)
    assert utilisation(gflops, 2.0, "float32") > 0.5


def test_numbers_are_shown_with_three_digits():
    cells = (0.0000123, 0.01234, 1.0, 98.76, 1234.5, 0.0, 7, None, "x")
    expected = ["1.23e-05", "0.0123", "1.00", "98.8", "1234", "0.0", "7", "-", "x"]
    assert list(map(shown, cells)) == expected


def command(*arguments: str, device: str | None = None) -> subprocess.CompletedProcess:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    env.update(CUDA_VISIBLE_DEVICES="", **(dict(GPU_TESTS_DEVICE=device) if device else {}))
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=env, capture_output=True, text=True
    )


@pytest.mark.slow
def test_the_tests_of_a_gpu_are_neither_run_unasked_nor_skipped():
    for marks in ([], ["-m", "slow"], ["-m", "not slow"]):
        unasked = command("-m", "pytest", "-q", "--collect-only", *marks, "tests/gpu")
        assert unasked.returncode == 5 and "no tests collected" in unasked.stdout
    asked = command("-m", "pytest", "-q", "-m", "gpu", "tests/gpu")
    assert asked.returncode == 1 and "PyTorch finds none" in asked.stdout + asked.stderr
    whole = command("tools/benchmark.py", "gpu")
    assert whole.returncode == 2 and "needs a GPU" in whole.stderr


@pytest.mark.slow
def test_everything_is_rehearsed_on_a_cpu(tmp_path):
    done = command("tools/benchmark.py", "gpu", "--device", "cpu", "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    report = json.loads((tmp_path / "gpu.json").read_text())
    parts = report["parts"]
    assert {part["status"] for part in parts.values()} == {"done"}
    tests = {test["name"]: test for name in parts for test in parts[name].get("tests", [])}
    assert {test["outcome"] for test in tests.values()} == {"passed"}
    assert tests["test_the_chosen_kernel[no bias-float32]"]["measured"]["operator"] == "flash"
    assert tests["test_processes_take_the_steps_of_one[fsdp]"]["measured"]["processes"] == 2
    for name, peer in (
        ("pretrain_tiny", "mmpretrain"),
        ("det_tiny", "written out"),
        ("seg_tiny", "mmsegmentation"),
        ("evaluation_tiny", "like timm's validate.py"),
    ):
        table = parts[name]["tables"][0]
        rows = {row[0]: dict(zip(table["header"], row, strict=True)) for row in table["rows"]}
        assert rows[peer]["images/s"] > 0 and rows[peer]["peak MiB"] >= 0
        assert rows[peer]["MFU"] is None  # a CPU is on no data sheet here
    page = (tmp_path / "gpu.md").read_text()
    assert all(f"## {name}: done" in page for name in parts)
    assert (tmp_path / "det_tiny.log").stat().st_size
