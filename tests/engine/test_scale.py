"""Two processes, or accumulated batches, are one process with a batch as large as both."""

import json
import multiprocessing
import runpy
import socket
from pathlib import Path

import pytest
import torch

from mae_bench.engine.saving import load_checkpoint_file

from .conftest import TINY_RUN, losses

BATCH, STEPS, EPOCHS = 8, 6, 3  # of sixteen of the images
TIMEOUT = 600
CHANGES = {
    "train_dataloader.dataset.indices": 16,
    # Biases of keys have no gradient but rounding, which AdamW would make a step of full size.
    "optim_wrapper.optimizer.eps": 1e-4,
}


def curve(work_dir: Path, rank: str = "") -> torch.Tensor:
    found = losses(work_dir, rank)
    return torch.tensor([float.fromhex(*found[step]) for step in sorted(found)])


def masks(work_dir: Path, rank: str = "") -> torch.Tensor:
    """(steps, batch, visible patches)."""
    lines = (work_dir / f"masks{rank}.txt").read_text().splitlines()
    return torch.tensor([json.loads(line) for line in lines])


def weights(work_dir: Path, steps: int) -> dict[str, torch.Tensor]:
    return load_checkpoint_file(str(work_dir / f"iter_{steps}.pth"))["state_dict"]


def assert_weights_close(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-4, atol=1e-5, msg=name)


@pytest.fixture
def train(tiny, images, tmp_path):
    def run(name: str, batch_size: int, changes: dict | None = None) -> Path:
        arguments = dict(epochs=EPOCHS, batch_size=batch_size)
        config = tiny["tiny_config"](str(tmp_path / name), str(images), **arguments)
        config.merge_from_dict({**CHANGES, **(changes or {})})
        tiny["launch"].TrainRunner.from_cfg(config).train()
        return tmp_path / name

    return run


def test_accumulation_is_a_larger_batch(train):
    whole = train("whole", BATCH)
    halves = train("halves", BATCH // 2, {"optim_wrapper.accumulative_counts": 2})
    assert len(curve(whole)) == STEPS
    torch.testing.assert_close(curve(halves).view(-1, 2).mean(1), curve(whole), rtol=1e-5, atol=0)
    assert torch.equal(masks(halves).view_as(masks(whole)), masks(whole))
    assert_weights_close(weights(halves, 2 * STEPS), weights(whole, STEPS))


@pytest.fixture
def train_two(images, tmp_path):
    """The same run in two processes, each with half of the batch."""

    def run(**request) -> Path:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["mmpretrain.models", "mae_bench.engine"])
        request.update(work_dir=str(tmp_path / "two"), images=str(images), epochs=EPOCHS)
        request.update(batch_size=BATCH // 2, changes=CHANGES)
        processes = []
        for rank in range(2):
            environment = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=2, MASTER_PORT=port)
            environment = {name: str(value) for name, value in environment.items()}
            environment["MASTER_ADDR"] = "127.0.0.1"
            globals_ = dict(REQUEST=dict(request, environment=environment))
            processes.append(context.Process(target=runpy.run_path, args=(TINY_RUN, globals_)))
            processes[-1].start()
        for process in processes:
            process.join(TIMEOUT)
        assert [process.exitcode for process in processes] == [0, 0]
        return tmp_path / "two"

    return run


def assert_curve_of_one_process(two: Path, whole: Path) -> None:
    curves = torch.stack([curve(two), curve(two, "1")])
    torch.testing.assert_close(curves.mean(0), curve(whole), rtol=1e-5, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_two_processes_are_one(train, train_two, workers):
    whole = train("whole", BATCH)
    two = train_two(workers=workers)
    assert_curve_of_one_process(two, whole)
    parts = [masks(two), masks(two, "1")]
    assert not torch.equal(*parts)
    # process r has samples r, r + 2, ... of the batch
    assert torch.equal(torch.stack(parts, 2).flatten(1, 2), masks(whole))
    assert_weights_close(weights(two, STEPS), weights(whole, STEPS))


@pytest.mark.slow
def test_two_processes_that_share_the_weights_are_one(train, train_two):
    """Fully sharded data parallel, by MMEngine's strategy."""
    assert_curve_of_one_process(train_two(sharded=True), train("whole", BATCH))
