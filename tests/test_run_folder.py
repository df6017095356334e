"""What is in the folder of a run, and what is not of the run."""

from pathlib import Path

import pytest

from mae_bench.files import write_atomic
from mae_bench.run_folder import clear_remains, exported_checkpoints, is_done, training_states

pytestmark = pytest.mark.faults


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).touch()


def test_training_states_are_ordered_by_number_and_nothing_else_is_one(tmp_path):
    assert training_states(tmp_path / "absent") == []
    touch(tmp_path, "epoch_9.pth", "epoch_10.pth", "epoch_2.pth", "best_top1.pth", "epoch_.pth")
    touch(tmp_path, ".epoch_11.pth.0123.tmp", "epoch_12.pth.bak", "my_epoch_3.pth")
    names = [path.name for path in training_states(tmp_path)]
    assert names == ["epoch_10.pth", "epoch_9.pth", "epoch_2.pth"]


def test_exported_checkpoints(tmp_path):
    assert list(exported_checkpoints(tmp_path)) == []
    touch(tmp_path, "checkpoint_epoch_10.safetensors", "checkpoint_epoch_9.safetensors")
    touch(tmp_path, "checkpoint_epoch_best.safetensors", "checkpoint.safetensors")
    names = [path.name for path in exported_checkpoints(tmp_path)]
    assert names == [
        "checkpoint.safetensors",
        "checkpoint_epoch_9.safetensors",
        "checkpoint_epoch_10.safetensors",
    ]


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path):
    ours = f".checkpoint.safetensors.{'0a' * 16}.tmp"
    others = [".x.tmp", "x.tmp", f".report.html.{'0a' * 16}.tmp", f"{'0a' * 16}.tmp"]
    touch(tmp_path, ours, *others)
    clear_remains(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
    clear_remains(tmp_path / "absent")


def test_what_a_kill_leaves_is_what_is_removed(tmp_path, monkeypatch):
    """The names are those of ``write_atomic``."""
    monkeypatch.setattr(Path, "replace", None)
    monkeypatch.setattr(Path, "unlink", lambda *args, **kwargs: None)
    with pytest.raises(TypeError):
        write_atomic(b"content", tmp_path / "a.json")
    monkeypatch.undo()
    assert len(list(tmp_path.iterdir())) == 1
    clear_remains(tmp_path)
    assert not list(tmp_path.iterdir())


def test_done(tmp_path):
    assert not is_done(tmp_path)
    touch(tmp_path, "record.json")
    assert is_done(tmp_path)
