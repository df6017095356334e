"""Two processes, or accumulated batches, are one process with a batch as large as both."""

import json
import math
import multiprocessing
import runpy
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from safetensors.torch import load_file

from mae_bench.training import LARS, ResumableEpochLoop, ResumableIterLoop, WarmupCosineLR
from mae_bench.training.hooks.saving import load_checkpoint_file
from mae_bench.training.step_batch import Parts, StepBatch, share_batch

from .conftest import TINY_RUN, losses
from .test_resume import assert_equal

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


def state(work_dir: Path, steps: int) -> dict:
    return load_checkpoint_file(str(work_dir / f"iter_{steps}.pth"))


def weights(work_dir: Path, steps: int) -> dict[str, torch.Tensor]:
    return state(work_dir, steps)["state_dict"]


def assert_weights_close(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-4, atol=1e-5, msg=name)


@pytest.fixture
def train(tiny, images, tmp_path):
    def run(name: str, batch_size: int, changes: dict | None = None, **request) -> Path:
        request.update(epochs=EPOCHS, batch_size=batch_size)
        config = tiny["tiny_config"](str(tmp_path / name), str(images), **request)
        config.merge_from_dict({**CHANGES, **(changes or {})})
        tiny["TrainRunner"].from_cfg(config).train()
        return tmp_path / name

    return run


def test_accumulation_is_a_larger_batch(train):
    whole = train("whole", BATCH)
    halves = train("halves", BATCH // 2, {"optim_wrapper.accumulative_counts": 2})
    assert len(curve(whole)) == STEPS
    torch.testing.assert_close(curve(halves), curve(whole), rtol=1e-5, atol=0)
    assert torch.equal(masks(halves), masks(whole))
    assert_weights_close(weights(halves, STEPS), weights(whole, STEPS))


def test_the_log_shows_the_rate_for_the_batch(train):
    """``base_lr`` is that of a layer without decay."""
    scaling = dict(base_batch_size=256, enable=True)
    scalars = {}
    for name, changes in (("plain", {}), ("scaled", {"auto_scale_lr": scaling})):
        hub = state(train(name, BATCH, changes), STEPS)["message_hub"]
        scalars[name] = hub["log_scalars"]["train/base_lr"].data[0]
        assert scalars[name].tolist() == hub["log_scalars"]["train/lr"].data[0].tolist()
    assert scalars["scaled"] == pytest.approx(scalars["plain"] * BATCH / 256)


def test_the_floor_of_the_schedule_is_a_rate_of_this_batch(train):
    """Also where the batch is smaller than the one that the base rate is for."""
    changes = {
        "auto_scale_lr": dict(base_batch_size=256, enable=True),
        "param_scheduler.0.min_lr": 1e-4,
    }
    hub = state(train("floor", BATCH, changes), STEPS)["message_hub"]["log_scalars"]
    peak, floor, warmup = 1e-2 * BATCH / 256, 1e-4, STEPS // EPOCHS
    expected = [peak * step / warmup for step in range(warmup)]
    expected += [
        floor + (peak - floor) * (1 + math.cos(math.pi * step / (STEPS - warmup))) / 2
        for step in range(STEPS - warmup)
    ]
    assert hub["train/lr"].data[0].tolist() == pytest.approx(expected)


def test_a_stated_batch_is_held(train):
    """Parts of at most 3, also of the last batch, which is a half one, in as many iterations."""
    changes = {"train_dataloader.dataset.indices": 20, "train_dataloader.drop_last": False}
    whole = train("whole", BATCH, changes)
    held = train("held", 3, {"total_batch_size": BATCH, **changes})
    assert len(curve(held)) == len(curve(whole)) == 9
    torch.testing.assert_close(curve(held), curve(whole), rtol=1e-5, atol=0)
    assert_weights_close(weights(held, 9), weights(whole, 9))


def test_parts_whose_samples_are_tensors():
    """As loops take them from anyone's collate; hooks then see the first part as it is."""
    parts = [dict(inputs=torch.ones(2), data_samples=torch.ones(2)) for _ in range(3)]
    wrapper = SimpleNamespace(_accumulative_counts=3)
    model = SimpleNamespace(train_step=lambda part, optim_wrapper: {"loss": part["inputs"].sum()})
    loop = SimpleNamespace(
        runner=SimpleNamespace(optim_wrapper=wrapper, model=model), _prepare=lambda *_: None
    )
    batch = Parts(parts[0], iter(parts[1:]), 3)
    assert ResumableEpochLoop._train_parts(loop, batch) == ({"loss": 2.0}, [])
    assert (wrapper._inner_count, wrapper._max_counts, wrapper._remainder_counts) == (0, 3, 0)


@pytest.mark.parametrize(
    "sampler", [DefaultSampler, pytest.param(InfiniteSampler, marks=pytest.mark.slow)]
)
def test_accumulation_in_a_loop_over_iterations_that_was_stopped(train, sampler, monkeypatch):
    # MMEngine waits for 2 s wherever the data begins anew
    monkeypatch.setattr("mmengine.runner.loops.time.sleep", lambda seconds: None)

    def changes(iterations: int = 7, **more) -> dict:
        loop = dict(type=ResumableIterLoop, max_iters=iterations, _delete_=True)
        rate = dict(type=WarmupCosineLR, warmup=2, end=7, by_epoch=False)
        order = dict(type=sampler, shuffle=True)
        return dict(train_cfg=loop, param_scheduler=[rate], **more) | {
            "train_dataloader.sampler": order
        }

    whole = train("whole", BATCH, changes())
    train("stopped", 4, changes(3, total_batch_size=BATCH))
    stopped = train("stopped", 4, changes(total_batch_size=BATCH, resume=True))
    assert len(curve(stopped)) == 7
    torch.testing.assert_close(curve(stopped), curve(whole), rtol=1e-5, atol=0)
    assert torch.equal(masks(stopped), masks(whole))


@pytest.mark.parametrize(
    ("total", "processes", "largest", "size", "accumulation"),
    [
        (4096, 8, 512, 512, 1),
        (4096, 1, 512, 512, 8),
        (4096, 64, 512, 64, 1),
        (64, 1, 8, 8, 8),
        (64, 2, 7, 4, 8),
        (64, 6, 8, 5, 2),  # 60: 6 processes cannot share 64
        (16384, 3, 2048, 1820, 3),  # 16,380
    ],
)
def test_shares_of_a_batch(total, processes, largest, size, accumulation):
    assert share_batch(total, processes, largest) == StepBatch(processes, size, accumulation)


@pytest.fixture
def train_two(images, tmp_path):
    """The same run in two processes, each with half of the batch."""

    def run(name: str = "two", changes: dict | None = None, **request) -> Path:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["mae_bench.training", "mmpretrain.models"])
        request.update(work_dir=str(tmp_path / name), images=str(images), epochs=EPOCHS)
        request.update(batch_size=BATCH // 2, changes={**CHANGES, **(changes or {})})
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
            if process.is_alive():
                process.kill()
        assert [process.exitcode for process in processes] == [0, 0]
        return tmp_path / name

    return run


def mean_curve(two: Path) -> torch.Tensor:
    return torch.stack([curve(two), curve(two, "1")]).mean(0)


def assert_curve_of_one_process(two: Path, whole: Path) -> None:
    torch.testing.assert_close(mean_curve(two), curve(whole), rtol=1e-5, atol=0)


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


SHARDED = dict(sharded=True, average=False)
# as in the recipes: the processes draw different first weights
DIFFERENT = {"randomness.diff_rank_seed": True}
HALF = 2  # steps: one epoch of the three
STOP = {"train_cfg.max_epochs": 1}


@pytest.mark.slow
def test_two_processes_that_share_the_weights_are_one(train, train_two):
    """Fully sharded data parallel: the same losses, and files that say nothing of it."""
    whole, two = train("whole", BATCH, average=False), train_two(changes=DIFFERENT, **SHARDED)
    assert_curve_of_one_process(two, whole)
    assert_weights_close(weights(two, STEPS), weights(whole, STEPS))
    exported = [load_file(folder / "checkpoint.safetensors") for folder in (two, whole)]
    assert_weights_close(*exported)
    found, expected = (state(folder, STEPS)["optimizer"] for folder in (two, whole))
    assert_equal(found["param_groups"], expected["param_groups"])
    torch.testing.assert_close(found["state"], expected["state"], rtol=1e-4, atol=1e-5)
    parts = [int((two / f"held{rank}.txt").read_text()) for rank in ("", "1")]
    held = int((whole / "held.txt").read_text())
    assert sum(parts) == held and max(parts) < 0.6 * held


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"optim_wrapper.accumulative_counts": 2},
        {"optim_wrapper.clip_grad": dict(max_norm=0.1)},
        {
            "optim_wrapper.optimizer": dict(type=LARS, lr=1.0, _delete_=True),
            "model.backbone.with_cp": True,
        },
    ],
    ids=["accumulation", "clipping", "lars_and_activation_checkpointing"],
)
def test_sharded_steps_of_other_kinds(train, train_two, changes):
    whole = train("whole", BATCH, changes, average=False)
    assert_curve_of_one_process(train_two(changes=changes, **SHARDED), whole)


