"""A mask head whose first masks are undecided."""

from mmdet.models import FCNMaskHead
from torch import nn

from ..registry import MODELS


@MODELS.register_module()
class UndecidedMaskHead(FCNMaskHead):
    """mmdet's ``FCNMaskHead`` whose last convolution starts from a normal of std 0.001.

    mmdet's starts from std 0.158, so that its first masks are guesses. The other layers start alike
    in both.

    Source: detectron2, ``modeling/roi_heads/mask_head.py``, which ViTDet and MIMDet use.
    """

    def init_weights(self) -> None:
        """Start as mmdet, then the last convolution as detectron2."""
        super().init_weights()
        nn.init.normal_(self.conv_logits.weight, std=0.001)
