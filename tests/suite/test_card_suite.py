"""What a card measures: the row of a checkpoint, and how far a budget reaches."""

import itertools
from collections import Counter
from dataclasses import replace

import pytest
import torch

from mae_bench.checkpoint.reader import read_checkpoint
from mae_bench.datasets.identity import data_identity
from mae_bench.datasets.image_folders import ImageFolders
from mae_bench.models import VisionTransformer
from mae_bench.results.record import write_record
from mae_bench.results.table_file import write_suite
from mae_bench.suite.card_data import NoDataError, check_unchanged, find_data, fit_to_own
from mae_bench.suite.card_suite import card_suite, measured_here, row_of, within, without_sets
from mae_bench.suite.plan import plan_jobs
from mae_bench.suite.state import State

from ..evaluation.conftest import class_folders
from ..results.conftest import RECORD
from .test_rows import SUITES


@pytest.fixture
def imagenet(tmp_path, monkeypatch):
    monkeypatch.chdir(SUITES.parents[1])
    (tmp_path / "data/imagenet/val").mkdir(parents=True)
    return find_data(tmp_path / "data")


@pytest.fixture
def miniworld(tmp_path, monkeypatch):
    monkeypatch.chdir(SUITES.parents[1])
    (tmp_path / "data/miniworld").mkdir(parents=True)
    (tmp_path / "data/miniworld/dataset.json").write_text("{}")
    return find_data(tmp_path / "data")


def test_which_data_are_there(tmp_path, imagenet):
    assert imagenet.suite.endswith("frozen.yaml") and imagenet.root == tmp_path / "data"
    (tmp_path / "none").mkdir()
    with pytest.raises(NoDataError, match="no images of your own: .*none: no class folders and"):
        find_data(tmp_path / "none")
    (tmp_path / "sets/coco/val2017").mkdir(parents=True)
    class_folders(tmp_path / "sets", ("coco/val2017", "ade20k/images"))
    with pytest.raises(NoDataError, match="no images of your own in train or in a list"):
        find_data(tmp_path / "sets")
    with pytest.raises(FileNotFoundError, match="--data .*nowhere: no such folder"):
        find_data(tmp_path / "nowhere")


def test_the_row_of_a_checkpoint_follows_its_model(tmp_path, imagenet):
    file = str(tmp_path / "a.pth")
    state = VisionTransformer(arch="tiny", img_size=32, patch_size=16, output="tokens").state_dict()

    def row(sizes: dict[str, int], **extra: torch.Tensor) -> dict:
        own = {key: t for key, t in state.items() if not (extra and key.startswith("norm."))}
        torch.save({"model": {**own, **extra}}, file)
        found = row_of(read_checkpoint(file), file, replace(imagenet, sizes=sizes))
        assert found.pop("start") == {"checkpoint": file}
        return found

    assert row({"tiny": 16}) == {"vars": {"size": "tiny"}}
    assert row({"base": 16}) == {"overrides": {"model.backbone.arch": "tiny"}}
    other = row({"tiny": 14})["overrides"]
    assert other == {"model.backbone.arch": "tiny"}  # with the recipe's own patch size
    norm = {f"fc_norm.{name}": torch.ones(192) for name in ("weight", "bias")}
    head = {"head.weight": torch.ones(10, 192), "head.bias": torch.ones(10)}
    tuned = row({"tiny": 16}, **norm, **head)
    assert tuned == {"vars": {"size": "tiny"}, "overrides": {"model.backbone.output": "mean"}}


def test_images_are_taken_from_the_given_folder(tmp_path, imagenet):
    row = {"start": {"checkpoint": "mine.pth"}, "vars": {"size": "base"}}
    work = tmp_path / "work"
    suite = card_suite(imagenet, work, "mine", row)
    jobs = {job.task: job for job in plan_jobs(measured_here(suite, "mine"), work).jobs}
    later = {"few-images-base", "logistic-base"}
    assert jobs.keys() == {"frozen-base", "linear-robustness-base", *later}
    root = imagenet.root
    for split, task in itertools.product(("train", "test"), ("frozen-base", *later)):
        key = f"{split}_dataloader.dataset.data_root={root}/imagenet"
        assert key in jobs[task].command
    # one extraction, and the measure that may never end is the last
    assert {jobs[task].needs for task in later} == {("seed0/mine/frozen-base",)}
    assert list(jobs)[-1] == "logistic-base"
    tested = jobs["linear-robustness-base"]
    assert f"test_dataloader.dataset.data_root={root}" in tested.command
    assert tested.needs == ("seed0/mine/frozen-base",)


def test_earlier_checkpoints_stand_beside_and_are_not_run_again(tmp_path, miniworld):
    work = tmp_path / "work"
    for name in ("one", "two"):
        row = {"start": {"checkpoint": f"{name}.safetensors"}}
        suite = card_suite(miniworld, work, name, row)
        write_suite(suite, work)
    assert suite.tables[0].rows[-2:] == ("one", "two")
    jobs = plan_jobs(measured_here(suite, "two"), work).jobs
    assert {job.initialisation for job in jobs} == {"two", "random"}
    with pytest.raises(ValueError, match="random: is what random weights are called"):
        card_suite(miniworld, work, "random", row)


