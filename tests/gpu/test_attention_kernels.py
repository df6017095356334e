"""Which of PyTorch's attention kernels runs for each kind of our attention; it is the formula."""

import re

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import profile, supported_activities

from mae_bench.models.attention import Attention
from mae_bench.models.position import RelativePositionBias

from .device import DEVICE, ON_GPU

pytestmark = pytest.mark.gpu

WIDTH, HEADS = 768, 12  # of ViT-B
GRID = (14, 14)
KINDS = ("no bias", "fixed bias", "learned bias", "decomposed")
FUSED = ("flash", "efficient", "cudnn")  # which never hold the logits
OPERATOR = re.compile(
    r"aten::_scaled_dot_product_(\w+?)_attention(?:_for_cpu)?$|.*_attention_(math)$"
)
TOLERANCE = {"float32": 1e-4, "bfloat16": 2e-2, "float16": 4e-3}


def pass_through(kind: str, precision: str) -> torch.Tensor:
    """Output and gradients of a layer of ViT-B, with weights that are not zero."""
    torch.manual_seed(0)
    layer = Attention(WIDTH, HEADS, rel_pos_grid=GRID if kind == "decomposed" else None)
    bias = RelativePositionBias(GRID, HEADS, class_token=False)
    x = torch.randn(2, GRID[0] * GRID[1], WIDTH).to(DEVICE).requires_grad_()
    for parameter in (*layer.parameters(), *bias.parameters()):
        torch.nn.init.normal_(parameter, std=0.05)
    layer.to(DEVICE)
    bias.to(DEVICE).requires_grad_(kind == "learned bias")
    given = bias(GRID) if kind.endswith("d bias") else None
    with torch.autocast(DEVICE, getattr(torch, precision), enabled=precision != "float32"):
        out = layer(x, given, grid=GRID)
    out.float().square().sum().backward()
    trained = [x, *layer.parameters(), *bias.parameters()]
    found = [out, *(p.grad for p in trained if p.grad is not None)]
    return torch.cat([(part.float() / part.float().norm()).flatten() for part in found]).detach()


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("kind", KINDS)
def test_the_chosen_kernel(kind, precision, record_property):
    with sdpa_kernel(SDPBackend.MATH):
        expected = pass_through(kind, "float32")
    pass_through(kind, precision)  # the first call loads libraries
    with profile(activities=list(supported_activities())) as seen:
        found = pass_through(kind, precision)
    names = [event.key for event in seen.key_averages()]
    chosen = {
        "".join(filter(None, match.groups())) for match in map(OPERATOR.match, names) if match
    }
    kernels = [name for name in names if re.search("fmha|flash_|cudnn.*sdpa", name)]
    record_property("operator", ", ".join(sorted(chosen)) or "plain products")
    record_property("kernels", ", ".join(kernels))
    error = ((found - expected).norm() / expected.norm()).item()
    record_property("error", error)
    assert error < TOLERANCE[precision]
    if ON_GPU:
        assert chosen and chosen <= set(FUSED)
