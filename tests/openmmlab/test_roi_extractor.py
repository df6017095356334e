"""RoI features of a linear ramp, whose values are the places themselves."""

import pytest
import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor

from mae_bench.openmmlab.roi_extractor import Float32RoIExtractor
from mae_bench.registry import MODELS

SIDE, STRIDES = 256, (4, 8)
# x1 and x2 need more bits than bfloat16 has; the second box belongs to the coarser level.
BOXES = torch.tensor([[0, 517.3, 20.0, 525.7, 28.0], [0, 513.3, 20.0, 690.9, 120.0]])


def build(extractor, strides=STRIDES):
    return extractor(
        roi_layer=dict(type="RoIAlign", output_size=2, sampling_ratio=2),
        out_channels=1,
        featmap_strides=strides,
    )


def ramp(stride, centre, dtype):
    """(1, 1, rows, columns) with value column - centre, exact in any type where it is small."""
    columns = torch.arange(4 * SIDE / stride) - centre / stride
    return columns.expand(1, 1, len(columns), -1).to(dtype)


def expected(box, stride, centre):
    """Value at the centres of two bins: pixel x lies at column x / stride - 1/2."""
    x1, x2 = box[1].item(), box[3].item()
    places = [x1 + (x2 - x1) * part for part in (0.25, 0.75)]
    return torch.tensor([(place - centre) / stride - 0.5 for place in places]).expand(1, 2, 2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("box", [0, 1])
def test_boxes_are_not_rounded(box, dtype):
    centre = 520 if box == 0 else 600  # a multiple of both strides, near the box
    feats = tuple(ramp(stride, centre, dtype) for stride in STRIDES)
    out = build(Float32RoIExtractor)(feats, BOXES[box : box + 1])
    assert out.dtype == dtype and out.shape == (1, 1, 2, 2)
    # Only the result is rounded: to 8 bits in bfloat16.
    wanted = expected(BOXES[box], STRIDES[box], centre)
    torch.testing.assert_close(out[0].float(), wanted, rtol=2**-8, atol=1e-4)


def test_mmdet_rounds_them():
    """Why this class is there; when this fails, mmdet no longer needs it."""
    feats = tuple(ramp(stride, 520, torch.bfloat16) for stride in STRIDES)
    out = build(SingleRoIExtractor)(feats, BOXES[:1])
    assert (out[0].float() - expected(BOXES[0], 4, 520)).abs().max() > 0.1


def test_same_as_mmdet_in_float32():
    feats = tuple(torch.rand(2, 3, 64 // s, 64 // s) for s in (1, 2))
    boxes = torch.tensor([[0, 3.0, 4.0, 20.0, 25.0], [1, 0.0, 0.0, 60.0, 60.0]])
    ours, theirs = build(Float32RoIExtractor, (1, 2)), build(SingleRoIExtractor, (1, 2))
    for extractor in (ours, theirs):
        extractor.out_channels = 3
    assert torch.equal(ours(feats, boxes), theirs(feats, boxes))
    assert torch.equal(ours(feats, boxes, 1.5), theirs(feats, boxes, 1.5))
    assert ours(feats, boxes[:0]).shape == (0, 3, 2, 2)


def test_gradients_reach_features_of_lower_precision():
    feats = tuple(ramp(stride, 520, torch.bfloat16).requires_grad_() for stride in STRIDES)
    build(Float32RoIExtractor)(feats, BOXES).float().square().sum().backward()
    assert all(level.grad.dtype == torch.bfloat16 and level.grad.any() for level in feats)


def test_config_names_it_by_class_or_by_string():
    options = dict(
        roi_layer=dict(type="RoIAlign", output_size=2, sampling_ratio=2),
        out_channels=1,
        featmap_strides=STRIDES,
    )
    for name in (Float32RoIExtractor, "mae_bench.Float32RoIExtractor"):
        assert type(MODELS.build(dict(type=name, **options))) is Float32RoIExtractor
