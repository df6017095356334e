"""The process of a job takes the command with it, however it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mae_bench.attempt import newest_attempt
from mae_bench.processes import process_start
from mae_bench.suite.executor import RUN_WORKER
from mae_bench.suite.plan import Job
from mae_bench.suite.worker import Worker

pytestmark = pytest.mark.faults

COMMAND = ("-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)")


@pytest.fixture
def job(tmp_path, monkeypatch) -> Job:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    folder = Path("work/seed0/a/b")
    return Job("seed0/a/b", "b", "a", 0, folder, COMMAND, None, None, (), None, "signature")


def start_worker(job: Job) -> tuple[subprocess.Popen[str], int]:
    """The worker, and the process of its command once it is at work."""
    process = subprocess.Popen([sys.executable, "-c", RUN_WORKER], stdin=subprocess.PIPE, text=True)
    order = {"job": job.to_json(), "parent": os.getpid()}
    json.dump(order, process.stdin)
    process.stdin.close()
    log = job.folder / "log.txt"
    deadline = time.monotonic() + 300
    while not (log.is_file() and log.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process, int(log.read_text())


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG")
def test_command_dies_with_a_killed_worker(job):
    worker, command = start_worker(job)
    assert process_start(command) is not None
    worker.kill()
    worker.wait()
    deadline = time.monotonic() + 60
    while process_start(command) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert not newest_attempt(job.folder).ended


def test_a_job_that_failed_since_its_runner_looked_is_not_tried_again(job):
    job.claim()
    note = job.folder / "failed.json"
    note.write_text('{"reason": "out of luck", "attempt": 1}')
    assert Worker(job).run() == "failed"
    assert "out of luck" in note.read_text() and not (job.folder / "log.txt").exists()
    # unless that is asked for, and of this failure
    again = replace(job, command=("-c", "raise SystemExit(7)"))
    assert Worker(again, retry=1).run() == "failed"
    assert json.loads(note.read_text())["reason"] == "exit code 7"


def test_stopped_worker_ends_its_command_and_lets_go(job):
    worker, command = start_worker(job)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(120) == 5
    assert process_start(command) is None
    assert newest_attempt(job.folder).data["outcome"] == "stopped"
    assert not (job.folder / "failed.json").exists()


def test_worker_that_lost_its_folder_kills_its_command(job, monkeypatch):
    worker, command = start_worker(job)
    # as if it had been suspended for long, and another machine had gone on with the job
    (job.folder / "attempts/2.json").write_text("{}")
    assert worker.wait(120) == 5
    assert process_start(command) is None
    assert json.loads((job.folder / "attempts/2.json").read_text()) == {}
