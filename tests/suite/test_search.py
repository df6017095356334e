"""A grid becomes one job for each combination, and the best of them the task's result."""

import dataclasses
import json
from pathlib import Path

import pytest

from mae_bench.config.overrides import as_options, parse_options
from mae_bench.results.overview import overview
from mae_bench.results.record import Record, read_record, write_record
from mae_bench.results.table import Task
from mae_bench.results.table_file import load_suite, write_suite
from mae_bench.suite.executor import LocalExecutor, run_jobs
from mae_bench.suite.plan import plan_jobs
from mae_bench.suite.search import best_cell, grid_points, settings_label
from mae_bench.suite.state import current_state

RECORD = Record(
    task="finetune",
    initialisation="MAE",
    metrics={"score": 0.0},
    config_file="a.py",
    config_sha256="ab",
    overrides={},
    seed=0,
    checkpoint=None,
    run_card={},
    data_counts={},
    versions={},
    git_revision=None,
    device="cpu",
    started="2024-01-01T00:00:00+00:00",
    finished="2024-01-01T00:00:01+00:00",
    duration_seconds=1.0,
    peak_memory_mib=None,
)


def test_values_reach_the_command_line_as_they_are():
    values = {"a": 0.001, "b": True, "c": None, "d": [1, [2.5, "x"]], "e": "mse", "f": -3}
    assert parse_options(as_options(values)) == values
    assert parse_options(as_options({"lr": "1e-3"})) == {"lr": 0.001}


def test_grid_is_the_product_with_short_labels():
    grid = {"optim_wrapper.optimizer.lr": [0.1, 0.2], "model.rate": [0, "x/y"]}
    points = grid_points(Task("linear", "a.py", overrides={"k": 1}, grid=grid, select="score"))
    assert [settings_label("linear", point) for point in points] == [
        "linear,lr=0.1,rate=0",
        "linear,lr=0.1,rate=x_y",
        "linear,lr=0.2,rate=0",
        "linear,lr=0.2,rate=x_y",
    ]
    assert points[3] == {"optim_wrapper.optimizer.lr": "0.2", "model.rate": "x/y"}
    clash = {"model.a.depth": "1", "model.b.depth": "2"}
    assert settings_label("t", clash) == "t,a.depth=1,b.depth=2"
    assert grid_points(Task("t", "a.py")) == [{}] and settings_label("t", {}) == "t"
    assert len(settings_label("t", {f"key{i}": "x" * 9 for i in range(30)})) < 160
    with pytest.raises(ValueError, match="twice"):
        grid_points(Task("t", "a.py", grid={"lr": [0.1, 0.1]}))


def test_best_is_by_the_mean_over_seeds_and_ignores_what_is_not_finite():
    values = {"a": [1.0, 5.0], "b": [3.5, 3.5], "c": [9.0, float("nan")], "d": [3.5, 3.5]}
    records = {
        f"seed{seed}/{task}": dataclasses.replace(RECORD, task=task, metrics={"score": value})
        for task, numbers in values.items()
        for seed, value in enumerate(numbers)
    }
    assert best_cell(records, "score", "max")[0] == "b"
    label, means = best_cell(records, "score", "min")
    assert label == "a"
    assert (means["a"], means["b"]) == (3.0, 3.5)
    with pytest.raises(ValueError, match=r"no metric 'acc' to select by; it has score"):
        best_cell(records, "acc", "max")
    nothing = {"x": dataclasses.replace(RECORD, metrics={"score": float("inf")})}
    with pytest.raises(ValueError, match="no run has a finite 'score'"):
        best_cell(nothing, "score", "max")


# Its score is -(lr - 2)^2 + seed / 10, so lr = 2 is best for every seed.
FAKE_TRAIN = """
import json, sys
from pathlib import Path
from mmengine.config import Config
from mae_bench.results.labels import run_labels
from mae_bench.results.record import Record, config_sha256, write_record
from mae_bench.config.overrides import parse_options

folder = Path(sys.argv[sys.argv.index("--work-dir") + 1])
options = dict(text.split("=") for text in sys.argv[sys.argv.index("--cfg-options") + 1:])
overrides = parse_options(options)
seed, lr = overrides["randomness.seed"], overrides.get("model.lr", 1.0)
labels = run_labels(folder, sys.argv[1])
(folder / "checkpoint.safetensors").write_text(f"lr {lr} seed {seed}")
(folder / "20240101/vis_data").mkdir(parents=True)
(folder / "20240101/vis_data/scalars.json").write_text('{"loss": 1, "step": 1}')
record = json.loads(Path("record.json").read_text())
record |= dict(
    task=labels.task, initialisation=labels.initialisation, cells=labels.cells,
    seed=seed, overrides=overrides,
    metrics={"score": -(lr - 2) ** 2 + seed / 10},
    config_sha256=config_sha256(sys.argv[1], overrides),
)
del record["schema_version"], record["digest"]
write_record(Record(**record), folder / "record.json")
"""


class Quiet:
    def event(self, line):
        pass

    def refresh(self, state):
        pass


def test_best_cell_becomes_the_tasks_run(workplace):
    workplace.suite = {
        "name": "search",
        "seeds": [0, 1],
        "rows": {"random": {}},
        "tasks": {
            "linear": {"config": "lin.py", "grid": {"model.lr": [1, 2]}, "select": "score"},
            "robustness": {"config": "rob.py", "test": "linear"},
        },
        "columns": {
            "l": {"task": "linear", "metric": "score"},
            "r": {"task": "robustness", "metric": "score"},
        },
    }
    Path("lin.py").write_text("model = dict(lr=1.0)\ndefault_scope = 'mmengine'\n")
    Path("tools/train.py").write_text(FAKE_TRAIN)
    write_record(RECORD, "record.json")
    suite = load_suite(workplace.write())
    jobs = plan_jobs(suite, "work").jobs
    write_suite(suite, "work")
    assert len(jobs) == 2 * (2 + 1 + 1)
    state = current_state(jobs, 2)
    run_jobs(state, LocalExecutor(2, []), Quiet())
    assert not state.failed
    for seed in (0, 1):
        folder = Path(f"work/seed{seed}/random/linear")
        record = read_record(folder / "record.json")
        assert (record.task, record.seed, record.overrides["model.lr"]) == ("linear", seed, 2)
        assert record.run_card["search"] == {
            "metric": "score",
            "best": "max",
            "chosen": f"seed{seed}/random/linear,lr=2",
            "means": {
                "linear,lr=1": pytest.approx(-0.95),
                "linear,lr=2": pytest.approx(0.05),
            },
        }
        assert (folder / "checkpoint.safetensors").read_text() == f"lr 2 seed {seed}"
        assert (folder / "20240101/vis_data/scalars.json").is_file()
        job = json.loads(Path(f"work/seed{seed}/random/robustness/job.json").read_text())
        assert str(folder / "checkpoint.safetensors") in job["command"]
    # the table has the chosen runs only
    (table,) = overview("work").own
    assert table.cells["random", "l"].values.by_seed == {0: 0.0, 1: 0.1}
    assert current_state(plan_jobs(suite, "work").jobs, 2).open() == []
