"""Suite files are validated, and planned as the right jobs."""

import itertools
from functools import reduce
from pathlib import Path

import pytest
import yaml

from mae_bench.config.load import load_config
from mae_bench.results.table_file import load_suite
from mae_bench.suite.plan import plan_jobs

REPOSITORY = Path(__file__).resolve().parents[2]


def planned(workplace):
    return plan_jobs(load_suite(workplace.write()), "work").jobs


def test_misspelt_override_is_found_before_anything_runs(workplace):
    Path("lin.py").write_text("model = dict(depth=1, lr=1)\ndefault_scope = 'mmengine'\n")
    workplace.suite["tasks"]["linear"]["overrides"] = {"model.deph": 2}
    with pytest.raises(ValueError, match=r"lin\.py.*'model\.deph'.*did you mean 'depth'") as caught:
        planned(workplace)
    assert str(caught.value).startswith("suite.yaml: ")
    workplace.suite["tasks"]["linear"]["overrides"] = {"model.depth": 2, "model.lr": "1e-3"}
    workplace.suite["rows"]["MAE"]["start"]["overrides"] = {"model.lr": 0.5}
    Path("pre.py").write_text(Path("lin.py").read_text())
    jobs = {job.name: job for job in planned(workplace)}
    options = ["--cfg-options", "randomness.seed=0", "model.depth=2", "model.lr=0.001"]
    assert list(jobs["seed0/random/linear"].command[-4:]) == options
    assert jobs["seed0/MAE/pretrain"].command[-1] == "model.lr=0.5"


def test_config_that_does_not_load_is_named(workplace):
    Path("lin.py").write_text("lr = 1 +\n")
    with pytest.raises(ValueError, match=r"suite\.yaml: config lin\.py does not load"):
        plan_jobs(load_suite(workplace.suite_file), "work")


def test_jobs_are_the_product_with_their_needs_and_commands(workplace):
    workplace.suite["seeds"] = [0, 3]
    jobs = {job.name: job for job in planned(workplace)}
    per_seed = ["random/finetune", "random/linear", "random/robustness", "MAE/pretrain"]
    per_seed += ["MAE/finetune", "MAE/linear", "MAE/robustness"]
    assert set(jobs) == {f"seed{seed}/{name}" for seed in (0, 3) for name in per_seed}

    assert jobs["seed3/random/linear"].needs == ()
    assert jobs["seed3/MAE/linear"].needs == ("seed3/MAE/pretrain",)
    assert jobs["seed3/MAE/robustness"].needs == ("seed3/MAE/finetune",)
    assert not Path("work").exists()

    assert " ".join(jobs["seed3/MAE/linear"].command) == (
        "tools/train.py lin.py --resume --work-dir work/seed3/MAE/linear "
        "--checkpoint work/seed3/MAE/pretrain/checkpoint.safetensors --cfg-options "
        "randomness.seed=3"
    )
    assert "--checkpoint" not in jobs["seed3/random/linear"].command
    assert " ".join(jobs["seed0/random/robustness"].command) == (
        "tools/test.py rob.py work/seed0/random/finetune/checkpoint.safetensors "
        "--out work/seed0/random/robustness/record.json --work-dir work/seed0/random/robustness "
        "--cfg-options randomness.seed=0"
    )


def test_a_task_after_another_takes_nothing_of_it(workplace):
    tasks = workplace.suite["tasks"]
    alone = {job.name: job for job in planned(workplace)}
    tasks["linear"]["after"] = "finetune"
    jobs = {job.name: job for job in planned(workplace)}
    assert jobs["seed0/random/linear"].needs == ("seed0/random/finetune",)
    assert jobs["seed0/MAE/linear"].needs == ("seed0/MAE/pretrain", "seed0/MAE/finetune")
    for name, job in jobs.items():
        assert (job.command, job.signature) == (alone[name].command, alone[name].signature)
    del workplace.suite["columns"]["f"], workplace.suite["columns"]["r"]
    assert "seed0/MAE/finetune" in {job.name for job in planned(workplace)}
    for wrong in ("linear", "robustness", "nothing"):
        tasks["robustness"]["after"] = "finetune"
        tasks["linear"]["after"] = wrong
        with pytest.raises(ValueError, match=f"'tasks.linear.after' names no task .*'{wrong}'"):
            planned(workplace)
    tasks["finetune"]["after"], tasks["linear"] = "robustness", {"config": "lin.py"}
    del tasks["robustness"]["after"]  # which tests it
    with pytest.raises(ValueError, match="'tasks.finetune.after' names no task .*'robustness'"):
        planned(workplace)


