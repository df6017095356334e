"""The learning rate of every iteration against the closed form, through MMEngine's own runner."""

import math
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn

from mae_bench.training import WarmupCosineLR
from mae_bench.training.schedule import warmup_linear_factor

EPOCH_LENGTH, WARMUP, EPOCHS = 7, 2, 5
PEAK, SCALE = 0.4, 0.25


class Model(BaseModel):
    """Two parameters, the second with a lower peak, as layer decay makes it."""

    def __init__(self) -> None:
        super().__init__()
        self.high = nn.Parameter(torch.zeros(1))
        self.low = nn.Parameter(torch.zeros(1))

    def forward(self, value, mode="loss"):
        return {"loss": (self.high + self.low + value).sum()}


class KeepRates(Hook):
    """Rates in force at each iteration."""

    def __init__(self) -> None:
        self.rates: list[list[float]] = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.rates.append([g["lr"] for g in runner.optim_wrapper.optimizer.param_groups])


def wrap(model: Model) -> OptimWrapper:
    groups = [dict(params=[model.high], lr=PEAK), dict(params=[model.low], lr=PEAK * SCALE)]
    return OptimWrapper(torch.optim.SGD(groups, lr=PEAK))


def train(
    folder: Path, scheduler: dict, by_epoch: bool = True, kind: str = "WarmupCosineLR", **options
) -> list[list[float]]:
    """Rates of both groups at each iteration of a run of MMEngine."""
    model, hook = Model(), KeepRates()
    length = dict(max_epochs=EPOCHS) if by_epoch else dict(max_iters=EPOCHS)
    Runner(
        model,
        work_dir=str(folder),
        train_dataloader=torch.utils.data.DataLoader([{"value": 0.0}] * EPOCH_LENGTH),
        train_cfg=dict(by_epoch=by_epoch, **length),
        optim_wrapper=wrap(model),
        param_scheduler=[dict(type=f"mae_bench.{kind}", **scheduler)],
        custom_hooks=[hook],
        default_hooks=dict(checkpoint=None, logger=None),
        log_level="ERROR",
        experiment_name=folder.name,
        **options,
    ).train()
    return hook.rates


@pytest.mark.parametrize("min_lr", [0.0, 0.04])
def test_every_iteration(min_lr, tmp_path):
    found = train(
        tmp_path,
        dict(warmup=WARMUP, min_lr=min_lr, by_epoch=True, convert_to_iter_based=True),
    )
    assert len(found) == EPOCHS * EPOCH_LENGTH
    for i, rates in enumerate(found):
        epoch = i / EPOCH_LENGTH  # as the official code has it: fractional epochs
        if epoch < WARMUP:
            expected = PEAK * epoch / WARMUP
        else:
            angle = math.pi * (epoch - WARMUP) / (EPOCHS - WARMUP)
            expected = min_lr + (PEAK - min_lr) * 0.5 * (1 + math.cos(angle))
        assert rates == pytest.approx([expected, SCALE * expected], abs=1e-12), i
    assert found[0] == [0.0, 0.0]
    assert found[WARMUP * EPOCH_LENGTH] == pytest.approx([PEAK, PEAK * SCALE])


def test_length_of_the_run_where_no_end_is_given(tmp_path):
    options = dict(warmup=WARMUP, min_lr=0.04, by_epoch=True, convert_to_iter_based=True)
    given = train(tmp_path / "given", dict(**options, end=EPOCHS))
    assert train(tmp_path / "left_out", options) == given
    by_iteration = train(tmp_path / "i", dict(warmup=2, by_epoch=False), by_epoch=False)
    assert by_iteration[-1][0] == pytest.approx(PEAK * 0.5 * (1 + math.cos(math.pi * 2 / 3)))
    with pytest.raises(ValueError, match="needs 'end'"):
        WarmupCosineLR(wrap(Model()), warmup=2, by_epoch=False)


def test_by_iteration(tmp_path):
    found = train(tmp_path, dict(warmup=2, end=EPOCHS, by_epoch=False), by_epoch=False)
    cosine = [PEAK * 0.5 * (1 + math.cos(math.pi * i / 3)) for i in range(3)]
    assert [rates[0] for rates in found] == pytest.approx([0.0, PEAK / 2, *cosine])


