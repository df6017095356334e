"""The moving average of the weights against its closed form, through a run of MMEngine."""

import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn

from mae_bench.training.hooks import WeightAverage
from mae_bench.training.hooks.ema import measured_weights

DECAY, STEPS, EPOCHS = 0.75, 3, 2


class Model(BaseModel):
    """One weight, moved by 1 at each step of SGD with rate 1."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, value, mode="loss"):
        if mode == "predict":
            return [self.weight.item()] * len(value)
        return {"loss": -self.weight.sum()}


class Weight(BaseMetric):
    """The weight that was validated."""

    def process(self, data_batch, data_samples):
        self.results.extend(data_samples)

    def compute_metrics(self, results):
        return {"weight": results[0]}


class Keep(Hook):
    """Metrics of each validation, and the weight an export would have, as a run's record and
    export see them."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.found: list[dict[str, float]] = []

    def after_val_epoch(self, runner, metrics=None):
        self.found.append(dict(metrics))

    def after_train(self, runner):
        with measured_weights(runner):
            self.exported = runner.model.weight.item()


def train(hook: dict, folder) -> Keep:
    model, keep = Model(), Keep()
    loader = torch.utils.data.DataLoader([{"value": 0.0}] * STEPS)
    Runner(
        model,
        work_dir=str(folder),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=EPOCHS),
        optim_wrapper=OptimWrapper(torch.optim.SGD(model.parameters(), lr=1.0)),
        val_dataloader=loader,
        val_cfg={},
        val_evaluator=Evaluator(Weight()),
        custom_hooks=[hook, keep],
        default_hooks=dict(checkpoint=None, logger=None),
        log_level="ERROR",
        experiment_name=folder.name,
    ).train()
    assert model.weight.item() == EPOCHS * STEPS  # a hook of MMEngine leaves the plain weights
    return keep


def averages() -> list[float]:
    """After step n the weight is n. The average starts at the weights after the first step."""
    found = [1.0]
    for step in range(2, EPOCHS * STEPS + 1):
        found.append(DECAY * found[-1] + (1 - DECAY) * step)
    return found


def test_average_is_validated_and_exported(tmp_path):
    keep = train(dict(type="mae_bench.WeightAverage", decay=DECAY), tmp_path)
    for epoch, metrics in enumerate(keep.found, start=1):
        assert metrics["weight"] == pytest.approx(averages()[epoch * STEPS - 1])
        assert metrics["weight_without_ema"] == epoch * STEPS
    assert len(keep.found) == EPOCHS
    assert keep.exported == pytest.approx(averages()[-1])


@pytest.mark.parametrize("measured", ["average", "plain"])
@pytest.mark.parametrize("hook", ["mmengine.EMAHook", "mmpretrain.EMAHook"])
def test_what_hooks_of_the_hosts_measure_is_exported(hook, measured, tmp_path):
    options = dict(momentum=1 - DECAY)
    if measured == "plain":
        if hook == "mmengine.EMAHook":
            pytest.skip("it measures the average only")
        options.update(evaluate_on_ema=False, evaluate_on_origin=True)
    keep = train(dict(type=hook, **options), tmp_path)
    assert keep.exported == pytest.approx(keep.found[-1]["weight"])
    last = averages()[-1] if measured == "average" else EPOCHS * STEPS
    assert keep.exported == pytest.approx(last)


def test_decay_of_the_paper():
    assert WeightAverage().ema_cfg["momentum"] == pytest.approx(1e-4)
