"""Rates of whole runs beside the sources' formulas, and MMEngine's schedulers in its own loop."""

import math
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config, ConfigDict
from torch import nn

from mae_bench.config.load import load_config
from mae_bench.recipe.built import build
from mae_bench.recipe.rate_curve import rate_curve

CONFIGS = Path(__file__).parents[2] / "configs"


def test_cosine_with_layer_decay():
    """MAE Table 9 as the authors ran it: 100 epochs, 5 of warm-up, decay 0.65 over 13 layers."""
    cfg = load_config(CONFIGS / "cls/vit_base_finetune_in1k.py")
    found = rate_curve(cfg, build(cfg)[0], 1024, 1251)
    peak, floor = 5e-4 * 1024 / 256, 1e-6

    def expected(step: int) -> float:
        epoch = step / 1251
        if epoch < 5:
            return peak * epoch / 5
        return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * (epoch - 5) / 95))

    rates = [expected(step) for step in found.iterations]
    assert found.length == 125100 and found.iterations[[0, -1]].tolist() == [0, 125099]
    assert 5 * 1251 in found.iterations  # the peak is among the points
    assert found.highest == pytest.approx(rates, rel=1e-9)
    assert found.lowest == pytest.approx(np.array(rates) * 0.65**13, rel=1e-9)
    assert set(found.decay) == {0.05}


def small(**changes) -> Config:
    wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.5, weight_decay=0.25))
    return Config(dict(optim_wrapper=wrapper, train_cfg=dict(max_epochs=4)) | changes)


def test_schedulers_by_epoch_step_at_its_end():
    steps = [dict(type="MultiStepLR", milestones=[1, 3], gamma=0.1)]
    found = rate_curve(small(param_scheduler=steps), nn.Linear(2, 2), 8, 3)
    assert found.iterations.tolist() == [*range(12)]
    assert found.highest == pytest.approx([0.5] * 3 + [0.05] * 6 + [0.005] * 3)
    assert (found.lowest == found.highest).all()


def test_weight_decay_may_have_a_schedule_and_the_rate_none():
    decay = dict(
        type="LinearParamScheduler", param_name="weight_decay", by_epoch=False,
        start_factor=1.0, end_factor=0.0,
    )  # fmt: skip
    found = rate_curve(small(param_scheduler=[decay]), nn.Linear(2, 2), 8, 3)
    # it ends with the run of 12 iterations
    assert found.decay == pytest.approx([0.25 * (1 - step / 11) for step in range(12)])
    assert set(found.highest) == {0.5}


def test_iterations_and_a_rate_scaled_by_the_batch():
    cfg = small(
        train_cfg=dict(max_iters=5), auto_scale_lr=ConfigDict(base_batch_size=16, enable=True)
    )
    found = rate_curve(cfg, nn.Linear(2, 2), 64, 1)
    assert found.highest.tolist() == [2.0] * 5
