"""A suite of real, tiny jobs runs to its end under each executor, whatever is killed meanwhile."""

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from mae_bench.results.record import read_record

from .small_slurm import missing_programs, small_slurm

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = "configs/cls/vit_mini"
BATCH = {"train_dataloader.batch_size": 4, "train_dataloader.num_workers": 0}
TINY = {"train_cfg.max_epochs": 1, "param_scheduler": [], **BATCH}
TINY["train_dataloader.dataset.indices"] = 8
CLASSIFY = {**TINY, "train_dataloader.dataset.ann_file": "meta/train_10.txt"}
SUITE = {
    "name": "tiny MiniWorld",
    "seeds": [0, 1],
    "rows": {
        "random": {},
        "MAE": {
            "start": {
                "pretrain": "configs/pretrain/mae_vit_mini_miniworld.py",
                "overrides": TINY,
                "resources": {"gpus": 2},  # two processes, of gloo
            }
        },
        "file": {"start": {"checkpoint": "other.safetensors"}},
    },
    "columns": {
        "fine-tuned top-1": {"task": "finetune", "metric": "accuracy/top1"},
        "linear top-1": {"task": "linear", "metric": "accuracy/top1"},
        "mIoU": {"task": "segmentation", "metric": "mIoU"},
        "corruption error": {
            "quantity": "corruption error",
            "task": "robustness",
            "metric": "imagenet_c/mean_error",
        },
    },
    "tasks": {
        "finetune": {
            "config": f"{CONFIGS}_finetune_miniworld.py",
            "overrides": CLASSIFY,
            "resources": {"gpus": 2, "amp": "bfloat16"},
        },
        "linear": {
            "config": f"{CONFIGS}_linear_miniworld.py",
            "overrides": CLASSIFY,
        },
        "segmentation": {
            "config": "configs/seg/upernet_vit_mini_miniworld.py",
            "overrides": TINY,
        },
        "robustness": {
            "config": f"{CONFIGS}_robustness_miniworld.py",
            "test": "finetune",
        },
    },
}
FAILING = "seed1/random/linear"
# In place of tools/train.py and tools/test.py: notes each start, and fails where it is told to.
WRAPPER = f"""
import os, runpy, sys
from pathlib import Path
job = "/".join(sys.argv[sys.argv.index("--work-dir") + 1].split("/")[-3:])
again = " AGAIN" if Path("work", job, "record.json").exists() else ""
if os.environ.get("RANK", "0") == "0":
    with open("starts.txt", "a") as file:
        file.write(job + again + "\\n")
if job == Path("failing.txt").read_text():
    sys.exit("made to fail")
sys.path.insert(0, {str(REPOSITORY)!r})
runpy.run_path({str(REPOSITORY / "tools")!r} + "/" + Path(__file__).name, run_name="__main__")
"""


@pytest.fixture
def workplace(world, tmp_path, monkeypatch) -> Path:
    """The current folder: configs, data, commands that can be made to fail, and the suite."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    Path("configs").symlink_to(REPOSITORY / "configs")
    Path("data").mkdir()
    Path("data/miniworld").symlink_to(world)
    Path("tools").mkdir()
    for name in ("train.py", "test.py"):
        Path("tools", name).write_text(WRAPPER)
    Path("failing.txt").write_text(FAILING)
    options = [f"{key}={value}" for key, value in {**TINY, "randomness.seed": 7}.items()]
    command = [sys.executable, str(REPOSITORY / "tools/train.py")]
    command += ["configs/pretrain/mae_vit_mini_miniworld.py", "--work-dir", "other"]
    subprocess.run([*command, "--cfg-options", *options], check=True, capture_output=True)
    shutil.copy("other/checkpoint.safetensors", "other.safetensors")
    Path("suite.yaml").write_text(yaml.safe_dump(SUITE, sort_keys=False))
    return tmp_path


@contextmanager
def cluster(executor: str, folder: Path, monkeypatch) -> Iterator[list[str]]:
    """Options of the executor, with what it needs running."""
    if executor != "slurm":
        yield ["--executor", executor]
        return
    if missing := missing_programs():
        pytest.skip(f"missing: {', '.join(missing)}; see docs/suites.md")
    with small_slurm(folder) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield ["--executor", "slurm", "--slurm", "time=60"]


def start(options: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, str(REPOSITORY / "tools/run_suite.py"), "suite.yaml"]
    return subprocess.Popen(
        [*command, "--work-dir", "work", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def starts() -> list[str]:
    return Path("starts.txt").read_text().splitlines() if Path("starts.txt").exists() else []


def wait_for_starts(number: int) -> None:
    deadline = time.monotonic() + 600
    while len(starts()) < number:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["inline", "local", "slurm"])
def test_suite_of_26_jobs_survives_kills_and_one_failure(
    workplace, tmp_path_factory, monkeypatch, executor
):
    folder = tmp_path_factory.mktemp("slurm")
    chance = random.Random()  # another moment in every run of this test
    with cluster(executor, folder / "node", monkeypatch) as options:
        first = start(options)
        wait_for_starts(3)
        time.sleep(chance.uniform(0, 8))
        first.kill()
        first.communicate()
        second = start(options)
        third = start(options)
        wait_for_starts(len(starts()) + 4)
        time.sleep(chance.uniform(0, 8))
        second.kill()
        second.communicate()
        output, errors = third.communicate(timeout=3000)
    assert third.returncode == 1, errors
    assert f"failed: {FAILING}: exit code 1: made to fail" in errors

    names = {f"seed{seed}/MAE/pretrain" for seed in SUITE["seeds"]} | {
        f"seed{seed}/{initialisation}/{task}"
        for seed in SUITE["seeds"]
        for initialisation in SUITE["rows"]
        for task in SUITE["tasks"]
    }
    assert len(names) == 26
    records = {
        str(path.parent)[5:]: read_record(path) for path in Path("work").rglob("record.json")
    }
    assert set(records) == names - {FAILING}
    assert not [line for line in starts() if "AGAIN" in line]
    for name in names:
        # a job that was cut short started once more; all others started once
        files = sorted(Path("work", name, "attempts").glob("*.json"))
        outcomes = [json.loads(path.read_text())["outcome"] for path in files]
        assert outcomes[-1] == ("failed" if name == FAILING else "done")
        assert set(outcomes[:-1]) <= {"stopped", None, "done"}
        assert starts().count(name) == 1 + sum(one in ("stopped", None) for one in outcomes[:-1])
    # two kills, each of at most two jobs; a Slurm job outlives its runner
    assert len(starts()) - 26 <= {"inline": 2, "local": 4, "slurm": 0}[executor]

    report = Path("work/report.html").read_text()
    for name in records:
        assert name in report
    failure = json.loads(Path("work", FAILING, "failed.json").read_text())
    assert failure["log_tail"] == ["made to fail"]
    Path("failing.txt").write_text("")
    with cluster(executor, folder / "again", monkeypatch) as options:
        again = start([*options, "--retry-failed"])
        output, errors = again.communicate(timeout=600)
    assert again.returncode == 0, errors
    assert len(starts()) - 26 <= {"inline": 3, "local": 5, "slurm": 1}[executor]
    table = Path("work/table.md").read_text().splitlines()
    rows = [line for line in table if line.startswith(tuple(f"| {row} " for row in SUITE["rows"]))]
    assert len(rows) == len(SUITE["rows"])
    assert all(row.count("±") == 4 for row in rows)  # every cell has both seeds
