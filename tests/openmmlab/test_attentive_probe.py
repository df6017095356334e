"""The attentive probe's head against its formula, patch by patch."""

import math

import pytest
import torch
from mmengine.registry import DefaultScope

from mae_bench.openmmlab.attentive_probe import AttentiveProbeHead


@pytest.fixture(autouse=True)
def scope_of_mmpretrain():
    """mmpretrain builds parts by name, whatever scope an earlier run in this process has left."""
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        yield


def test_pooling_is_the_formula():
    torch.manual_seed(0)
    batch, width, queries = 5, 6, 3
    head = AttentiveProbeHead(4, width, queries).double().train()
    head.queries.data *= 50  # so that the weights differ
    maps = torch.randn(batch, width, 2, 3, dtype=torch.float64)
    pooled = torch.zeros(batch, width, dtype=torch.float64)
    for b in range(batch):
        patches = [maps[b, :, row, column] for row in range(2) for column in range(3)]
        for q in range(queries):
            scores = [float(patch @ head.queries[0, q]) / math.sqrt(width) for patch in patches]
            total = sum(math.exp(score) for score in scores)
            own = slice(q * width // queries, (q + 1) * width // queries)
            for score, patch in zip(scores, patches, strict=True):
                value = head.value.weight[own] @ patch
                pooled[b, own] += math.exp(score) / total * value
    standardised = (pooled - pooled.mean(0)) / torch.sqrt(pooled.var(0, unbiased=False) + 1e-6)
    expected = standardised @ head.fc.weight.T + head.fc.bias
    torch.testing.assert_close(head((torch.zeros(0), maps)), expected)


def test_starts_as_published():
    torch.manual_seed(0)
    head = AttentiveProbeHead(1000, 768)
    head.init_weights()
    # The number of trained parameters in the authors' log of MAE ViT-B.
    assert sum(p.numel() for p in head.parameters()) == 1_383_400
    assert float(head.queries.std()) == pytest.approx(0.02, rel=0.02)
    # Linear layers as PyTorch starts them: uniform up to 1 / sqrt(fan in).
    for weight in (head.fc.weight, head.value.weight):
        assert float(weight.abs().max()) == pytest.approx(768**-0.5, rel=1e-3)


def test_pooled_features_are_refused():
    with pytest.raises(ValueError, match=r'gets \(2, 64\): set model.backbone.output="maps"'):
        AttentiveProbeHead(10, 64)((torch.zeros(2, 64),))


def test_queries_have_to_divide_the_width():
    with pytest.raises(ValueError, match="queries=32 must divide in_channels=100"):
        AttentiveProbeHead(10, 100)
