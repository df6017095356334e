"""Suite files are validated, and planned as the right jobs."""

import re
from pathlib import Path

import pytest

from mae_bench.suite import load_suite, plan_jobs

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["seed"], [0], "key 'seed' is unknown"),
        (["seeds"], [], "key 'seeds' must be"),
        (["seeds"], [1, 1], "key 'seeds' must be"),
        (["data"], "imagenet", "key 'data' must be one of miniworld"),
        (["initialisations", "MAE", "pretrian"], "x", "key 'initialisations.MAE.pretrian' is unkn"),
        (["initialisations", "MAE", "checkpoint"], "pre.py", "needs either 'pretrain' or"),
        (["initialisations", "MAE", "pretrain"], "gone.py", "MAE.pretrain' names a file that does"),
        (["initialisations", "../up"], None, "key 'initialisations.../up' is used as a folder"),
        (["tasks", "linear", "config"], "gone.py", "key 'tasks.linear.config' names a file that"),
        (["tasks", "linear", "metric"], "x", "key 'tasks.linear.metric' is unknown"),
        (["tasks", "linear", "metrics"], {}, "key 'tasks.linear.metrics' must map"),
        (["tasks", "linear", "minutes"], 0, "key 'tasks.linear.minutes' must be a positive"),
        (["tasks", "linear", "lower_is_better"], 1, "must be true or false"),
        (["tasks", "robustness", "test"], "fintune", "'tasks.robustness.test' names no task"),
        (["tasks", "robustness", "test"], "robustness", "'tasks.robustness.test' names no task"),
        (["initialisations", "random"], {"overrides": {}}, "needs either 'pretrain' or"),
        (["initialisations", "MAE", "overrides"], {"randomness.seed": 1}, "is set by 'seeds'"),
        (["initialisations", "MAE", "override"], {}, "unknown; did you mean 'overrides'?"),
        (["tasks", "linear", "overrides"], [1], "'tasks.linear.overrides' must map keys of the"),
        (["tasks", "linear", "overrides"], {"a": {"b": 1}}, "overrides.a': a dict cannot stand"),
        (["tasks", "linear", "overrides"], {"a": "x, y"}, "overrides.a': 'x, y' cannot stand on"),
        (["tasks", "linear", "grid"], {"lr": [1]}, "'tasks.linear.grid' and 'select', the metric"),
        (["tasks", "linear", "select"], "score", "'tasks.linear.grid' and 'select', the metric"),
        (["tasks", "pretrain"], {"config": "lin.py", "metrics": {"a": "b"}}, "is reserved"),
    ],
)
def test_wrong_suite_is_refused_in_one_line(workplace, path, value, message):
    node = workplace.suite
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        load_suite(workplace.write())
    assert str(caught.value).startswith("suite.yaml: ")
    assert "\n" not in str(caught.value)


def test_missing_key_and_broken_yaml_name_the_file(workplace):
    del workplace.suite["seeds"]
    with pytest.raises(ValueError, match=r"suite\.yaml: key 'seeds' is missing"):
        load_suite(workplace.write())
    Path("suite.yaml").write_text("a: [")
    with pytest.raises(ValueError, match=r"suite\.yaml: not YAML"):
        load_suite("suite.yaml")


@pytest.mark.parametrize(
    ("task", "changes", "message"),
    [
        ("linear", {"grid": {"lr": 1}}, "'tasks.linear.grid' must map keys of the config to lists"),
        ("linear", {"grid": {}}, "'tasks.linear.grid' must map keys of the config to lists"),
        ("linear", {"select": 1}, "'tasks.linear.select' must be a metric's key"),
        ("linear", {"overrides": {"lr": 1}}, "'tasks.linear.grid.lr' is in overrides too"),
        ("linear", {"grid": {"randomness.seed": [1]}}, "is set by 'seeds'"),
        ("robustness", {}, "'tasks.robustness.grid' is for tasks that train"),
    ],
)
def test_wrong_grid_is_refused(workplace, task, changes, message):
    workplace.suite["tasks"][task] |= {"grid": {"lr": [1, 2]}, "select": "score", **changes}
    with pytest.raises(ValueError, match=re.escape(message)):
        load_suite(workplace.write())


def test_misspelt_override_is_found_before_anything_runs(workplace):
    Path("lin.py").write_text("lr = 1.0\nmodel = dict(depth=1)\ndefault_scope = 'mmengine'\n")
    workplace.suite["tasks"]["linear"]["overrides"] = {"model.deph": 2}
    with pytest.raises(ValueError, match=r"lin\.py.*'model\.deph'.*did you mean 'depth'") as caught:
        plan_jobs(load_suite(workplace.write()), "work")
    assert str(caught.value).startswith("suite.yaml: ")
    workplace.suite["tasks"]["linear"]["overrides"] = {"model.depth": 2, "lr": "1e-3"}
    workplace.suite["initialisations"]["MAE"]["overrides"] = {"lr": 0.5}
    Path("pre.py").write_text(Path("lin.py").read_text())
    jobs = {job.name: job for job in plan_jobs(load_suite(workplace.write()), "work")}
    options = ["--cfg-options", "randomness.seed=0", "model.depth=2", "lr=1e-3"]
    assert list(jobs["seed0/random/linear"].command[-4:]) == options
    assert jobs["seed0/MAE/pretrain"].command[-1] == "lr=0.5"


def test_config_that_does_not_load_is_named(workplace):
    Path("lin.py").write_text("lr = 1 +\n")
    with pytest.raises(ValueError, match=r"suite\.yaml: config lin\.py does not load"):
        plan_jobs(load_suite(workplace.suite_file), "work")


def test_jobs_are_the_product_with_their_needs_and_commands(workplace):
    workplace.suite["seeds"] = [0, 3]
    jobs = {job.name: job for job in plan_jobs(load_suite(workplace.write()), "work")}
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


def test_signature_follows_config_values_seed_and_what_came_before(workplace):
    def signatures():
        return {j.name: j.signature for j in plan_jobs(load_suite(workplace.write()), "work")}

    before = signatures()
    assert len(set(before.values())) == len(before)
    Path("pre.py").write_text("# a comment changes nothing\nlr = 1.0\n")
    assert signatures() == before
    Path("pre.py").write_text("lr = 2.0\n")
    changed = {name for name, signature in signatures().items() if signature != before[name]}
    assert changed == {name for name in before if name.startswith("seed0/MAE/")}


def test_checkpoint_given_by_the_user_enters_by_its_bytes(workplace):
    Path("a.safetensors").write_bytes(b"one")
    workplace.suite["initialisations"] = {"mine": {"checkpoint": "a.safetensors"}}
    suite = load_suite(workplace.write())
    before = plan_jobs(suite, "work")
    assert [job.needs for job in before] == [(), (), ("seed0/mine/finetune",)]
    Path("a.safetensors").write_bytes(b"two")
    after = plan_jobs(suite, "work")
    assert all(a.signature != b.signature for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("name", ["demo", "mini"])
def test_shipped_suites_load(name, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    suite = load_suite(f"configs/suite/{name}.yaml")
    # random has no pre-training
    expected = len(suite.seeds) * (2 * len(suite.tasks) + 1)
    assert len(plan_jobs(suite, "work")) == expected
