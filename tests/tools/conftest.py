"""A tiny MiniWorld, and the commands run in this process: importing everything takes seconds."""

import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mae_bench.datasets.miniworld.world import MiniWorldSize, build

ROOT = Path(__file__).parents[2]

# Two iterations of one epoch, and one batch of validation. The warm-up of the schedules is longer.
SHRINK = ["train_cfg.max_epochs=1", "param_scheduler=[]", "train_dataloader.batch_size=4"]
SHRINK += ["train_dataloader.dataset.indices=8", "val_dataloader.batch_size=4"]
FEW_LABELS = ["train_dataloader.dataset.ann_file=meta/train_10.txt"]


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data") / "miniworld"
    size = MiniWorldSize(
        train_images=20,
        val_images=10,
        corrupted_images=10,
        train_lists=(10,),
        train_scenes=10,
        val_scenes=4,
    )
    build(root, processes=1, size=size)
    return root


@pytest.fixture
def workplace(tiny_world, tmp_path, monkeypatch) -> Path:
    """The current folder of a test, with the tiny world where the configs look for it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/miniworld").symlink_to(tiny_world)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MAE_BENCH_TRACEBACK", raising=False)
    return tmp_path


@pytest.fixture
def run_tool(workplace, monkeypatch, capfd) -> Callable[..., Outcome]:
    """Run a command of tools/ as from the command line."""

    def run(name: str, *arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "tools" / name), run_name="__main__")
        return Outcome(ended.value.code, *capfd.readouterr())

    return run
