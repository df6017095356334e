"""The loss of fine-tuning is mmpretrain's, and PyTorch's."""

import pytest
import torch
from mmpretrain.models import LabelSmoothLoss

from mae_bench.openmmlab.label_smoothing import LabelSmoothCrossEntropy

CLASSES, SMOOTHING = 7, 0.1


@pytest.mark.parametrize("mode", ["original", "classy_vision"])
@pytest.mark.parametrize("kind", ["indices", "column", "soft"])
def test_the_loss(mode, kind):
    scores = torch.randn(6, CLASSES)
    label = torch.randint(0, CLASSES, (6,))
    given = {"indices": label, "column": label[:, None]}.get(
        kind, torch.randn(6, CLASSES).softmax(1)
    )
    options = dict(label_smooth_val=SMOOTHING, num_classes=CLASSES, mode=mode)
    found = LabelSmoothCrossEntropy(**options)(scores, given)
    torch.testing.assert_close(found, LabelSmoothLoss(**options)(scores, given))
    if mode == "original":
        plain = given.flatten() if kind == "column" else given
        torch_loss = torch.nn.CrossEntropyLoss(label_smoothing=SMOOTHING)
        torch.testing.assert_close(found, torch_loss(scores, plain))
