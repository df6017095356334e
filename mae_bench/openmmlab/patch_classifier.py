"""Segmentation by one linear layer on the patches.

Beside ``mmcv_ops.py`` and not in ``models/``: it is a head of mmseg, which models never import.
"""

from typing import Any

import torch.nn.functional as F
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from ..registry import MODELS


@MODELS.register_module()
class PatchClassifier(BaseDecodeHead):
    """LayerNorm over the channels of each patch, then a 1 x 1 convolution to the classes.

    The loss is taken at twice the resolution of the patches: scores are interpolated to it, labels
    are the nearest ones. The weight of the convolution starts from a normal of std 2e-5, truncated
    at 2, its bias as PyTorch makes it.

    Args:
        in_channels: width of the backbone.
        kwargs: others of mmseg's ``BaseDecodeHead``.

    Source: LUSSeg/ImageNetSegModel, the ImageNet-S baseline of MAE.
    """

    def __init__(self, in_channels: int, **kwargs: Any) -> None:
        super().__init__(
            in_channels=in_channels,
            channels=in_channels,
            dropout_ratio=0.0,
            init_cfg=None,
            **kwargs,
        )
        self.norm = LayerNorm2d(in_channels, eps=1e-6)

    def init_weights(self) -> None:
        """Start the convolution."""
        self.conv_seg.reset_parameters()
        nn.init.trunc_normal_(self.conv_seg.weight, std=2e-5)
        self._is_init = True

    def forward(self, inputs: list[Tensor]) -> Tensor:
        """Maps, of which ``in_index`` counts, (B, D, h, w) -> scores (B, classes, h, w)."""
        return self.cls_seg(self.norm(self._transform_inputs(inputs)))

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: list) -> dict[str, Tensor]:
        """Cross-entropy at twice the resolution of the scores."""
        size = (2 * seg_logits.shape[2], 2 * seg_logits.shape[3])
        labels = self._stack_batch_gt(batch_data_samples)  # (B, 1, H, W)
        labels = F.interpolate(labels.float(), size=size, mode="nearest").long().squeeze(1)
        scores = F.interpolate(seg_logits, size=size, mode="bilinear", align_corners=False)
        loss = self.loss_decode(scores, labels, ignore_index=self.ignore_index)
        return {self.loss_decode.loss_name: loss}
