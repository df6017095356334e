"""Runners of two hosts are killed and stopped at random over a file system that shows the past."""

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.faults,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks processes up in /proc"),
]
HERE = Path(__file__).parent
TWO_RUNNERS = runpy.run_path(str(HERE.with_name("suite") / "test_two_runners.py"))
LEASE = 4.0
SECONDS = 25.0  # of disturbance
LIMIT = 300.0  # for all jobs to be over afterwards
HOSTS = [
    {"machine": "a", "lease": LEASE, "clock": -7200.0, "stale": 0.5, "lost": 0.1},
    {"machine": "a", "lease": LEASE, "clock": -7200.0, "stale": 0.5, "lost": 0.1},
    {"machine": "b", "lease": LEASE, "clock": 3600.0, "stale": 0.5, "lost": 0.1},
]


def start(host: dict) -> subprocess.Popen[bytes]:
    path = f"{HERE}:{HERE.parents[1]}"
    environment = {**os.environ, "FAULTS": json.dumps(host), "PYTHONPATH": path}
    command = [sys.executable, "runner.py", "1"]
    # to a file: of a pipe there is no end while a stopped process has it open
    with Path("output.txt").open("w") as output:
        return subprocess.Popen(command, stdout=output, env=environment)


def below(pid: int) -> list[int]:
    """Processes that a process has started, and those that they have."""
    try:
        own = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [int(child) for child in own] + [more for child in own for more in below(int(child))]


def send(pids: list[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def test_nothing_is_lost_or_done_twice(tmp_path, monkeypatch, chance, tally):
    monkeypatch.chdir(tmp_path)
    # one that is stopped does nothing, whatever it is taken for
    Path("job.py").write_text(TWO_RUNNERS["COMMAND"].replace('"ZX"', '"ZXT"').replace("0.2", "1.5"))
    runner = TWO_RUNNERS["RUNNER"].replace("(jobs, slots)", "(jobs, slots, retry_failed=True)")
    Path("runner.py").write_text(runner)
    jobs = TWO_RUNNERS["make_jobs"]()
    Path("jobs.json").write_text(json.dumps([job.to_json() for job in jobs]))
    runners = [start(host) for host in HOSTS]
    stopped: list[tuple[float, list[int]]] = []
    tally["hung"] = 0
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        time.sleep(chance.uniform(0.3, 1.2))
        place = chance.randrange(len(runners))
        family = below(runners[place].pid)
        what = chance.choice(["runner", "process", "stop", "nothing"])
        if what == "runner":
            runners[place].kill()
        elif what == "process" and family:
            send([chance.choice(family)], signal.SIGKILL)
        elif what == "stop" and family:
            send(family, signal.SIGSTOP)
            stopped.append((time.monotonic() + chance.uniform(0.5, 2 * LEASE), family))
        tally["faults"] += what != "nothing"
        for until, pids in stopped:
            if time.monotonic() >= until:
                send(pids, signal.SIGCONT)
        for index, one in enumerate(runners):
            if one.poll() is not None:
                runners[index] = start(HOSTS[index])
    for _, pids in stopped:
        send(pids, signal.SIGCONT)
    # what was killed while it was watched is tried once more, by one that meets no other
    for one in [*runners, None]:
        last = one or start(HOSTS[0])
        try:
            last.wait(LIMIT)
        except subprocess.TimeoutExpired:
            tally["hung"] += 1
            send([*below(last.pid), last.pid], signal.SIGKILL)
    events = Path("events.txt").read_text().splitlines()
    tally["jobs started"] = sum(line.startswith("start") for line in events)
    tally["lost"] = 22 - len(list(Path("work").rglob("record.json")))
    for what in ("AGAIN", "COLLISION"):
        tally[what.lower()] = sum(line.startswith(what) for line in events)
    output = Path("output.txt").read_text().strip()
    assert output == "22 ['seed1/MAE/finetune'] ['seed1/MAE/robustness']"
    assert (tally["lost"], tally["again"], tally["collision"], tally["hung"]) == (0, 0, 0, 0)
