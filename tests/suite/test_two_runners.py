"""Runners share the work, are killed at random moments, and no job is ever done twice."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mae_bench.suite.plan import Job

pytestmark = pytest.mark.faults

# Stands for training. Says when somebody else is at the job, or the job has been done before.
COMMAND = """
import os, sys, time
from pathlib import Path
folder, name, task, initialisation, seed, kind = sys.argv[1:]
folder = Path(folder)

def event(what):
    descriptor = os.open("events.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{what} {name} {os.getpid()}\\n".encode())
    os.close(descriptor)

def alive(pid):
    state = Path(f"/proc/{pid}/stat")
    try:
        return state.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False

if (folder / "record.json").exists():
    event("AGAIN")
for line in Path("events.txt").read_text().splitlines() if Path("events.txt").exists() else []:
    if line.startswith(f"start {name} ") and alive(line.split()[2]):
        event("COLLISION")
event("start")
if kind == "fail":
    sys.exit("out of luck")
time.sleep(0.2)
from mae_bench.results.record import Record, write_record
write_record(Record(
    task=task, initialisation=initialisation, metrics={"score": 1.0}, config_file="a.py",
    config_sha256="", overrides={}, seed=int(seed), checkpoint=None, run_card={}, data_counts={},
    versions={}, git_revision=None, device="cpu", started="2024-01-01T00:00:00+00:00",
    finished="2024-01-01T00:00:01+00:00", duration_seconds=1.0, peak_memory_mib=None,
), folder / "record.json")
"""
RUNNER = """
import json, sys
from mae_bench.suite.executor import LocalExecutor, run_jobs
from mae_bench.suite.plan import Job
from mae_bench.suite.state import current_state

class Display:
    def event(self, line): print(line, file=sys.stderr, flush=True)
    def refresh(self, state): pass

slots = int(sys.argv[1])
jobs = [Job.from_json(data) for data in json.load(open("jobs.json"))]
state = current_state(jobs, slots)
run_jobs(state, LocalExecutor(slots, []), Display())
print(len(state.done), sorted(state.failed), sorted(state.blocked))
sys.exit(1 if state.failed else 0)
"""


def make_jobs() -> list[Job]:
    """4 tasks of 3 initialisations with 2 seeds, one of which fails; one task needs another."""
    jobs = []
    for seed in range(2):
        for initialisation in ("random", "MAE", "file"):
            for task in ("finetune", "linear", "detection", "robustness"):
                name = f"seed{seed}/{initialisation}/{task}"
                kind = "fail" if name == "seed1/MAE/finetune" else "ok"
                needs = (f"seed{seed}/{initialisation}/finetune",) if task == "robustness" else ()
                command = ("job.py", f"work/{name}", name, task, initialisation, str(seed), kind)
                where = Path("work", name)
                job = Job(
                    name, task, initialisation, seed, where, command, None, None, needs, 1, ""
                )
                jobs.append(job)
    return jobs


def start_runner(slots: int) -> subprocess.Popen[str]:
    command = [sys.executable, "runner.py", str(slots)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def starts() -> int:
    path = Path("events.txt")
    return path.read_text().count("start ") if path.exists() else 0


def wait_for_starts(number: int) -> None:
    deadline = time.monotonic() + 300
    while starts() < number:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="looks processes up in /proc")
@pytest.mark.parametrize("slots", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_killed_runners_lose_nothing_and_repeat_nothing(
    tmp_path, monkeypatch, slots, chance, tally
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    Path("job.py").write_text(COMMAND)
    Path("runner.py").write_text(RUNNER)
    jobs = make_jobs()
    Path("jobs.json").write_text(json.dumps([job.to_json() for job in jobs]))

    first = start_runner(slots)
    wait_for_starts(3)
    time.sleep(chance.uniform(0, 0.4))
    first.kill()
    first.communicate()
    second = start_runner(slots)
    third = start_runner(slots)
    wait_for_starts(starts() + 4)
    time.sleep(chance.uniform(0, 0.4))
    second.kill()
    second.communicate()
    tally["kills"] += 2
    # and the process of a job, which cannot clean up behind it
    wait_for_starts(starts() + 2)
    for path in sorted(Path("work").glob("*/*/*/attempts/*.json"), key=os.path.getmtime)[-1:]:
        data = json.loads(path.read_text())
        if data["ended"] is None:
            os.kill(data["pid"], signal.SIGKILL)
            tally["kills"] += 1
    third.communicate(timeout=300)
    last = start_runner(slots)
    output, _ = last.communicate(timeout=300)

    assert output.strip() == "22 ['seed1/MAE/finetune'] ['seed1/MAE/robustness']"
    assert last.returncode == 1
    events = Path("events.txt").read_text().splitlines()
    tally["jobs started"] = sum(line.startswith("start") for line in events)
    assert not [line for line in events if line.startswith(("AGAIN", "COLLISION"))]
    assert {line.split()[1] for line in events} == {job.name for job in jobs} - {
        "seed1/MAE/robustness"
    }
    # three kills, each of at most `slots` jobs
    assert 23 <= len(events) <= 23 + 3 * slots, "\n".join(events)
    assert len(list(Path("work").rglob("record.json"))) == 22
