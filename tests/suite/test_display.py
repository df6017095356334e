"""What a person is told about how far a suite is."""

import io
import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from mae_bench.suite.display import (
    BarDisplay,
    PlainDisplay,
    ProgressReader,
    StallWatch,
    duration,
)
from mae_bench.suite.plan import Job
from mae_bench.suite.state import Running, State
from mae_bench.text import PlainConsole


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


def test_damaged_progress_is_not_shown(tmp_path):
    job = _job(tmp_path, "a", 1)
    job.folder.mkdir()
    file = job.folder / "progress.json"
    for content in (
        "{",
        "null",
        "[]",
        '{"step": "x", "total": 1}',
        '{"step": 3, "total": 0}',
        "{}",
    ):
        file.write_text(content)
        assert ProgressReader().read(_running(job, 5)) == {}
    file.write_text('{"step": 3, "total": 2}')
    assert ProgressReader().read(_running(job, 5)) == {}


@pytest.mark.faults
def test_a_clock_that_was_set_makes_no_estimate_of_its_own(tmp_path):
    job = _job(tmp_path, "a", 10)
    state = State([job], 1)
    for seconds_ago in (-7200, 0):
        state.running["a"] = _running(job, seconds_ago)
        assert ProgressReader().left(state) == "about 10 min"


def test_a_job_without_progress_is_said_once_and_again_after_it_went_on(tmp_path, monkeypatch):
    jobs = [_job(tmp_path, "a", 1), _job(tmp_path, "b", 1)]
    state = State(jobs, 2)
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("mae_bench.suite.display.time.monotonic", lambda: clock.now)
    watch = StallWatch(seconds=600)
    for job in jobs:
        job.folder.mkdir()
        state.running[job.name] = _running(job, 5)
    assert watch.news(state) == []
    clock.now += 599
    (jobs[1].folder / "progress.json").write_text("{}")  # b goes on
    assert watch.news(state) == []
    clock.now += 1
    (line,) = watch.news(state)
    assert line.startswith("STILL    a: no progress for 10 min (here:1); see ")
    clock.now += 598
    assert watch.news(state) == []  # said before; b has one second left
    (jobs[0].folder / "log.txt").write_text("goes on")
    assert watch.news(state) == []
    clock.now += 1000
    assert [line.split(":")[0] for line in watch.news(state)] == ["STILL    a", "STILL    b"]


def test_names_are_no_markup(tmp_path):
    job = _job(tmp_path, "runs[seed0] [/x] [bold]", 1)
    state = State([job], 1, set(), {})
    state.running[job.name] = _running(job, 5)
    out = io.StringIO()
    with BarDisplay(PlainConsole(file=out, width=200, force_terminal=True)) as display:
        display.refresh(state)
    assert "runs[seed0] [/x] [bold]" in out.getvalue()


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
            PlainConsole(file=out, width=200, force_terminal=terminal), **options
        ) as display:
            display.event("started  [a]")
            display.refresh(state)
        for text in ("started  [a]", "1/2 done, 1 running", "10/50, loss 0.25"):
            assert text in out.getvalue()
