"""A job of several nodes is that of one process, by a real Slurm or what stands for its srun."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mae_bench.results.curves import read_scalars
from mae_bench.results.record import read_record
from mae_bench.results.table_file import load_suite
from mae_bench.suite.plan import plan_jobs
from mae_bench.suite.worker import Worker

from .small_slurm import missing_programs, small_slurm
from .test_whole_suite import start

SUITE = """\
name: nodes
columns: {loss: {task: pretrain, metric: duration_seconds}}
rows:
  MAE:
    start:
      pretrain: configs/pretrain/mae_vit_mini_miniworld.py
      overrides:
        train_cfg.max_epochs: EPOCHS
        param_scheduler: []
        total_batch_size: 8
        train_dataloader.num_workers: 0
        train_dataloader.dataset.indices: 16
"""
# Starts as many processes as it is told to, with the variables that Slurm's own sets.
FAKE_SRUN = """\
#!{python}
import os, subprocess, sys
end = sys.argv.index("sh")
values = dict(one.lstrip("-").partition("=")[::2] for one in sys.argv[1:end])
tasks, each = int(values["ntasks"]), int(values["ntasks-per-node"])
assert tasks == each * int(values["nodes"])
assert not {{name for name in os.environ if name.startswith("SLURM_")}} - {{"SLURM_JOB_ID"}}
running = []
for task in range(tasks):
    of_task = dict(PROCID=task, LOCALID=task % each, NODEID=task // each, NTASKS=tasks)
    environment = {{f"SLURM_{{name}}": str(value) for name, value in of_task.items()}}
    running.append(subprocess.Popen(sys.argv[end:], env={{**os.environ, **environment}}))
sys.exit(max(process.wait() for process in running))
"""


def write_suite(epochs: int) -> None:
    Path("suite.yaml").write_text(SUITE.replace("EPOCHS", str(epochs)))


@pytest.fixture(autouse=True)
def suite_file(repository) -> None:
    write_suite(epochs=1)


@pytest.fixture
def two_nodes(repository, tmp_path_factory, monkeypatch) -> Iterator[list[str]]:
    """Options of the suite for two nodes of a real Slurm, which runs as long as the test."""
    if missing := missing_programs():
        pytest.skip(f"missing: {', '.join(missing)}; see docs/suites.md")
    with small_slurm(tmp_path_factory.mktemp("slurm") / "nodes", nodes=2) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        options = ["--executor", "slurm", "--slurm", "time=60"]
        yield [*options, "--resources", "gpus=2", "nodes=2"]


def train(work_dir: str, **processes: int) -> Path:
    (job,) = plan_jobs(load_suite("suite.yaml"), work_dir).jobs
    assert Worker(job, **processes).run() == "done", (job.folder / "log.txt").read_text()
    return job.folder


def assert_same_run(own: Path, one: Path, processes: int) -> None:
    card = read_record(own / "record.json").run_card
    assert (card["processes"], card["effective_batch"]) == (processes, 8)
    weights, expected = (load_file(folder / "checkpoint.safetensors") for folder in (own, one))
    assert weights.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_two_nodes_of_two_processes_are_one_process(repository, monkeypatch):
    Path("bin").mkdir()
    Path("bin/srun").write_text(FAKE_SRUN.format(python=sys.executable))
    Path("bin/srun").chmod(0o755)
    one = train("one")
    monkeypatch.setenv("PATH", f"{repository / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_NTASKS", "1")  # of the step that the worker is in
    assert_same_run(train("work", processes=2, nodes=2), one, 4)


def finish(runner: subprocess.Popen[str]) -> None:
    output, errors = runner.communicate(timeout=900)
    assert runner.returncode == 0, output + errors


@pytest.mark.slow
def test_two_nodes_of_a_real_slurm(two_nodes):
    one = train("one")
    finish(start(two_nodes))
    assert_same_run(Path("work/seed0/MAE/pretrain"), one, 4)


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 600
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.slow
def test_two_nodes_that_are_requeued_go_on(two_nodes):
    write_suite(epochs=40)
    folder = Path("work/seed0/MAE/pretrain")
    finish(start(two_nodes))
    whole = read_scalars(folder).loss.points
    Path("work").rename("whole")
    runner = start(two_nodes)
    wait_for(lambda: any(folder.glob("epoch_*.pth")))
    identifier = json.loads((folder / "slurm.json").read_text())["id"]
    subprocess.run(["scontrol", "requeue", identifier], check=True)
    first = folder / "attempts/1.json"
    wait_for(lambda: json.loads(first.read_text())["outcome"] == "stopped")
    # Slurm lets a requeued job wait for two minutes
    again = ["scontrol", "update", f"jobid={identifier}", "StartTime=now"]
    wait_for(lambda: subprocess.run(again, capture_output=True).returncode == 0)
    finish(runner)
    outcomes = [json.loads(path.read_text())["outcome"] for path in folder.glob("attempts/*.json")]
    assert sorted(outcomes) == ["done", "stopped"]
    assert "resumed epoch" in (folder / "log.txt").read_text()
    # not to the bit: four numbers are added up in an order that is another after a start
    assert read_scalars(folder).loss.points == pytest.approx(whole, rel=1e-6)


@pytest.mark.slow
def test_one_machine_refuses_two_nodes(repository):
    runner = start(["--resources", "nodes=2"])
    _, errors = runner.communicate(timeout=300)
    assert runner.returncode == 2
    assert "seed0/MAE/pretrain: its resources have nodes=2" in errors
    assert "give --executor slurm, or --resources nodes=1" in errors
    assert not Path("work").exists()
