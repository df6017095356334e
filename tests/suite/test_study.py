"""A search by Optuna: any number of runners, killed or not, tries each setting once."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from mae_bench.results.overview import overview
from mae_bench.results.record import read_record, write_record
from mae_bench.results.table import Search
from mae_bench.results.table_file import load_suite, write_suite
from mae_bench.suite.executor import LocalExecutor, run_jobs
from mae_bench.suite.plan import plan_jobs
from mae_bench.suite.state import current_state
from mae_bench.suite.study import Study

from .test_executor import command_line
from .test_search import RECORD, Quiet

# Its score after epoch e is -(lr - 2)^2 + e / 100. It goes on from its state, and says what it did.
FAKE_TRAIN = """
import json, os, sys, time
from pathlib import Path
from mae_bench.results.labels import run_labels
from mae_bench.results.record import Record, write_record
from mae_bench.config.overrides import read_options

folder = Path(sys.argv[sys.argv.index("--work-dir") + 1])
overrides = read_options(sys.argv[sys.argv.index("--cfg-options") + 1:])
seed, lr = overrides["randomness.seed"], overrides["model.lr"]
behaviour = json.loads(Path("behaviour.json").read_text())

def say(line):
    descriptor = os.open("events.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\\n".encode())

state = folder / "state.txt"
curve = folder / f"{os.getpid()}/vis_data/scalars.json"
curve.parent.mkdir(parents=True)
first = int(state.read_text()) if state.exists() else 0
if lr > behaviour.get("diverges from", 99):
    sys.exit("error: the loss is nan at step 1 with lr 1")
if behaviour.get("fails"):
    sys.exit("error: the loss is large; out of luck")
for epoch in range(first + 1, behaviour["epochs"] + 1):
    time.sleep(behaviour["seconds"])
    say(f"{folder.name} {epoch}")
    score = -(lr - 2) ** 2 + epoch / 100
    with curve.open("a") as file:
        file.write(json.dumps({"score": score, "step": epoch}) + "\\n")
    state.write_text(str(epoch))
