"""Heads and loss of segmentation give what mmseg's own give."""

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.models import CrossEntropyLoss, FCNHead, UPerHead
from mmseg.structures import SegDataSample

from mae_bench.openmmlab.seg_heads import (
    AuxiliaryFCNHead,
    LinearSegmentationHead,
    PixelCrossEntropy,
    UPerNetHead,
)

CLASSES, IGNORED = 5, 255


def labels(share_ignored: float = 0.3) -> torch.Tensor:
    found = torch.randint(0, CLASSES, (2, 12, 16))
    found[torch.rand(found.shape) < share_ignored] = IGNORED
    return found


@pytest.mark.parametrize(
    "options",
    [
        {},
        dict(avg_non_ignore=True, loss_weight=0.4),
        dict(class_weight=[0.1, 1.0, 2.0, 0.5, 1.0]),
        dict(reduction="sum", class_weight=[0.1, 1.0, 2.0, 0.5, 1.0]),
    ],
)
def test_the_loss_is_that_of_mmseg(options):
    scores, truth = torch.randn(2, CLASSES, 12, 16), labels()
    found = PixelCrossEntropy(**options)(scores, truth, ignore_index=IGNORED)
    wanted = CrossEntropyLoss(**options)(scores, truth, ignore_index=IGNORED)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("reduction_override", ["none", "sum"])
def test_the_loss_of_each_pixel_is_that_of_mmseg(reduction_override):
    options = dict(ignore_index=IGNORED, reduction_override=reduction_override)
    scores, truth = torch.randn(2, CLASSES, 12, 16), labels()
    torch.testing.assert_close(
        PixelCrossEntropy(avg_non_ignore=True)(scores, truth, **options),
        CrossEntropyLoss(avg_non_ignore=True)(scores, truth, **options),
    )


def test_weights_and_what_is_ignored_go_together():
    """mmseg's own fails here: it masks a list of weights that it has shortened before."""
    weights = [0.1, 1.0, 2.0, 0.5, 1.0]
    scores, truth = torch.randn(2, CLASSES, 12, 16), labels()
    found = PixelCrossEntropy(class_weight=weights, avg_non_ignore=True)(
        scores, truth, ignore_index=IGNORED
    )
    wanted = torch.nn.CrossEntropyLoss(torch.tensor(weights), ignore_index=IGNORED)(scores, truth)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("share_ignored", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("ours, theirs", [(UPerNetHead, UPerHead), (AuxiliaryFCNHead, FCNHead)])
@pytest.mark.parametrize("sampled", [False, True])
def test_a_head_logs_what_that_of_mmseg_logs(ours, theirs, share_ignored, sampled):
    upernet = ours is UPerNetHead
    options = dict(
        in_channels=[8, 8] if upernet else 8,
        in_index=[0, 1] if upernet else 0,
        channels=8,
        num_classes=CLASSES,
        dropout_ratio=0.0,
        align_corners=False,
        loss_decode=[
            dict(type="mmseg.CrossEntropyLoss"),
            dict(type="mmseg.CrossEntropyLoss", loss_name="loss_second", loss_weight=0.4),
        ],
        sampler=dict(type="mmseg.OHEMPixelSampler", min_kept=20) if sampled else None,
    )
    if upernet:
        options["pool_scales"] = (1, 2)
    truth = labels(share_ignored)
    samples = [SegDataSample(gt_sem_seg=PixelData(data=one[None])) for one in truth]
    scores = torch.randn(2, CLASSES, 6, 8)
    found = ours(**options).loss_by_feat(scores, samples)
    wanted = theirs(**options).loss_by_feat(scores, samples)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value.squeeze(), msg=name)


def test_the_linear_head_is_batch_norm_and_one_layer():
    torch.manual_seed(0)
    head = LinearSegmentationHead(
        6, dict(type="BN"), num_classes=CLASSES, in_index=0, align_corners=False
    ).train()
    head.init_weights()
    maps = 3 * torch.randn(2, 6, 4, 5) + 1
    patches = maps.permute(0, 2, 3, 1).reshape(-1, 6)
    mean, var = patches.mean(0), patches.var(0, unbiased=False)
    standardised = (patches - mean) / torch.sqrt(var + 1e-5)
    expected = standardised @ head.conv_seg.weight[:, :, 0, 0].T + head.conv_seg.bias
    found = head([maps]).permute(0, 2, 3, 1).reshape(-1, CLASSES)
    torch.testing.assert_close(found, expected)
