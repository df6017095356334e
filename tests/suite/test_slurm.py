"""Jobs on a real Slurm of one node: submitted, cancelled, preempted, resumed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mae_bench.results.table_file import load_suite
from mae_bench.suite.plan import plan_jobs
from mae_bench.suite.slurm import SlurmExecutor
from mae_bench.suite.state import current_state

from .small_slurm import missing_programs, small_slurm

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    if missing := missing_programs():
        pytest.skip(f"missing: {', '.join(missing)}; see docs/suites.md")
    with small_slurm(tmp_path_factory.mktemp("slurm") / "node") as environment:
        before = dict(os.environ)
        os.environ.update(environment)
        yield
        os.environ.clear()
        os.environ.update(before)


def start() -> subprocess.Popen[str]:
    command = [sys.executable, str(REPOSITORY / "tools/run_suite.py"), "suite.yaml"]
    command += ["--work-dir", "work", "--executor", "slurm", "--slurm", "time=10"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(what: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def slurm_id(name: str) -> str:
    return json.loads(Path("work", name, "slurm.json").read_text())["id"]


def outcomes(name: str) -> list[str | None]:
    paths = sorted(Path("work", name, "attempts").glob("[1-9]*.json"))
    return [json.loads(path.read_text())["outcome"] for path in paths]


@pytest.mark.slow
def test_jobs_are_submitted_preempted_and_resumed(slurm, workplace):
    workplace.behave({"seed0/MAE/finetune": "hang", "seed0/random/linear": "fail"})
    runner = start()
    wait_for(lambda: Path("hanging.pid").exists())
    identifier = slurm_id("seed0/MAE/finetune")
    assert "_" in identifier  # of the array of the two jobs that need the pre-training
    # a runner that dies takes nothing with it, and the next one submits nothing twice
    runner.kill()
    runner.communicate()
    queue = set(subprocess.check_output(["squeue", "-h", "-r", "-o", "%i"], text=True).split())
    assert {identifier, slurm_id("seed0/MAE/robustness")} <= queue
    runner = start()

    workplace.behave({"seed0/random/linear": "fail"})
    subprocess.run(["scontrol", "requeue", identifier], check=True)
    wait_for(lambda: outcomes("seed0/MAE/finetune") == ["stopped"])
    # Slurm lets a requeued job wait for two minutes
    again = ["scontrol", "update", f"jobid={identifier}", "StartTime=now"]
    wait_for(lambda: subprocess.run(again, capture_output=True).returncode == 0)
    output, errors = runner.communicate(timeout=300)
    assert outcomes("seed0/MAE/finetune") == ["stopped", "done"], output + errors
    assert runner.returncode == 1
    assert "failed: seed0/random/linear: exit code 1: RuntimeError: out of luck" in errors
    assert "submitted" not in output  # by the second runner
    started = [line for line in workplace.events() if line.startswith("start ")]
    assert sorted(started) == sorted([*set(started), "start seed0/MAE/finetune"])
    assert len(started) == 8


@pytest.mark.slow
def test_cancelled_job_is_told_and_submitted_again_by_the_next_run(slurm, workplace):
    workplace.behave({"seed0/MAE/finetune": "hang"})
    runner = start()
    wait_for(lambda: Path("hanging.pid").exists())
    first = slurm_id("seed0/MAE/finetune")
    subprocess.run(["scancel", first], check=True)
    output, errors = runner.communicate(timeout=300)
    assert runner.returncode == 1, output
    assert f"seed0/MAE/finetune: Slurm job {first} ended without a result" in errors
    assert "blocked: seed0/MAE/robustness: it needs seed0/MAE/finetune" in errors
    with pytest.raises(ProcessLookupError):
        os.kill(int(Path("hanging.pid").read_text()), 0)

    workplace.behave({})
    runner = start()
    output, errors = runner.communicate(timeout=300)
    assert runner.returncode == 0, errors
    assert output.count("submitted") == 2
    assert not Path("work/seed0/MAE/finetune/slurm.json").exists()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"time": 5, "partitions": "x"}, "--slurm partitions: unknown"),
        ({}, "time=MINUTES is missing"),
    ],
)
def test_wrong_parameters_are_named(tmp_path, monkeypatch, parameters, message):
    pytest.importorskip("submitit")
    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=message):
        SlurmExecutor(tmp_path / "work", parameters)
    (tmp_path / "srun").unlink()
    with pytest.raises(ValueError, match="is this a cluster"):
        SlurmExecutor(tmp_path / "work", {"time": 5})


def test_a_job_of_several_nodes_asks_for_a_task_a_gpu(workplace, monkeypatch):
    submitit = pytest.importorskip("submitit")
    scripts = []

    def submit(executor, command):
        scripts.append(executor._make_submission_file_text(command, "id"))
        raise KeyboardInterrupt

    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda cls: 2))
    monkeypatch.setattr(submitit.SlurmExecutor, "_submit_command", submit)
    workplace.only("linear")
    workplace.suite["resources"] = {"gpus": 8, "nodes": 2, "cpus_per_gpu": 12}
    state = current_state(plan_jobs(load_suite(workplace.write()), "work").jobs, 1)
    executor = SlurmExecutor(Path("work"), {"time": 600})
    executor._asked = 0.0
    with pytest.raises(KeyboardInterrupt):
        executor.start(state, state.jobs)
    lines = set(scripts[0].splitlines())
    wanted = {"nodes=2", "ntasks-per-node=8", "gpus-per-node=8", "cpus-per-task=12"}
    assert {f"#SBATCH --{one}" for one in wanted} <= lines
    # what submitit starts is one task, which starts the others
    assert "--overlap --nodes=1 --ntasks=1 --ntasks-per-node=1 " in scripts[0]
