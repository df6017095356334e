"""The losses of the first pre-training steps, which a refactoring must not change.

Weights, images and masking scores come from closed forms, so the figures depend on no random
number generator. Hugging Face's ViTMAEForPreTraining, given the same weights, images and masks and
trained alike, gave the same figures when they were recorded.
"""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mae_bench.models.mae import MAE
from mae_bench.models.masking import random_masking

GOLDEN = [1.246483, 1.147907, 1.079930, 1.037177, 1.015161]


def scatter(shape: tuple[int, ...], offset: float) -> Tensor:
    """Numbers in (-1, 1) without visible order: the fraction of a large multiple of a sine."""
    index = np.arange(math.prod(shape), dtype=np.float64)
    values = np.sin(index * 12.9898 + offset * 78.233) * 4375.85453
    return torch.from_numpy(2 * (values - np.floor(values)) - 1).float().reshape(shape)


def build() -> MAE:
    model = MAE(
        backbone=dict(
            type="VisionTransformer",
            arch=dict(embed_dim=32, depth=2, num_heads=4),
            img_size=(8, 32),
            patch_size=4,
            output="tokens",
        ),
        decoder=dict(embed_dim=16, depth=1, num_heads=2),
    )
    with torch.no_grad():
        trained = sorted((n, p) for n, p in model.named_parameters() if p.requires_grad)
        for i, (name, parameter) in enumerate(trained):
            centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.copy_(0.2 * scatter(parameter.shape, i) + centre)
    return model


def images_and_scores(step: int) -> tuple[Tensor, Tensor]:
    """Four images (4, 3, 8, 32) of tilted waves, and masking scores (4, 16)."""
    b, c, y, x = (
        torch.arange(n, dtype=torch.float64).reshape([-1 if d == i else 1 for d in range(4)])
        for i, n in enumerate((4, 3, 8, 32))
    )
    waves = torch.sin(0.3 * (b + 1) * x + 0.5 * y + 1.7 * c + step) + torch.cos(0.2 * x * (c - y))
    return waves.float(), scatter((4, 16), 100 + step)


def test_losses_of_five_adamw_steps():
    model = build()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=5e-3, betas=(0.9, 0.95), weight_decay=0.05)
    losses = []
    for step in range(5):
        images, scores = images_and_scores(step)
        loss = model.loss(images, random_masking(4, 16, 0.75, noise=scores))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses == pytest.approx(GOLDEN, rel=1e-4)
