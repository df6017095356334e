"""torch.compile of the step of pre-training is the step as it is written."""

import pytest
import torch
from mmengine.registry import MODELS

from mae_bench.training.seeded import seed_everything

from ..training.test_precision import CONFIGS, random_batch, small_config
from .device import DEVICE

pytestmark = pytest.mark.gpu


def test_the_compiled_step_is_the_eager_one(record_property):
    cfg = small_config(CONFIGS / "pretrain/mae_vit_base_p16.py")
    seed_everything(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.to(DEVICE).train()
    images = model.data_preprocessor(random_batch(cfg), True)["inputs"]
    # With random numbers of its own it would draw another mask.
    compiled = torch.compile(model.loss, fullgraph=True, options=dict(fallback_random=True))
    found = []
    for loss_of in (model.loss, compiled):
        seed_everything(1)
        model.zero_grad()
        loss = loss_of(images)
        loss.backward()
        gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        found.append((loss.item(), torch.cat(gradients)))
    (loss, gradient), (compiled_loss, compiled_gradient) = found
    error = ((compiled_gradient - gradient).norm() / gradient.norm()).item()
    record_property("loss", abs(compiled_loss / loss - 1))
    record_property("gradient", error)
    assert compiled_loss == pytest.approx(loss, rel=1e-5)
    assert error < 1e-4
