"""What a person is told about how far a suite is."""

import io
import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

from rich.console import Console

from mae_bench.suite.display import BarDisplay, PlainDisplay, ProgressReader, duration
from mae_bench.suite.plan import Job
from mae_bench.suite.state import Running, State


def _job(folder, name, minutes):
    return Job(name, name, "", 0, folder / name, (), "", None, (), minutes, "")


def _running(job, seconds_ago):
    return Running(job, "here:1", time.time() - seconds_ago)


def test_duration():
    assert [duration(x) for x in (40, 600, 3900, 3599)] == [
        "40 s",
        "10 min",
        "1 h 05 min",
        "1 h 00 min",
    ]


def test_estimate_scales_the_suites_minutes_by_what_finished_jobs_took(tmp_path):
    jobs = [_job(tmp_path, "a", 1), _job(tmp_path, "b", 2), _job(tmp_path, "c", 3)]
    # a was to take 60 s and took 90 s, so b and c take 180 s and 270 s, one after the other
    state = State(jobs, 1, {"a"}, {"a": 90.0})
    assert ProgressReader().left(state) == "about 8 min"
    state.failed["b"] = "reason"
    assert ProgressReader().left(state) == "about 4 min"
    jobs.append(_job(tmp_path, "d", None))
    assert ProgressReader().left(state) == "at least 4 min"
    nothing_known = State([_job(tmp_path, "e", None)], 1)
    assert ProgressReader().left(nothing_known) == "an unknown time"


def test_running_job_goes_on_at_its_own_pace(tmp_path, monkeypatch):
    job = _job(tmp_path, "a", 100)
    job.folder.mkdir()
    state = State([job], 1, set(), {})
    state.running["a"] = _running(job, 5)
    clock = SimpleNamespace(now=time.monotonic())
    monkeypatch.setattr("mae_bench.suite.display.time.monotonic", lambda: clock.now)
    reader = ProgressReader()
    file = job.folder / "progress.json"
    file.write_text(json.dumps({"step": 10, "total": 50}))
    reader.read(state.running["a"])
    clock.now += 20  # 10 steps in 20 s: 30 more take 60 s
    file.write_text(json.dumps({"step": 20, "total": 50, "loss": 0.5}))
    assert reader.left(state) == "about 1 min"


def test_progress_left_by_an_interrupted_run_is_not_shown(tmp_path):
    job = _job(tmp_path, "a", 1)
    job.folder.mkdir()
    file = job.folder / "progress.json"
    file.write_text(json.dumps({"step": 10, "total": 50}))
    os.utime(file, (time.time() - 1000,) * 2)
    assert ProgressReader().read(_running(job, 5)) == {}
    file.write_text("{")
    assert ProgressReader().read(_running(job, 5)) == {}


def test_both_displays_say_step_loss_and_counts(tmp_path: Path):
    jobs = [_job(tmp_path, "a", 1), _job(tmp_path, "b", 1)]
    jobs[0].folder.mkdir()
    (jobs[0].folder / "progress.json").write_text('{"step": 10, "total": 50, "loss": 0.25}')
    state = State(jobs, 2, {"b"}, {"b": 60.0})
    state.running["a"] = _running(jobs[0], 5)
    for display_type, options in ((PlainDisplay, {"seconds": 0}), (BarDisplay, {})):
        out = io.StringIO()
        terminal = display_type is BarDisplay
        with display_type(
            Console(file=out, width=200, force_terminal=terminal), **options
        ) as display:
            display.event("started  [a]")
            display.refresh(state)
        for text in ("started  [a]", "1/2 done, 1 running", "10/50, loss 0.25"):
            assert text in out.getvalue()
