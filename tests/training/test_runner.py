"""What a run has learned and found outlives whatever fails at its end."""

import json
import shutil

import cv2
import pytest
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from PIL import Image

from mae_bench.results.record import read_record
from mae_bench.training import launch
from mae_bench.training.hooks import DrawReconstructions, WriteRecord

from .conftest import losses


class FailAtTheEnd(Hook):
    """A hook of one's own with a mistake in it."""

    def after_train(self, runner):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


class FailingMetric(BaseMetric):
    """One that finds its mistake in the last validation."""

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        raise IndexError("tuple index out of range")


@pytest.fixture
def run(tiny, images, tmp_path):
    config_file = tmp_path / "tiny.py"
    config_file.write_text("a = 1\n")

    def train(*hooks, change=None, **kwargs):
        config = tiny["tiny_config"](
            str(tmp_path / "work"), str(images), average=False, epochs=2, **kwargs
        )
        config.custom_hooks += [*hooks, dict(type=WriteRecord)]
        config.overrides = {}
        object.__setattr__(config, "_filename", str(config_file))
        if change:
            change(config)
        launch.run(config, resume=True)
        return read_record(tmp_path / "work/record.json")

    return train


@pytest.mark.parametrize("priority", ["VERY_HIGH", "NORMAL", "LOWEST"])
def test_a_hook_that_fails_takes_neither_record_nor_weights_with_it(run, tmp_path, priority):
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        run(dict(type=FailAtTheEnd, priority=priority))
    record = read_record(tmp_path / "work/record.json")
    assert record.metrics["loss"] > 0
    assert record.exported["file"] == "checkpoint.safetensors"
    assert (tmp_path / "work/checkpoint.safetensors").is_file()


def test_a_run_whose_last_validation_failed_goes_on_with_another_metric(run, tmp_path):
    def fail(config):
        config.val_evaluator = dict(type=FailingMetric)

    with pytest.raises(IndexError, match="tuple index"):
        run(model="classifier", change=fail)
    assert not (tmp_path / "work/record.json").exists()
    record = run(model="classifier")
    assert list(record.metrics) == ["accuracy/top1"]
    # what was trained twice, since the last state, was trained alike
    assert all(len(found) == 1 for found in losses(tmp_path / "work").values())


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for colour in ("red", "green", "blue"):
        Image.new("RGB", (16, 16), colour).save(folder / f"{colour}.png")
    return folder


def test_reconstructions_are_drawn(run, tmp_path, pictures):
    run(dict(type=DrawReconstructions, folder=str(pictures), count=2))
    drawn = cv2.imread(str(tmp_path / "work/reconstructions.png"))
    assert (drawn == (255, 0, 0)).all(axis=2).any()  # the blue one as it is, in BGR


def more_channels(config):
    config.model.data_preprocessor = dict(
        config.model.data_preprocessor, mean=[1.0] * 4, std=[1.0] * 4
    )


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("nowhere", "holds 0 files, and two make a row"),
        ("one", "holds 1 files, and two make a row"),
        ("texts", "a.txt: cannot be decoded as an image"),
        ("sizes", "use one size"),
        ("odd", "pictures of 18x18 pixels are no whole patches of 4"),
    ],
)
def test_what_cannot_be_drawn_is_said_before_training(run, tmp_path, folder, message):
    where = tmp_path / folder
    if folder != "nowhere":
        where.mkdir()
    if folder == "one":
        Image.new("RGB", (16, 16)).save(where / "a.png")
    if folder == "texts":
        (where / "a.txt").write_text("no picture")
        shutil.copy(where / "a.txt", where / "b.txt")
    for name, side in zip("ab", {"sizes": (16, 20), "odd": (18, 18)}.get(folder, ()), strict=False):
        Image.new("RGB", (side, side)).save(where / f"{name}.png")
    with pytest.raises(ValueError, match=message):
        run(dict(type=DrawReconstructions, folder=str(where)))
    assert not (tmp_path / "work/losses.txt").exists()


def test_channels_are_looked_at_before_training(run, tmp_path, pictures):
    with pytest.raises(ValueError, match="draws RGB, and the model has 4 channels; correct it, or"):
        run(dict(type=DrawReconstructions, folder=str(pictures)), change=more_channels)
    assert not (tmp_path / "work/losses.txt").exists()


def test_a_drawing_that_fails_is_a_warning(run, tmp_path, pictures, monkeypatch):
    def fail(*args):
        raise RuntimeError("no font")

    monkeypatch.setattr("mae_bench.training.hooks.draw_reconstructions.draw_reconstructions", fail)
    record = run(dict(type=DrawReconstructions, folder=str(pictures)))
    assert record.status == "completed"
    (log,) = (tmp_path / "work").glob("*/*.log")
    assert "reconstructions are not drawn: no font" in log.read_text()


def test_a_full_disk_at_the_end_leaves_no_record_of_weights_that_are_not_there(
    run, tmp_path, monkeypatch
):
    def full(*args, **kwargs):
        raise ValueError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("mae_bench.training.hooks.recording.export_model", full)
        with pytest.raises(ValueError, match="the disk is full"):
            run()
    assert not (tmp_path / "work/record.json").exists()
    assert run().exported["file"] == "checkpoint.safetensors"
    assert json.loads((tmp_path / "work/attempts/1.json").read_text())["outcome"] == "failed"