def test_signature_follows_config_values_seed_and_what_came_before(workplace):
    def signatures():
        return {j.name: j.signature for j in planned(workplace)}

    before = signatures()
    assert len(set(before.values())) == len(before)
    Path("pre.py").write_text("# a comment changes nothing\nlr = 1.0\nwhat = 'pre.py'\n")
    assert signatures() == before
    Path("pre.py").write_text("lr = 2.0\n")
    changed = {name for name, signature in signatures().items() if signature != before[name]}
    assert changed == {name for name in before if name.startswith("seed0/MAE/")}


def test_checkpoint_given_by_the_user_enters_by_its_bytes(workplace):
    Path("a.safetensors").write_bytes(b"one")
    del workplace.suite["baseline"]
    workplace.suite["rows"] = {"mine": {"start": {"checkpoint": "a.safetensors"}}}
    suite = load_suite(workplace.write())
    before = plan_jobs(suite, "work").jobs
    assert [job.needs for job in before] == [(), ("seed0/mine/finetune",), ()]
    Path("a.safetensors").write_bytes(b"two")
    after = plan_jobs(suite, "work").jobs
    assert all(a.signature != b.signature for a, b in zip(before, after, strict=True))


def test_cells_of_one_run_share_its_job(workplace):
    workplace.only("linear")
    workplace.suite["columns"]["again"] = {"task": "linear", "metric": "other"}
    (job,) = [job for job in planned(workplace) if job.name == "seed0/random/linear"]
    claims = [{"table": "test suite", "row": "random", "column": c} for c in ("l", "again")]
    assert job.cells == claims == job.description()["cells"]


def test_tables_share_the_jobs_of_equal_runs(workplace):
    workplace.only("linear")
    other = {**workplace.suite, "name": "other", "tasks": {"probe": {"config": "lin.py"}}}
    other["columns"] = {"x": {"task": "probe", "metric": "score"}}
    Path("both.yaml").write_text(
        yaml.safe_dump({"name": "both", "tables": [workplace.suite, other]}, sort_keys=False)
    )
    jobs = plan_jobs(load_suite("both.yaml"), "work").jobs
    names = ["seed0/random/linear", "seed0/MAE/pretrain", "seed0/MAE/linear"]
    assert [job.name for job in jobs] == names
    assert [claim["table"] for claim in jobs[2].cells] == ["test suite", "other"]


def test_only_some_cells(workplace):
    suite = load_suite(workplace.write())
    jobs = plan_jobs(suite, "work", only="MAE, l").jobs
    assert [job.name for job in jobs] == ["seed0/MAE/pretrain", "seed0/MAE/linear"]
    with pytest.raises(ValueError, match="no cell to measure is named by --only 'MA'"):
        plan_jobs(suite, "work", only="MA")


def test_everything_that_is_missing_is_listed(workplace):
    del workplace.suite["baseline"]
    workplace.suite["rows"] = {
        "a": {"start": {"checkpoint": "gone.pth"}},
        "b": {"start": {"checkpoint": "mae:vit_base"}},
    }
    workplace.suite["tasks"]["linear"]["config"] = "gone.py"
    plan = plan_jobs(load_suite(workplace.write()), "work")
    assert len(plan.jobs) == 6
    gone, config, known = plan.missing.items()
    assert gone[0] == "gone.pth" and gone[1][0] == "test suite: a, r"
    assert config == ("gone.py", ["test suite: a, l", "test suite: b, l"])
    file = "checkpoints/mae_pretrain_vit_base.pth (mae:vit_base, about 343 MB, from https://dl.fb"
    assert known[0].startswith(file)
    assert "mae:vit_base" in next(job for job in plan.jobs if "/b/" in job.name).command
    assert plan.absent == ["gone.pth", "mae:vit_base"]


