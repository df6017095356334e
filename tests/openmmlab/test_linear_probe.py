"""The linear probe's head against the formula of batch normalisation."""

import pytest
import torch
from mmengine.registry import DefaultScope

from mae_bench.openmmlab.linear_probe import LinearProbeHead

EPS = 1e-6


@pytest.fixture(autouse=True)
def scope_of_mmpretrain():
    """mmpretrain builds parts by name, whatever scope an earlier run in this process has left."""
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        yield


def make_head() -> LinearProbeHead:
    return LinearProbeHead(num_classes=3, in_channels=4)


def features(count: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    # Small in scale, so that eps counts.
    return 2e-3 * torch.randn(count, 4, generator=generator) + 5


def test_training_uses_the_batch():
    head = make_head().train()
    x = features()
    standardised = (x - x.mean(0)) / torch.sqrt(x.var(0, unbiased=False) + EPS)
    expected = standardised @ head.fc.weight.T + head.fc.bias
    assert torch.allclose(head((x,)), expected, atol=2e-3)
    # With PyTorch's default eps of 1e-5 the result would be quite another.
    other = (x - x.mean(0)) / torch.sqrt(x.var(0, unbiased=False) + 1e-5)
    assert not torch.allclose(head((x,)), other @ head.fc.weight.T + head.fc.bias, atol=2e-2)


def test_evaluation_uses_the_running_statistics():
    head = make_head()
    x = features()
    head.train()
    head((x,))
    mean, variance = 0.1 * x.mean(0), 0.9 + 0.1 * x.var(0)
    head.eval()
    y = features(2) + 1
    expected = ((y - mean) / torch.sqrt(variance + EPS)) @ head.fc.weight.T + head.fc.bias
    assert torch.allclose(head((y,)), expected, atol=1e-5)
    # One image alone has no batch statistics.
    assert torch.allclose(head((y[:1],)), expected[:1], atol=1e-5)


def test_last_features_count():
    head = make_head().eval()
    x = features()
    assert torch.equal(head((x + 1, x)), head((x,)))


def test_only_the_linear_layer_learns():
    assert {name for name, _ in make_head().named_parameters()} == {"fc.weight", "fc.bias"}