def test_fractional_warmup(tmp_path):
    found = train(tmp_path, dict(warmup=0.5, end=EPOCHS, by_epoch=True, convert_to_iter_based=True))
    # Half an epoch is 3.5 iterations.
    assert [rates[0] for rates in found[:4]] == pytest.approx(
        [0, PEAK / 3.5, 2 * PEAK / 3.5, 3 * PEAK / 3.5]
    )
    angle = math.pi * (4 - 3.5) / (EPOCHS * EPOCH_LENGTH - 3.5)
    assert found[4][0] == pytest.approx(PEAK * 0.5 * (1 + math.cos(angle)))


def rates(optimizer: OptimWrapper) -> list[float]:
    return [group["lr"] for group in optimizer.optimizer.param_groups]


def walk(scheduler: WarmupCosineLR, optimizer: OptimWrapper, steps: int) -> list[list[float]]:
    found = []
    for _ in range(steps):
        found.append(rates(optimizer))
        optimizer.optimizer.step()
        scheduler.step()
    return found


def test_floor_is_scaled_with_the_group_and_holds_after_the_end():
    optimizer = wrap(Model())
    scheduler = WarmupCosineLR(optimizer, warmup=2, end=5, min_lr=PEAK * 0.1, by_epoch=False)
    walk(scheduler, optimizer, 5)
    floor = pytest.approx([PEAK * 0.1, PEAK * SCALE * 0.1])
    assert walk(scheduler, optimizer, 3) == [floor] * 3


def test_no_warmup_starts_at_the_peak():
    optimizer = wrap(Model())
    WarmupCosineLR(optimizer, warmup=0, end=EPOCHS, by_epoch=False)
    assert rates(optimizer) == [PEAK, PEAK * SCALE]


@pytest.mark.parametrize(("warmup", "end"), [(5, 5), (-1, 5), (6, 5)])
def test_impossible_warmup(warmup, end):
    with pytest.raises(ValueError, match=f"warmup={warmup} .*end={end}"):
        WarmupCosineLR(wrap(Model()), warmup=warmup, end=end, by_epoch=False)


def test_resume_continues_the_curve():
    def build(optimizer: OptimWrapper) -> WarmupCosineLR:
        return WarmupCosineLR(optimizer, warmup=2, end=EPOCHS, by_epoch=False)

    straight = wrap(Model())
    whole = walk(build(straight), straight, EPOCHS)

    first = wrap(Model())
    before = build(first)
    found = walk(before, first, 3)
    second = wrap(Model())
    after = build(second)
    after.load_state_dict(before.state_dict())
    second.load_state_dict(first.state_dict())
    found += walk(after, second, EPOCHS - 3)
    assert found == whole


@pytest.mark.parametrize("min_lr", [-1e-6, 2 * PEAK])
def test_impossible_floor(min_lr):
    with pytest.raises(ValueError, match=f"min_lr={min_lr} must be .* the peak, 0.4"):
        WarmupCosineLR(wrap(Model()), warmup=0, end=5, min_lr=min_lr, by_epoch=False)


def test_linear_decay_is_multiplied_by_the_warmup(tmp_path):
    """mmcv 1: the rate of ``poly``, (1 - i / max), less the share k of it that is missing."""
    options = dict(warmup=3, start_factor=0.1, by_epoch=False)
    found = train(tmp_path, options, by_epoch=False, kind="WarmupLinearLR")
    expected = []
    for i in range(EPOCHS):
        decayed = PEAK * (1 - i / EPOCHS)
        k = (1 - i / 3) * (1 - 0.1) if i < 3 else 0
        expected.append(decayed * (1 - k))
    assert [rates[0] for rates in found] == pytest.approx(expected)
    assert [rates[1] for rates in found] == pytest.approx([SCALE * rate for rate in expected])


def test_linear_decay_at_the_lengths_of_ade20k():
    """By hand: at iteration 750 half the warm-up, at 1500 all of it, both of the decayed rate."""
    rates = [warmup_linear_factor(i, 1500, 160000, 1e-6) for i in (0, 750, 1500, 80000, 159999)]
    half = (1 - 750 / 160000) * (1 - 0.5 * (1 - 1e-6))
    assert rates == pytest.approx([1e-6, half, 0.990625, 0.5, 1 / 160000])
