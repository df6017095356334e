"""Label smoothing that does not wait for the device."""

import torch.nn.functional as F
from mmpretrain.models import LabelSmoothLoss
from torch import Tensor

from ..registry import MODELS


@MODELS.register_module()
class LabelSmoothCrossEntropy(LabelSmoothLoss):
    """mmpretrain's ``LabelSmoothLoss``, which reads the largest label from the device each step.

    Labels beyond the classes are found before the run, when data set and head are compared.
    """

    def generate_one_hot_like_label(self, label: Tensor) -> Tensor:
        """Class indices, (B,) or (B, 1), or soft labels (B, classes) -> soft labels, float."""
        if label.dim() == 1 or label.shape[1] == 1:
            label = F.one_hot(label.flatten().long(), self.num_classes)
        return label.float()
