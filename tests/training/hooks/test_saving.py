"""Checkpoints survive a damaged file, a full disk and diverged weights, and run no code."""

import errno
import os
import pickle
from pathlib import Path

import pytest
import torch
from mmengine.runner import CheckpointLoader

from mae_bench.checkpoint.integrity import archive_damage
from mae_bench.files import write_atomic
from mae_bench.run_folder import diverged
from mae_bench.training.hooks.saving import (
    SaveCheckpoint,
    check_readable,
    load_checkpoint_file,
)

from ..conftest import losses

pytestmark = pytest.mark.faults


class Bait:
    """Runs code where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, (str(Path(self.folder, "caught")),)


@pytest.fixture
def bait(tmp_path) -> Path:
    bait = Bait()
    bait.folder = str(tmp_path)
    torch.save({"state_dict": {}, "meta": bait}, tmp_path / "bait.pth")
    return tmp_path / "bait.pth"


@pytest.mark.parametrize("load", [load_checkpoint_file, CheckpointLoader.load_checkpoint])
def test_nothing_is_executed(bait, load):
    with pytest.raises(ValueError, match="bait.pth: holds more than tensors"):
        load(str(bait))
    assert not Path(bait.parent, "caught").exists()
    torch.load(bait, weights_only=False)
    assert Path(bait.parent, "caught").exists()  # the bait was live


def test_getattr_reaches_nothing_else(tmp_path):
    class Chain:
        def __reduce__(self):
            return getattr, (Path, "cwd")

    torch.save(Chain(), tmp_path / "chain.pth")
    with pytest.raises(ValueError, match="holds more than tensors"):
        load_checkpoint_file(str(tmp_path / "chain.pth"))


@pytest.mark.parametrize("name", ["http://a/b.pth", "torchvision://resnet50", "s3://a/b.pth"])
def test_nothing_is_fetched(name):
    with pytest.raises(ValueError, match=f"{name}: only local files are read"):
        CheckpointLoader.load_checkpoint(name)


def test_what_no_run_could_read_is_found_at_the_first_save(bait, tmp_path):
    with pytest.raises(ValueError, match=r"no run could resume from it.*mkdir"):
        check_readable(bait)
    torch.save({"a": torch.ones(2)}, tmp_path / "good.pth")
    check_readable(tmp_path / "good.pth")


def test_every_damage_is_seen(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"w": torch.arange(1000.0)}, path)
    assert archive_damage(path) is None
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "zip" in archive_damage(path)
    path.write_bytes(b"")
    assert archive_damage(path)
    # one bit in the middle of the tensor, which torch.load takes without a word
    at = whole.index(torch.arange(1000.0).numpy().tobytes()) + 2000
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    torch.load(path, weights_only=True)
    assert "checksum" in archive_damage(path)


def test_one_checkpoint_is_not_enough():
    with pytest.raises(ValueError, match="max_keep_ckpts=1: keep 2 at least"):
        SaveCheckpoint(max_keep_ckpts=1)


def test_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.pth"
    write_atomic(b"old", path)

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ValueError, match=r"a.pth: the disk is full, 3 bytes .*--resume"):
        write_atomic(b"new", path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.pth"]


@pytest.fixture
def train(tiny, images, tmp_path):
    """Train in this process; returns the runner."""

    def run(changes: dict | None = None, resume=False, non_finite=True, **arguments):
        config = tiny["tiny_config"](str(tmp_path / "work"), str(images), **arguments)
        config.resume = resume
        config.merge_from_dict(changes or {})
        if not non_finite:
            config.default_hooks.pop("non_finite")
        runner = tiny["TrainRunner"].from_cfg(config)
        runner.train()
        return runner

    return run


def checkpoints(work_dir: Path) -> list[str]:
    return sorted(path.name for path in work_dir.glob("*.pth"))


def test_the_one_before_a_damaged_checkpoint_is_used(train, tmp_path):
    train(epochs=2)
    work_dir = tmp_path / "work"
    assert checkpoints(work_dir) == ["iter_10.pth", "iter_9.pth"]
    newest = work_dir / "iter_10.pth"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 255
    newest.write_bytes(content)
    (work_dir / "losses.txt").unlink()
    runner = train(epochs=2, resume=True)
    assert sorted(losses(work_dir)) == [9]
    (log,) = Path(runner.log_dir).glob("*.log")
    assert "iter_10.pth is damaged (the checksum of" in log.read_text()
    assert archive_damage(newest) is None


def test_no_intact_checkpoint(train, tmp_path):
    work_dir = tmp_path / "work"
    work_dir.mkdir()
    (work_dir / "iter_3.pth").write_bytes(b"")
    with pytest.raises(ValueError, match="none of 1 checkpoints is intact"):
        train(epochs=2, resume=True)


def test_full_disk_keeps_the_last_good_checkpoint(train, tmp_path, monkeypatch):
    fsync = os.fsync

    def full_at_9(descriptor):
        if "iter_9.pth" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full_at_9)
    with pytest.raises(ValueError, match=r"iter_9.pth: the disk is full"):
        train(epochs=2)
    assert checkpoints(tmp_path / "work") == ["iter_3.pth", "iter_6.pth"]
    assert archive_damage(tmp_path / "work/iter_6.pth") is None


def test_weights_that_are_not_finite_are_not_saved(train, tiny, tmp_path, monkeypatch):
    keep = tiny["KeepLosses"].after_train_iter

    def diverge(hook, runner, *args, **kwargs):
        keep(hook, runner, *args, **kwargs)
        if runner.iter == 4:
            with torch.no_grad():
                runner.model.decoder.pred.bias[0] = torch.inf

    monkeypatch.setattr(tiny["KeepLosses"], "after_train_iter", diverge)
    # the loss of step 6 is infinite, but the hook that would see it is off
    with pytest.raises(ValueError, match=r"not finite after step .*last good.*iter_3.pth") as error:
        train(non_finite=False, epochs=2)
    assert diverged({"log_tail": ["begin", f"error: {error.value}", "end"]})
    assert checkpoints(tmp_path / "work") == ["iter_3.pth"]


def test_loss_that_is_not_finite_stops_the_run(train, tiny, tmp_path, monkeypatch):
    loss = tiny["RecordedMAE"].loss
    calls = iter(range(100))

    def nan_at_step_8(model, images, masking=None):
        return loss(model, images, masking) * (torch.nan if next(calls) == 7 else 1.0)

    monkeypatch.setattr(tiny["RecordedMAE"], "loss", nan_at_step_8)
    message = r"the loss is nan at step 8 with lr 0.00\d+, samples \S+/\d+.jpg, .*\.jpg \(see"
    with pytest.raises(ValueError, match=message) as error:
        train(epochs=2)
    assert checkpoints(tmp_path / "work") == ["iter_3.pth", "iter_6.pth"]
    assert diverged({"log_tail": [f"error: {error.value}"]})
    assert not diverged({"log_tail": ["error: out of memory", "the loss is 2.3 at step 8", ""]})


def test_pickle_of_mmengines_own_hook_is_read(tmp_path):
    from mmengine.logging import HistoryBuffer

    buffer = HistoryBuffer([1.0, 3.0], [1, 1])
    torch.save({"log": buffer, "best": torch.ones(1).numpy()[0]}, tmp_path / "a.pth")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "a.pth", weights_only=True)
    content = load_checkpoint_file(str(tmp_path / "a.pth"))
    assert content["log"].mean() == 2.0
    assert content["best"] == 1.0