@pytest.mark.slow
def test_sharded_fine_tuning_is_that_of_two_processes(train_two):
    """Drop path and mixup differ from process to process, layer decay from block to block."""
    request = dict(model="classifier", average=False)
    changes = {"optim_wrapper.paramwise_cfg": dict(layer_decay=0.65)}
    two = train_two(changes=changes, **request)
    sharded = train_two("sharded", changes, sharded=True, **request)
    for rank in ("", "1"):
        torch.testing.assert_close(curve(sharded, rank), curve(two, rank), rtol=1e-5, atol=0)
    assert_weights_close(weights(sharded, STEPS), weights(two, STEPS))
    accuracy = "val/accuracy/top1"
    found = [state(folder, STEPS)["message_hub"]["log_scalars"] for folder in (sharded, two)]
    assert_equal(*(scalars[accuracy].data[0].tolist() for scalars in found))


@pytest.mark.slow
def test_a_sharded_run_that_was_stopped(train, train_two, tmp_path):
    """Goes on to the bit, and in one process; and a run of one process goes on sharded."""
    two = train_two(**SHARDED)
    stopped = train_two("stopped", STOP, **SHARDED)
    assert sorted(path.name for path in stopped.glob("*.pth")) == [f"iter_{HALF}.pth"]
    shutil.copytree(stopped, tmp_path / "in_one")

    train_two("stopped", **SHARDED)
    assert torch.equal(mean_curve(stopped), mean_curve(two))
    for part in ("state_dict", "optimizer", "param_schedulers"):
        assert_equal(*(state(folder, STEPS)[part] for folder in (stopped, two)))

    in_one = train("in_one", BATCH, {"resume": True}, average=False)
    torch.testing.assert_close(curve(in_one)[HALF:], mean_curve(two)[HALF:], rtol=1e-5, atol=0)
    assert_weights_close(weights(in_one, STEPS), weights(two, STEPS))

    train("one", BATCH, STOP, average=False)
    sharded = train_two("one", **SHARDED)
    torch.testing.assert_close(
        (curve(sharded)[HALF:] + curve(sharded, "1")) / 2, mean_curve(two)[HALF:], rtol=1e-5, atol=0
    )
    assert_weights_close(weights(sharded, STEPS), weights(two, STEPS))