labels = run_labels(folder, sys.argv[1])
(folder / "checkpoint.safetensors").write_text(f"lr {lr} seed {seed}")
record = json.loads(Path("record.json").read_text())
record |= dict(
    task=labels.task, initialisation=labels.initialisation, cells=labels.cells,
    seed=seed, overrides=overrides, metrics={"score": score + seed / 10},
)
del record["schema_version"], record["digest"]
write_record(Record(**record), folder / "record.json")
"""
SPACE = {"model.lr": {"low": 0.5, "high": 4.0}, "model.kind": ["a", "b,c"]}


@pytest.fixture
def search(workplace):
    """The repository in miniature with a search of 5 trials by two runners."""
    workplace.suite = {
        "name": "search",
        "seeds": [0, 1],
        "rows": {"random": {}},
        "tasks": {
            "linear": {
                "config": "lin.py",
                "select": "score",
                "search": {"space": SPACE, "trials": 5, "runners": 2},
            },
            "robustness": {"config": "rob.py", "test": "linear"},
        },
        "columns": {"l": {"task": "linear", "metric": "score"}},
    }
    Path("lin.py").write_text("model = dict(lr=1.0, kind='a')\ndefault_scope = 'mmengine'\n")
    Path("tools/train.py").write_text(FAKE_TRAIN)
    write_record(RECORD, "record.json")
    behave()
    return workplace


def behave(**changes) -> None:
    Path("behaviour.json").write_text(json.dumps({"epochs": 2, "seconds": 0.0, **changes}))


def settings(workplace) -> dict:
    return workplace.suite["tasks"]["linear"]["search"]


def run(workplace, slots: int = 2):
    suite = load_suite(workplace.write())
    jobs = plan_jobs(suite, "work").jobs
    write_suite(suite, "work")
    state = current_state(jobs, slots)
    run_jobs(state, LocalExecutor(slots, []), Quiet())
    return state


def study(workplace) -> Study:
    job = next(job for job in plan_jobs(load_suite(workplace.write()), "work").jobs if job.search)
    return Study(Path("work"), job.search, "max")


def folders() -> list[str]:
    paths = Path("work/seed0/random").glob("linear,trial*")
    return sorted(path.name for path in paths if path.is_dir())


def test_the_best_setting_is_taken_by_all_seeds(search):
    state = run(search)
    assert not state.failed, state.failed
    names = [f"linear,trial{number}" for number in range(5)]
    assert folders() == names
    card = read_record("work/seed0/random/linear/record.json").run_card["search"]
    assert card["trials"] == 5 and card["sampler"] == "tpe" and card["best"] == "max"
    assert 0 < card["gpu_hours"] < 0.1
    records = [read_record(f"work/seed0/random/{name}/record.json") for name in names]
    assert not any(record.cells for record in records)
    rates = [record.overrides["model.lr"] for record in records]
    best = min(rates, key=lambda lr: abs(lr - 2))
    assert card["chosen"] == f"seed0/random/{names[rates.index(best)]}"
    for seed in (0, 1):
        record = read_record(f"work/seed{seed}/random/linear/record.json")
        assert (record.overrides["model.lr"], record.seed) == (best, seed)
        assert record.overrides["model.kind"] in ("a", "b,c")
    (table,) = overview("work").own
    cell = table.cells["random", "l"]
    score = -((best - 2) ** 2) + 0.02
    assert cell.values.by_seed == pytest.approx({0: score, 1: score + 0.1})
    assert any(note.startswith("best of 5 settings tried by tpe in ") for note in cell.notes)
    # nothing is done twice
    search.events()
    assert not run(search).open() and search.events() == []


def test_a_search_is_not_the_training_without_settings(search):
    """Which another task may have, with the same config and seed."""
    search.suite["tasks"]["plain"] = {"config": "lin.py"}
    for first in ("plain", "linear"):
        second = {"plain": "linear", "linear": "plain"}[first]
        search.suite["columns"] = {
            name: {"task": name, "metric": "score"} for name in (first, second)
        }
        jobs = {job.name: job for job in plan_jobs(load_suite(search.write()), "work").jobs}
        assert jobs["seed1/random/linear"].settings_of == "seed0/random/linear"
        assert jobs["seed1/random/linear"].needs == ("seed0/random/linear",)
        for seed in (0, 1):
            plain = jobs[f"seed{seed}/random/plain"]
            assert plain.search is None and not plain.needs and plain.command[0] != "-m"


def test_proposals_follow_from_the_seed(search, tmp_path):
    def rates(folder: str, seed: int, sampler: str = "tpe") -> list[float]:
        one = Search(SPACE, trials=12, seed=seed, sampler=sampler, name="s/l", select="score")
        found = []
        for _ in range(12):
            # a new process for each trial, as runners that come and go
            own = Study(tmp_path / folder, one, "max")
            trial = own.next("me", 1)
            assert own.next("me", 1) == trial  # interrupted
            found.append(float(trial.options["model.lr"]))
            own.finished(trial, -((found[-1] - 2) ** 2), {})
        assert Study(tmp_path / folder, one, "max").next("me", 1) is None
        return found

    first = rates("a", 0)
    assert rates("b", 0) == first
    assert rates("c", 1) != first
    assert len(set(first)) == 12 and len(set(rates("d", 0, "random"))) == 12


@pytest.mark.parametrize("lowest", [0.1, math.nan])
def test_halving_stops_and_resumes_as_asha_has_it(lowest, search, tmp_path):
    one = Search(SPACE, trials=9, rungs=[1, 3], name="s/l", select="score")
    own = Study(tmp_path, one, "max")
    values = [lowest, 0.9, lowest, 0.3, 0.4, 0.8, 0.5, 0.6, 0.7]  # after each epoch
    begun, ended, log = [], [], []
    while (trial := own.next("me", 1)) is not None:
        number = int(trial.name.rpartition("trial")[2])
        begun.append(number)
        for epoch in range(1, 5):
            curve = {float(e): values[number] for e in range(1, epoch + 1)}
            if own.report(trial, curve):
                own.stopped(trial)
                log.append((number, epoch))
                break
        else:
            own.finished(trial, values[number], {})
            ended.append(number)
    # By hand: the first stops. Of three the best, 1, goes on at once or when it becomes so; of six
    # two, 1 and 5; of nine three, 1, 5 and 8. Of those three 1 goes on beyond the second rung.
    assert sorted(set(begun)) == list(range(9))
    assert {number for number, epoch in log if epoch == 3} == {1, 5, 8}
    assert ended == [1] and own.best()[0] == "s/l,trial1"
    assert own.cost()["trials"] == 9
    # the first three stop, each of the others goes on as soon as it is among the best
    assert len(begun) - 9 == len(log) + len(ended) - 9


def test_a_search_has_a_result_though_nothing_was_promoted(search, tmp_path):
    one = Search(SPACE, trials=2, rungs=[1], name="s/l", select="score")
    own = Study(tmp_path, one, "min")
    for value in (0.1, 0.2):
        trial = own.next("me", 1)
        assert own.report(trial, {1.0: value})
        own.stopped(trial)
    trial = own.next("me", 1)
    assert trial.name == "s/l,trial0"
    own.finished(trial, 0.1, {})
    assert own.next("me", 1) is None


@pytest.mark.slow
def test_what_diverges_has_lost_and_what_fails_is_told(search):
    behave(**{"diverges from": 2.5})
    settings(search).update(trials=8, runners=1, sampler="random")
    state = run(search)
    assert not state.failed
    card = read_record("work/seed0/random/linear/record.json").run_card["search"]
    assert card["trials"] == 8 and 0 < len(card["means"]) < 8
    behave(fails=True)
    settings(search)["seed"] = 1
    suite = load_suite(search.write())
    jobs = plan_jobs(suite, "other").jobs
    state = current_state(jobs, 1)
    run_jobs(state, LocalExecutor(1, []), Quiet())
    (reason,) = state.failed.values()
    assert "of seed0/random/linear,trial0" in reason and "out of luck" in reason


@pytest.mark.slow
def test_no_trial_is_begun_once_the_hours_are_spent(search):
    settings(search).update(gpu_hours=10 / 3600, runners=1)
    del settings(search)["trials"]
    behave(seconds=0.5)
    state = run(search)
    assert not state.failed
    own = study(search)
    paths = Path("work/seed0/random").glob("linear,trial*/attempts/*.json")
    attempts = sorted((json.loads(path.read_text()) for path in paths), key=lambda a: a["started"])
    times = [[datetime.fromisoformat(one[key]) for key in ("started", "ended")] for one in attempts]
    took = [(ended - started).total_seconds() for started, ended in times]
    assert len(took) == own.cost()["trials"] >= 2
    assert sum(took[:-1]) < 10 <= sum(took) + 0.01
    assert own.cost()["gpu_hours"] == pytest.approx(sum(took) / 3600, abs=1e-4)


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("halving", [False, True])
def test_two_runners_one_of_which_is_killed(search, chance, tally, halving):
    settings(search).update(trials=9)
    if halving:
        settings(search).update(rungs=[2])
    behave(epochs=6, seconds=1.0 if halving else 0.2)
    command = command_line(search, "--jobs", "1")
    first, second = (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    )
    deadline = time.monotonic() + 300
    while len(folders()) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(chance.uniform(0, 1))
    os.kill(first.pid, signal.SIGKILL)
    tally["kills"] += 1
    first.communicate()
    output, errors = second.communicate(timeout=300)
    assert second.returncode == 0, output + errors
    own = study(search)
    assert folders() == [f"linear,trial{number}" for number in range(9)]
    assert own.cost()["trials"] == 9
    events = [line for line in search.events() if line.startswith("linear,trial")]
    # the one that was killed may have written its epoch twice, or not its state
    assert len(events) - len(set(events)) <= 1
    ended = {line.split()[0] for line in events if line.endswith(" 6")}
    assert len(own.values()) == len(ended)
    assert len(ended) < 9 if halving else len(ended) == 9
    tally["epochs saved"] = 9 * 6 - len(set(events))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": {"model.lr": {"low": 1}}}, "search.space.model.lr.*high"),
        ({"space": {"model.lr": {"low": 2, "high": 1}}}, "a 'low' below its 'high'"),
        ({"space": {"model.lr": {"low": 0, "high": 1, "log": True}}}, "above 0 with 'log'"),
        ({"trials": None}, "search.trials' must be 1 or more"),
        ({"sampler": "best"}, "sampler' must be one of tpe, gp, random"),
        ({"rungs": [3, 1]}, "rungs' must be steps of the schedule"),
        ({"pruner": 1}, "search.pruner"),
    ],
)
def test_wrong_searches_are_named(search, change, message):
    settings(search).update(change)
    with pytest.raises(ValueError, match=message):
        load_suite(search.write())


def test_a_search_is_asked_for_in_one_way(search):
    task = search.suite["tasks"]["linear"]
    task["grid"] = {"model.lr": [1, 2]}
    with pytest.raises(ValueError, match="search' and 'grid' exclude each other"):
        load_suite(search.write())
    del task["grid"], task["select"]
    with pytest.raises(ValueError, match="search' and 'select', .* need each other"):
        load_suite(search.write())
    task["select"] = "score"
    del settings(search)["trials"]
    with pytest.raises(ValueError, match="search' needs a budget: 'trials', 'gpu_hours' or both"):
        load_suite(search.write())


def test_without_optuna_the_fix_is_named(search, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(
        ValueError, match=r"a search needs Optuna: pip install 'mae-bench\[search\]'"
    ):
        Study(tmp_path, replace(Search(SPACE), name="s"), "max")
