"""A run that was killed and resumed is, bit for bit, the run that was not."""

import multiprocessing
import os
import runpy
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import DefaultSampler, InfiniteSampler

from mae_bench.training import ResumableIterLoop, WarmupCosineLR
from mae_bench.training.hooks.saving import load_checkpoint_file

from .conftest import TINY_RUN, losses

pytestmark = pytest.mark.faults

STEPS = 20  # four epochs of five batches
LONG = 3  # times as many in the test with real kills
TIMEOUT = 600  # seconds for a run that takes a few


def final_state(work_dir: Path, steps: int) -> dict:
    return load_checkpoint_file(str(work_dir / f"iter_{steps}.pth"))


def assert_equal(found, expected) -> None:
    """Bit for bit, through all containers."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_equal(found[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert_equal(a, b)
    elif isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype and torch.equal(found, expected)
    else:
        assert found == expected


def assert_same_run(work_dir: Path, reference: Path, steps: int = STEPS) -> None:
    expected = losses(reference)
    assert sorted(expected) == list(range(steps))
    assert losses(work_dir) == expected
    found, whole = final_state(work_dir, steps), final_state(reference, steps)
    for key in ("state_dict", "ema_state_dict", "optimizer", "param_schedulers"):
        assert_equal(found[key], whole[key])
    history = [s["message_hub"]["log_scalars"]["train/loss"].data for s in (found, whole)]
    assert np.array_equal(history[0], history[1])


class Interrupted(BaseException):
    """Not an Exception: nothing may take care of it, as of a signal."""


def count_iterations(config: Config, sampler: type) -> None:
    """The loop over iterations, with a sampler that knows no epochs, or one that does."""
    config.train_cfg = dict(type=ResumableIterLoop, max_iters=STEPS, val_interval=5)
    config.train_dataloader.sampler = dict(type=sampler)
    schedule = dict(type=WarmupCosineLR, warmup=5, by_epoch=False)
    config.param_scheduler = [schedule]


@pytest.mark.parametrize(
    ("model", "workers", "sampler"),
    [
        ("mae", 0, None),
        pytest.param("classifier", 2, None, marks=pytest.mark.slow),
        pytest.param("classifier", 0, InfiniteSampler, marks=pytest.mark.slow),
        ("mae", 0, DefaultSampler),
    ],
)
def test_interrupted_in_mid_epoch_and_in_a_save(
    tiny, images, tmp_path, monkeypatch, model, workers, sampler
):
    def train(work_dir: Path, resume: bool = False) -> None:
        config = tiny["tiny_config"](str(work_dir), str(images), workers, model)
        config.resume = resume
        if sampler is not None:
            count_iterations(config, sampler)
        tiny["TrainRunner"].from_cfg(config).train()

    monkeypatch.setattr("mmengine.runner.loops.time.sleep", lambda seconds: None)
    train(tmp_path / "whole")
    work_dir = tmp_path / "interrupted"

    after_train_iter = tiny["KeepLosses"].after_train_iter

    def interrupt(hook, runner, *args, **kwargs):
        after_train_iter(hook, runner, *args, **kwargs)
        if runner.iter == 7:
            raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(tiny["KeepLosses"], "after_train_iter", interrupt)
        with pytest.raises(Interrupted):
            train(work_dir)
    assert sorted(p.name for p in work_dir.glob("*.pth")) == ["iter_3.pth", "iter_6.pth"]

    def fail_at_checkpoint_12(descriptor):
        if "iter_12.pth" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr("mae_bench.files.os.fsync", fail_at_checkpoint_12)
        with pytest.raises(Interrupted):
            train(work_dir, resume=True)
    assert sorted(p.name for p in work_dir.glob("*.pth")) == ["iter_6.pth", "iter_9.pth"]

    train(work_dir, resume=True)
    assert sorted(p.name for p in work_dir.glob("*.pth")) == ["iter_18.pth", "iter_20.pth"]
    assert_same_run(work_dir, tmp_path / "whole")


def test_a_run_without_seed_is_refused(tiny, images, tmp_path):
    config = tiny["tiny_config"](str(tmp_path), str(images))
    config.randomness = dict(seed=None)
    with pytest.raises(ValueError, match="randomness.seed is not set"):
        tiny["TrainRunner"].from_cfg(config).train()


class Starts:
    """Starts of one run, each in a process group of its own."""

    def __init__(self, work_dir: Path, images: Path, model: str, workers: int) -> None:
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["mae_bench.training", "mmpretrain.models"])
        self.work_dir = work_dir
        self.request = dict(work_dir=str(work_dir), images=str(images), model=model)
        self.request.update(workers=workers, epochs=LONG * STEPS // 5)

    def start(self, **request):
        globals_ = dict(REQUEST={**self.request, **request})
        process = self.context.Process(target=runpy.run_path, args=(TINY_RUN, globals_))
        process.start()
        return process

    def finish(self) -> None:
        process = self.start()
        process.join(TIMEOUT)
        assert process.exitcode == 0

    def kill_after(self, steps: int, delay: float) -> None:
        """SIGKILL once ``steps`` more losses are there and ``delay`` seconds have passed."""
        file = self.work_dir / "losses.txt"
        lines = len(file.read_text().splitlines()) if file.exists() else 0
        process = self.start()
        deadline = time.monotonic() + TIMEOUT
        while process.is_alive() and time.monotonic() < deadline:
            if file.exists() and len(file.read_text().splitlines()) >= lines + steps:
                break
            time.sleep(0.001)
        time.sleep(delay)
        if process.is_alive():
            os.killpg(process.pid, signal.SIGKILL)
        process.join(TIMEOUT)
        assert process.exitcode == -signal.SIGKILL

    def kill_in_save(self, number: int) -> None:
        process = self.start(kill_in_save=number)
        process.join(TIMEOUT)
        assert process.exitcode == -signal.SIGKILL
        assert len(list(self.work_dir.glob(".iter_*.tmp"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("model", "workers"), [("mae", 2), ("classifier", 0)])
def test_killed_at_random_moments(images, tmp_path, model, workers, chance, tally):
    Starts(tmp_path / "whole", images, model, workers).finish()
    starts = Starts(tmp_path / "killed", images, model, workers)
    starts.kill_in_save(2)
    for _ in range(5):
        starts.kill_after(chance.randint(1, 5), delay=chance.uniform(0, 0.02))
        tally["kills"] += 1
    starts.finish()
    assert_same_run(tmp_path / "killed", tmp_path / "whole", LONG * STEPS)