def test_a_folder_of_hugging_face_is_a_start(workplace):
    del workplace.suite["baseline"]
    Path("hf").mkdir()
    Path("hf/model.safetensors").write_bytes(b"weights")
    workplace.suite["rows"] = {"a": {"start": {"checkpoint": "hf"}}}
    plan = plan_jobs(load_suite(workplace.write()), "work")
    assert not plan.missing
    assert "hf" in next(job for job in plan.jobs if "/a/" in job.name).command


def test_a_kept_epoch_is_a_start(workplace):
    Path("pre.py").write_text(
        "from mae_bench.training.hooks import ExportCheckpoint, RunCard\n"
        "model = dict()\ndefault_scope = 'mmengine'\n"
        "custom_hooks = [dict(type=RunCard), dict(type=ExportCheckpoint, method='m', data='d')]\n"
    )
    workplace.only("linear")
    start = {"pretrain": "pre.py"}
    workplace.suite["rows"] = {
        "random": {},
        "10": {"start": {**start, "epoch": 10}},
        "end": {"start": start},
    }
    jobs = {job.name: job for job in planned(workplace)}
    assert set(jobs) == {
        "seed0/random/linear",
        "seed0/10/pretrain",
        "seed0/10/linear",
        "seed0/end/linear",
    }
    assert jobs["seed0/10/pretrain"].command[-1] == "custom_hooks.1.kept_epochs=[10]"
    assert jobs["seed0/10/linear"].checkpoint.name == "checkpoint_epoch_10.safetensors"
    assert jobs["seed0/end/linear"].checkpoint.name == "checkpoint.safetensors"


def test_rows_have_overrides_and_recipes_of_their_own(workplace):
    workplace.only("linear")
    workplace.suite["tasks"]["other"] = {"config": "fine.py"}
    workplace.suite["rows"] = {
        "random": {},
        "wide": {"overrides": {"model.lr": 2.0}},
        "fine": {"task": "other"},
    }
    for name in ("lin.py", "fine.py"):
        text = f"what = {name!r}\nmodel = dict(lr=1.0)\ndefault_scope = 'mmengine'\n"
        Path(name).write_text(text)
    jobs = {job.name: job for job in planned(workplace)}
    assert list(jobs) == ["seed0/random/linear", "seed0/random/linear,lr=2.0", "seed0/random/other"]
    assert jobs["seed0/random/linear,lr=2.0"].cells[0]["row"] == "wide"


def test_a_test_is_of_what_was_trained_with_the_same_overrides(workplace):
    """Not of the row beside it, which may fit, as with another rate of stochastic depth."""
    for name in ("fine.py", "rob.py"):
        text = f"what = {name!r}\nmodel = dict(rate=0.1)\ndefault_scope = 'mmengine'\n"
        text += "optim_wrapper = dict(accumulative_counts=1)\n" if name == "fine.py" else ""
        Path(name).write_text(text)
    workplace.only("robustness", "finetune")
    slow = {"optim_wrapper.accumulative_counts": 2}  # which the config of the test has not
    workplace.suite["rows"] = {
        "random": {},
        "deep": {"overrides": {"model.rate": 0.2}},
        "slow": {"overrides": slow},
    }
    jobs = {job.name: job for job in planned(workplace)}
    tested = jobs["seed0/random/robustness,rate=0.2"]
    assert tested.needs == ("seed0/random/finetune,rate=0.2",)
    assert "work/seed0/random/finetune,rate=0.2/checkpoint.safetensors" in tested.command
    assert "model.rate=0.2" in jobs[tested.needs[0]].command
    assert {cell["row"] for cell in jobs[tested.needs[0]].cells} == {"deep"}
    assert jobs["seed0/random/robustness"].needs == ("seed0/random/finetune",)
    tested = jobs["seed0/random/robustness,accumulative_counts=2"]
    assert tested.command[-2:] == ("--cfg-options", "randomness.seed=0")
    (trained,) = tested.needs
    assert jobs[trained].command[-1] == "optim_wrapper.accumulative_counts=2"