def test_a_budget_leaves_out_what_does_not_fit_and_what_needs_it(tmp_path, miniworld):
    suite = card_suite(miniworld, tmp_path, "one", {"start": {"checkpoint": "one.safetensors"}})
    jobs = plan_jobs(measured_here(suite, "one"), tmp_path).jobs
    names = {job.initialisation + job.task: job.name for job in jobs}
    minutes = {job.task: 60 * (job.minutes or 0) for job in jobs}
    first = minutes["frozen"] + minutes["linear-robustness"]
    jobs.sort(key=lambda job: job.initialisation == "random")
    for slots in (1, 2):
        state = State(list(jobs), slots)
        out = within((first + 1) / slots, state)
        assert out.keys() == {names["randomfrozen"], names["randomlinear-robustness"]}
        assert out[names["randomfrozen"]] == "takes about 42 s, and 1 s are left"
        assert out[names["randomlinear-robustness"]] == f"needs {names['randomfrozen']}"
        assert [job.initialisation for job in state.jobs] == ["one", "one"]
    assert within(1e9, State(list(jobs), 1)) == {}


def test_robustness_waits_for_one_of_its_sets(tmp_path, imagenet):
    row = {"start": {"checkpoint": "mine.pth"}, "vars": {"size": "base"}}
    suite = card_suite(imagenet, tmp_path / "work", "mine", row)
    jobs = plan_jobs(measured_here(suite, "mine"), tmp_path / "work").jobs
    state = State(list(jobs), 1)
    folders = "imagenet-a, imagenet-r, sketch, imagenetv2-matched-frequency-format-val, imagenet-c"
    reason = f"none of {folders} is in {imagenet.root}"
    assert without_sets(state, suite, imagenet) == {"seed0/mine/linear-robustness-base": reason}
    assert "linear-robustness-base" not in {job.task for job in state.jobs}
    (imagenet.root / "sketch").mkdir()
    state = State(list(jobs), 1)
    assert without_sets(state, suite, imagenet) == {} and len(state.jobs) == len(jobs)


def own_folders(root, train: int, val: int = 2):
    for split, count in (("train", train), ("val", val)):
        class_folders(root / split, ("cat", "dog"), count)
    return find_data(root)


def test_images_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(SUITES.parents[1])
    data = own_folders(tmp_path / "pets", 12)
    assert data.name == "pets" and data.pictures == tmp_path / "pets/val"
    assert data.class_counts == Counter(cat=12, dog=12)
    row = {"start": {"checkpoint": "mine.pth"}}
    suite = card_suite(data, tmp_path / "work", "mine", row)
    jobs = {job.task: job for job in plan_jobs(measured_here(suite, "mine"), tmp_path).jobs}
    assert list(jobs) == ["frozen", "few-images", "logistic"]
    assert all(f"own_data.root={data.root}" in job.command for job in jobs.values())
    measures = "test_cfg.measures=[{'type': 'mae_bench.LowShot', 'features': ['mean'], "
    assert f"{measures}'counts': [1, 10, 0.1]}}]" in jobs["few-images"].command
    # nine images of a class are too few for ten
    few = own_folders(tmp_path / "few", 9)
    for one, columns in ((suite, 8), (card_suite(few, tmp_path / "work", "mine", row), 7)):
        assert len(one.tables[0].columns) == columns


def test_measures_fit_the_images_there_are():
    def fit(kind: str, *counts: int) -> dict:
        images = Counter({str(i): count for i, count in enumerate(counts)})
        found = fit_to_own({"type": f"mae_bench.{kind}"}, images)
        return {key: value for key, value in found.items() if key != "type"}

    assert fit("KNN", 60, 60) == {"neighbours": [10, 20, 100]}
    assert fit("LowShot", 60, 5) == {"counts": [1, 0.1]}
    assert fit("Logistic", 60, 60) == {}
    # 12,500 steps, with the tenth held out: 450 learned from have three batches of 128
    assert fit("LinearHeads", 250, 250) == {"batch": 128, "epochs": 4167}
    assert fit("LinearHeads", 5, 5) == {"batch": 9, "epochs": 12_500}
    with pytest.raises(ValueError, match="9 training images, 4 of the smallest class: k-NN votes"):
        fit("KNN", 5, 4)
    with pytest.raises(ValueError, match="20 training images, 0 of the smallest class"):
        fit("KNN", 20, 0)


def test_images_that_have_changed_are_refused(tmp_path):
    data = own_folders(tmp_path / "pets", 12)
    check_unchanged(data, tmp_path / "work")
    classes = {"classes": ["cat", "dog"]}
    train = ImageFolders(data_root=str(data.root), data_prefix="train", metainfo=classes)
    measured = replace(RECORD, data={"frozen_train": data_identity(train)})
    write_record(measured, tmp_path / "work/a/record.json")
    check_unchanged(data, tmp_path / "work")
    (tmp_path / "pets/train/cat/cat_0.JPEG").unlink()
    changed = find_data(tmp_path / "pets")
    message = r"is not what a was measured on \(frozen_train: 23 samples, and 24 then\); give"
    with pytest.raises(ValueError, match=message):
        check_unchanged(changed, tmp_path / "work")
