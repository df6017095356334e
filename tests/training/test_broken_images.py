"""Training goes on past a broken image, as long as they are few; evaluation does not."""

import shutil
from pathlib import Path

import pytest

from .conftest import losses

pytestmark = pytest.mark.faults


@pytest.fixture
def with_broken(images, tmp_path) -> Path:
    """The 22 images, one of them cut off and one of them no image."""
    folder = tmp_path / "images"
    shutil.copytree(images, folder)
    whole = (folder / "a/0.jpg").read_bytes()
    (folder / "a/0.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "b/1.jpg").write_bytes(b"<html>")
    return folder


def train(tiny, images: Path, work_dir: Path, share: float, model: str = "mae", workers: int = 0):
    config = tiny["tiny_config"](str(work_dir), str(images), workers, model, epochs=2)
    config.train_cfg.max_broken_share = share
    runner = tiny["TrainRunner"].from_cfg(config)
    runner.train()
    return next(Path(runner.log_dir).glob("*.log")).read_text()


def test_broken_images_are_replaced_named_and_counted(tiny, with_broken, tmp_path):
    log = train(tiny, with_broken, tmp_path / "a", share=0.1)
    for file in ("a/0.jpg", "b/1.jpg"):
        assert log.count(f"{with_broken}/{file}: cannot be decoded") == 1
    assert "2 of 22 images are broken so far" in log
    assert sorted(losses(tmp_path / "a")) == list(range(10))
    train(tiny, with_broken, tmp_path / "b", share=0.1, workers=2)
    assert losses(tmp_path / "b") == losses(tmp_path / "a")


def test_too_many_broken_images(tiny, with_broken, tmp_path):
    message = r"1 of 22 images are broken so far, more than train_cfg.max_broken_share=0.04; .*jpg"
    with pytest.raises(ValueError, match=message):
        train(tiny, with_broken, tmp_path / "a", share=0.04)


def test_evaluation_stops(tiny, with_broken, tmp_path):
    with pytest.raises(ValueError, match=r"jpg: cannot be decoded as an image"):
        train(tiny, with_broken, tmp_path / "a", share=0.1, model="classifier")
    assert sorted(losses(tmp_path / "a")) == list(range(5))  # the first epoch was trained