def test_test_of_a_starts_own_checkpoint(workplace):
    Path("a.pth").write_bytes(b"weights")
    workplace.only("robustness")
    workplace.suite["tasks"]["robustness"] = {"config": "rob.py", "test": "start"}
    del workplace.suite["baseline"]
    workplace.suite["rows"] = {"released": {"start": {"checkpoint": "a.pth"}}}
    (job,) = planned(workplace)
    assert job.command[:3] == ("tools/test.py", "rob.py", "a.pth")


@pytest.mark.parametrize("name", ["demo", "mini"])
def test_shipped_suites_load(name, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    suite = load_suite(f"configs/suite/{name}.yaml")
    (table,) = suite.tables
    # random has no pre-training
    expected = len(table.seeds) * (2 * len(table.tasks) + 1)
    assert len(plan_jobs(suite, "work").jobs) == expected


PUBLISHED = sorted(
    path
    for path in (REPOSITORY / "configs/suite").glob("*.yaml")
    if path.stem not in ("common", "ablation", "papers_with_code")  # measure nothing
)
# entries, and runs for each: MAE A.3's 108, and the sizes that the other two files state
SLOW = {"table4_search", "table6_search"}  # hundreds of jobs
SEARCHES = {"table4_search": (8, 108), "table5_search": (8, 30), "table6_search": (20, 36)}


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.slow] if path.stem in SLOW else [], id=path.stem)
        for path in PUBLISHED
    ],
)
def test_every_shipped_suite_is_planned_and_says_what_is_missing(path, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    suite = load_suite(path)
    plan = plan_jobs(suite, "work")
    assert plan.jobs and len({job.name for job in plan.jobs}) == len(plan.jobs)
    claimed = {(c["table"], c["row"], c["column"]) for job in plan.jobs for c in job.cells}
    made = {cell.place for t in suite.tables for cell in t.cells.values() if cell.task}
    assert claimed == made
    assert not [file for file in plan.missing if file.startswith("configs")]
    if path.stem in SEARCHES:
        entries, size = SEARCHES[path.stem]
        assert len([job for job in plan.jobs if "--checkpoint" in job.command]) == entries * size
        assert len([job for job in plan.jobs if job.config_sha256 is None]) == entries


def test_a_search_of_an_entry_costs_at_most_a_third_of_the_grid(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    jobs = plan_jobs(load_suite("configs/suite/table4_optuna.yaml"), "work").jobs
    searches = {job.search.name: job for job in jobs if job.search}
    assert len(searches) == SEARCHES["table4_search"][0]
    for name, runner in searches.items():
        assert runner.search.trials <= 0.3 * SEARCHES["table4_search"][1]
        (chosen,) = [job for job in jobs if job.name == name]
        assert chosen.needs == tuple(f"{name},search{number}" for number in range(4))
        assert chosen.cells and not runner.cells


# layer decay, drop path, erasing: of MAE Table 9, and of the authors' command lines (FINETUNE.md)
TRANSFER = {
    "ViT-B": ((0.75, 0.1, 0.0), (0.65, 0.1, 0.25)),
    "ViT-L": ((0.75, 0.1, 0.0), (0.75, 0.2, 0.25)),
    "ViT-H": ((0.75, 0.2, 0.0), (0.75, 0.3, 0.25)),
    "ViT-H448": ((0.75, 0.2, 0.0), (0.75, 0.3, 0.25)),
}


def test_search_of_table_6_has_both_recipes_of_its_sources(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    (table,) = load_suite("configs/suite/table6_search.yaml").tables
    keys = (
        "optim_wrapper.paramwise_cfg.layer_decay",
        "model.backbone.drop_path_rate",
        "model.train_cfg.augments.erase_prob",
    )
    found = {}
    for (row, column), cell in table.cells.items():
        if cell.task:
            task = table.tasks[cell.task]
            cfg = load_config(task.config)
            offered = []
            for key in keys:
                own = cell.overrides.get(key, reduce(getattr, key.split("."), cfg))
                offered.append(task.grid.get(key, [own]))
            found[row, column] = set(itertools.product(*offered))
    assert len(found) == 20
    for (row, column), recipes in found.items():
        assert recipes >= set(TRANSFER[column]), (row, column)
