"""The commands on small data sets, in this process, with the recipes for own data made tiny."""

import json
import runpy
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mmengine.config import Config

from mae_bench.config import load as loading
from mae_bench.config.overrides import parse_options
from mae_bench.datasets.check import check_data

from ..shrink import shrink

ROOT = Path(__file__).parents[2]
RECIPES = {
    "cls": ROOT / "configs/cls/vit_base_finetune_own.py",
    "det": ROOT / "configs/det/mask_rcnn_vit_base_own.py",
    "seg": ROOT / "configs/seg/upernet_vit_base_own.py",
}


def small(cfg: Config, iterations: int = 2) -> Config:
    """A recipe for own data that trains in a second."""
    batches = {part: cfg[part].batch_size for part in ("val_dataloader", "test_dataloader")}
    for part in ("model", "train_dataloader", *batches):
        shrink(cfg[part])
    for part, size in batches.items():  # images of several sizes need a batch of one
        cfg[part].batch_size = min(size, 2)
    cfg.train_cfg.update(max_iters=iterations, val_interval=iterations)
    cfg.param_scheduler = []
    cfg.default_hooks.checkpoint.interval = iterations
    return cfg


def problems_of(task: str, root: Path, options: Sequence[str] = ()) -> list[str]:
    """What the check of the data says is wrong, without the command around it."""
    overrides = dict(option.split("=", 1) for option in options)
    try:
        cfg = loading.load_config(
            RECIPES[task], {"own_data.root": str(root), **parse_options(overrides)}
        )
    except (ValueError, FileNotFoundError) as error:
        return [str(error)]
    return check_data(small(cfg))[1].problems


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """The one line that it says of a mistake."""
        assert "Traceback" not in self.stdout + self.stderr and "\nwhere:" not in self.stderr
        lines = [line for line in self.stderr.splitlines() if line.startswith("error: ")]
        assert self.code == 2 and len(lines) == 1, (self.code, self.stderr[-2000:])
        return lines[0]


@dataclass
class Commands:
    """Commands on one data set."""

    task: str
    root: Path
    run: Callable[..., Ended]
    options: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def overrides(self) -> list[str]:
        return ["--cfg-options", f"own_data.root={self.root}", *self.options]

    def check(self) -> Ended:
        return self.run("check_data.py", RECIPES[self.task], "--again", *self.overrides)

    def train(self) -> Ended:
        return self.run("train.py", RECIPES[self.task], "--work-dir", "run", *self.overrides)

    def test(self) -> Ended:
        arguments = (RECIPES[self.task], "run/checkpoint.safetensors", "--work-dir", "tested")
        return self.run("test.py", *arguments, *self.overrides)

    def predict(self, *images: Any) -> Ended:
        arguments = (RECIPES[self.task], "run/checkpoint.safetensors", *images, "--out", "out")
        return self.run("predict.py", *arguments, "--min-score", "0", *self.overrides)

    def refused(self, *words: str) -> None:
        """Check and training name the same mistake, and nothing was trained.

        Of several mistakes training says one, and how many more there are.
        """
        checked, trained = self.check(), self.train()
        if checked.code == 1:
            lines = [line for line in checked.stdout.splitlines() if line.startswith("wrong: ")]
            said = [line.removeprefix("wrong: ") for line in lines]
        else:
            said = [checked.error]
        named = any(line in trained.error for line in said)
        for word in words:
            assert any(word in line for line in said), checked.stdout
            assert named or word in trained.error, trained.error
        assert not list(Path("run").rglob("*.safetensors"))

    def accepted(self, *remarks: str) -> dict[str, Any]:
        """It is checked, trained, tested and drawn; the record of the test."""
        checked = self.check()
        assert checked.code == 0, checked.stdout + checked.stderr
        for command in (self.train, self.test):
            ended = command()
            assert ended.code == 0, ended.stderr[-3000:]
        for remark in remarks:
            assert remark in checked.stdout, checked.stdout
            assert remark in " ".join(p.read_text() for p in Path("run").rglob("*.log"))
        if self.task != "cls":
            assert list(Path("tested/predictions").glob("*.png"))
        return json.loads(Path("tested/record.json").read_text())


@pytest.fixture(autouse=True)
def no_garbage_collection(monkeypatch):
    """MMEngine looks for garbage after each data set, which takes longer than all else here."""
    monkeypatch.setattr(
        "mmengine.dataset.base_dataset.gc", SimpleNamespace(collect=lambda *args: 0)
    )


@pytest.fixture
def commands(tmp_path, monkeypatch, capfd) -> Callable[..., Commands]:
    """Commands for a task and a folder, as from the command line, on tiny models."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    original = loading.load_config
    settings: dict[str, Any] = {}

    def load_small(*args: Any) -> Config:
        return small(original(*args), **settings)

    monkeypatch.setattr(loading, "load_config", load_small)
    monkeypatch.setattr("mae_bench.evaluation.applied.load_config", load_small)

    def run(name: str, *arguments: Any) -> Ended:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "tools" / name), run_name="__main__")
        return Ended(ended.value.code, *capfd.readouterr())

    def make(task: str, root: Path, *options: str) -> Commands:
        return Commands(task, root, run, list(options), settings)

    return make
