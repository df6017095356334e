"""How the classifier of patches starts."""

import pytest
import torch
from scipy import stats

from mae_bench.openmmlab.patch_classifier import PatchClassifier

WIDTH, CLASSES = 96, 920


def test_initial_weights_are_those_of_the_authors():
    """timm's trunc_normal_ of the weight alone: the bias stays nn.Conv2d's, +-1 / sqrt(fan in)."""
    torch.manual_seed(0)
    head = PatchClassifier(in_channels=WIDTH, in_index=0, num_classes=CLASSES)
    head.init_weights()
    weight, bias = head.conv_seg.weight.detach().flatten(), head.conv_seg.bias.detach()
    assert weight.std().item() == pytest.approx(2e-5, rel=0.02)
    bound = WIDTH**-0.5
    assert stats.kstest(bias, stats.uniform(-bound, 2 * bound).cdf).pvalue > 0.01
