"""Exactly one process holds a job's folder, and a dead one holds nothing."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mae_bench import attempt as attempt_module
from mae_bench.attempt import Watch, newest_attempt, process_start, take

# Takes the folder in argv[1], says so, and lives until its standard input is closed.
HOLD = """
import sys
from pathlib import Path
from mae_bench.attempt import Watch, take
print(take(Path(sys.argv[1]), Watch()) is not None, flush=True)
sys.stdin.read()
"""


def hold(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return process, process.stdout.readline().strip() == "True"


def edit(folder: Path, **changes) -> None:
    path = newest_attempt(folder).path
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_folder_is_held_by_one_process_until_it_ends(tmp_path):
    process, held = hold(tmp_path)
    assert held
    assert take(tmp_path, Watch()) is None
    process.kill()
    # not yet waited for: a zombie holds nothing
    deadline = time.monotonic() + 60
    while (mine := take(tmp_path, Watch())) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.communicate()
    assert mine.number == 2
    assert take(tmp_path, Watch()) is None
    mine.end("done")
    data = json.loads((tmp_path / "attempts/2.json").read_text())
    assert data["outcome"] == "done"
    assert data["pid"] == os.getpid()
    assert take(tmp_path, Watch()).number == 3


def test_of_many_that_find_a_dead_process_one_follows_it(tmp_path):
    for round_number in range(5):
        folder = tmp_path / str(round_number)
        process, _ = hold(folder)
        process.kill()
        process.communicate()
        with ThreadPoolExecutor(8) as pool:
            taken = list(pool.map(lambda _, where=folder: take(where, Watch()), range(8)))
        assert [one.number for one in taken if one] == [2]


def test_number_of_a_dead_process_may_be_another_ones_now(tmp_path):
    take(tmp_path, Watch())
    edit(tmp_path, process_start="1")
    assert take(tmp_path, Watch()).number == 2


def test_process_of_another_machine_is_dead_when_its_file_has_not_moved_for_long(
    tmp_path, monkeypatch
):
    take(tmp_path, Watch())
    # this process is alive, but its number says nothing on another machine, whose clock is wrong
    edit(tmp_path, machine="another", pid=1)
    path = newest_attempt(tmp_path).path
    os.utime(path, (1000, 1000))
    clock = [50.0]
    monkeypatch.setattr(attempt_module.time, "monotonic", lambda: clock[0])
    watch = Watch(stale_seconds=100)
    assert watch.alive(newest_attempt(tmp_path))
    clock[0] += 99
    assert watch.alive(newest_attempt(tmp_path))
    os.utime(path, (1005, 1005))  # a heartbeat
    assert watch.alive(newest_attempt(tmp_path))
    clock[0] += 99
    assert take(tmp_path, watch) is None
    clock[0] += 2
    assert not watch.alive(newest_attempt(tmp_path))
    # a worker has not watched for long itself: it is told
    assert take(tmp_path, Watch()) is None
    assert take(tmp_path, Watch(), dead=1).number == 2


def test_one_that_was_given_up_notices(tmp_path):
    first = take(tmp_path, Watch())
    before = first.path.stat().st_mtime_ns
    os.utime(first.path, (1000, 1000))
    assert first.beat()
    assert first.path.stat().st_mtime_ns >= before
    second = take(tmp_path, Watch(), dead=1)
    assert not first.beat()
    assert second.beat()


@pytest.mark.parametrize(("restarts", "number"), [("0", None), ("1", 2)])
def test_requeued_slurm_job_follows_itself_on_another_node(tmp_path, monkeypatch, restarts, number):
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    take(tmp_path, Watch())
    edit(tmp_path, machine="another")
    assert newest_attempt(tmp_path).data["slurm_job"] == "12_3"
    monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    taken = take(tmp_path, Watch())
    assert (taken and taken.number) == number


def test_process_start_tells_processes_apart():
    assert process_start(os.getpid()) == process_start(os.getpid())
    assert process_start(os.getpid()) != process_start(1)
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process_start(child.pid) is None  # a zombie
    child.wait()
    assert process_start(child.pid) is None
