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
from mae_bench.attempt import (
    ATTEMPT_VARIABLE,
    TAKEN_OVER,
    Watch,
    held,
    newest_attempt,
    take,
)
from mae_bench.processes import process_start

pytestmark = pytest.mark.faults

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


# Holds the folder in argv[1] as a run does, with hearts that beat fast.
RUN = """
import sys, time
from pathlib import Path
from mae_bench import attempt
attempt.HEARTBEAT_SECONDS = 0.02
with attempt.held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def start_run(folder):
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process = subprocess.Popen([sys.executable, "-c", RUN, str(folder)], **pipes)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_run_keeps_others_out_until_it_ends_or_dies(tmp_path):
    process = start_run(tmp_path)
    with pytest.raises(ValueError, match=rf"{process.pid}, since .* is at work there; wait for it"):
        held(tmp_path).__enter__()
    process.communicate("")
    assert newest_attempt(tmp_path).data["outcome"] == "done"
    process = start_run(tmp_path)
    process.kill()
    process.communicate()
    with pytest.raises(KeyboardInterrupt), held(tmp_path) as mine:
        assert mine.number == 3
        raise KeyboardInterrupt
    assert newest_attempt(tmp_path).data["outcome"] == "stopped"


def test_a_run_that_was_taken_for_dead_stops_writing(tmp_path):
    process = start_run(tmp_path)
    first = newest_attempt(tmp_path).path
    before = first.stat().st_mtime_ns
    deadline = time.monotonic() + 60
    while first.stat().st_mtime_ns == before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert take(tmp_path, Watch(), dead=1).number == 2
    assert process.wait(60) == TAKEN_OVER
    assert "another process has taken this folder over" in process.stderr.read()
    process.communicate()


def test_a_command_is_at_work_for_the_process_that_started_it(tmp_path, monkeypatch):
    mine = take(tmp_path, Watch())
    monkeypatch.setenv(ATTEMPT_VARIABLE, str(mine.path))
    with held(tmp_path) as attempt:
        assert attempt.number == 1
    assert not newest_attempt(tmp_path).ended  # the starter says how it went
    # another folder is not meant
    with held(tmp_path / "other"):
        assert newest_attempt(tmp_path / "other").number == 1
    take(tmp_path, Watch(), dead=1)
    with pytest.raises(ValueError, match="is at work there"):
        held(tmp_path).__enter__()


@pytest.mark.parametrize("lives", [True, False])
def test_a_run_of_another_machine_is_watched_before_it_is_followed(
    tmp_path, monkeypatch, capsys, lives
):
    take(tmp_path, Watch())
    edit(tmp_path, machine="another", host="far")
    path = newest_attempt(tmp_path).path
    clock = [50.0]

    def sleep(seconds):
        clock[0] += seconds
        if lives and clock[0] > 60:
            os.utime(path, (1000 + clock[0], 1000 + clock[0]))

    monkeypatch.setattr(attempt_module.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(attempt_module.time, "sleep", sleep)
    if lives:
        with pytest.raises(ValueError, match=r"far:\d+, since .* is at work there"):
            held(tmp_path).__enter__()
        assert 10 < clock[0] - 50 < 15
    else:
        with held(tmp_path) as mine:
            assert mine.number == 2
        assert 180 <= clock[0] - 50 < 185
    assert f"looking whether far:{os.getpid()} is still at work" in capsys.readouterr().err


WRONG_TYPE = {**attempt_module.UNKNOWN, "slurm_restarts": "1"}
INCOMPLETE = {"started": attempt_module.UNKNOWN["started"], "pid": 1, "more": 1}


@pytest.mark.parametrize(
    "content",
    [
        *("", "null", "{}", "[" * 5000, '{"started": 5}', "\0" * 400),
        *map(json.dumps, (WRONG_TYPE, INCOMPLETE)),
    ],
)
def test_an_attempt_with_a_damaged_file_is_judged_by_its_heartbeat(tmp_path, monkeypatch, content):
    take(tmp_path, Watch())
    (tmp_path / "attempts/2.bak.json").write_text("a copy of somebody's")
    path = newest_attempt(tmp_path).path
    assert path.name == "1.json"
    path.write_text(content)
    clock = [50.0]
    monkeypatch.setattr(attempt_module.time, "monotonic", lambda: clock[0])
    watch = Watch(stale_seconds=100)
    assert take(tmp_path, watch) is None
    assert "does not name" in newest_attempt(tmp_path).where
    clock[0] += 101
    assert take(tmp_path, watch).number == 2
