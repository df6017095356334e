"""progress.json for whoever watches a run from outside."""

import json
import os
from types import SimpleNamespace

import torch

from mae_bench.training.hooks import ProgressFile


def read(folder) -> dict:
    return json.loads((folder / "progress.json").read_text())


def test_step_total_and_loss(tmp_path):
    runner = SimpleNamespace(iter=4, max_iters=20, work_dir=str(tmp_path))
    hook = ProgressFile(seconds=0)
    hook.after_train_iter(runner, 4, outputs={"loss": torch.tensor(0.5)})
    assert read(tmp_path) == {"step": 5, "total": 20, "loss": 0.5}
    assert [path.name for path in tmp_path.iterdir()] == ["progress.json"]


def test_a_validation_and_a_test_show_that_they_go_on(tmp_path):
    runner = SimpleNamespace(iter=4, max_iters=20, work_dir=str(tmp_path), test_dataloader=[0] * 9)
    hook = ProgressFile(seconds=0)
    hook.after_train_iter(runner, 4)
    path = tmp_path / "progress.json"
    os.utime(path, (1000, 1000))
    hook.after_val_iter(runner, 0)
    assert read(tmp_path) == {"step": 5, "total": 20} and path.stat().st_mtime > 1000
    hook.after_test_iter(runner, 2)
    assert read(tmp_path) == {"step": 3, "total": 9}


def test_seldom_enough(tmp_path):
    runner = SimpleNamespace(iter=0, max_iters=20, work_dir=str(tmp_path))
    hook = ProgressFile(seconds=3600)
    hook.after_train_iter(runner, 0)
    runner.iter = 1
    hook.after_train_iter(runner, 1)
    assert read(tmp_path)["step"] == 1
