"""The linear probe's benchmark measures what it says: one step with gradients, one without."""

import pytest
import torch

from benchmarks import linear_probe


@pytest.mark.parametrize("frozen", [True, False])
def test_only_one_of_the_steps_records_the_backbone(frozen, monkeypatch):
    made = []
    build = linear_probe.VisionTransformer

    def keep(*args, **options):
        small = dict(embed_dim=16, depth=2, num_heads=2)
        made.append(build(small, **options))
        return made[-1]

    monkeypatch.setattr(linear_probe, "VisionTransformer", keep)
    step = linear_probe.make_step("base", 16, torch.randn(4, 3, 224, 224), frozen)
    step()
    gradients = [p.grad is not None for p in made[0].parameters()]
    assert not any(gradients) if frozen else all(gradients)
