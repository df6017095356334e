"""Heads and loss of mmseg that do not wait for the device, and a linear head.

mmseg picks out the pixels that count, for the accuracy it logs and for the mean of its loss, and
the device has to say how many they are before the next operation can start. The classes here
multiply by a mask.
"""

from typing import Any

import torch
from mmcv.cnn import build_norm_layer
from mmseg.models import CrossEntropyLoss, FCNHead, UPerHead
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.utils import resize
from torch import Tensor, nn

from ..registry import MODELS


@MODELS.register_module()
class PixelCrossEntropy(CrossEntropyLoss):
    """mmseg's ``CrossEntropyLoss`` with the number of pixels in its mean left on the device.

    With class weights it is averaged over the weights of the pixels that are not ignored, as there;
    without them over all pixels, or over those that are not ignored with ``avg_non_ignore``.
    """

    def forward(
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        avg_factor: Any = None,
        reduction_override: str | None = None,
        ignore_index: int = -100,
        **kwargs: Any,
    ) -> Tensor:
        """Scores (B, classes, H, W) and labels (B, H, W) -> the loss."""
        reduction = reduction_override or self.reduction
        plain = not (self.use_sigmoid or self.use_mask)
        if plain and reduction == "mean" and avg_factor is None:
            avg_factor = self._counted(cls_score, label, ignore_index)
        return super().forward(
            cls_score, label, weight, avg_factor, reduction_override, ignore_index, **kwargs
        )

    def _counted(self, scores: Tensor, label: Tensor, ignore_index: int) -> Tensor | None:
        counts = label != ignore_index
        if self.class_weight is not None:
            weights = scores.new_tensor(self.class_weight)
            return (weights[label.where(counts, 0)] * counts).sum()
        return counts.sum() if self.avg_non_ignore else None


class _AccuracyOnDevice(BaseDecodeHead):
    """A head of mmseg whose logged accuracy is computed without picking out pixels."""

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: list) -> dict[str, Tensor]:
        """Losses by their names, and ``acc_seg``, the percentage of pixels that are right."""
        labels = self._stack_batch_gt(batch_data_samples)  # (B, 1, H, W)
        scores = resize(
            seg_logits, labels.shape[2:], mode="bilinear", align_corners=self.align_corners
        )
        weight = None if self.sampler is None else self.sampler.sample(scores, labels)
        labels = labels.squeeze(1)
        found: dict[str, Any] = {}
        several = isinstance(self.loss_decode, nn.ModuleList)
        for loss in self.loss_decode if several else [self.loss_decode]:
            value = loss(scores, labels, weight=weight, ignore_index=self.ignore_index)
            found[loss.loss_name] = found.get(loss.loss_name, 0) + value
        counts = labels != self.ignore_index
        right = (scores.argmax(1) == labels) & counts
        eps = torch.finfo(torch.float32).eps
        found["acc_seg"] = 100 * (right.sum() + eps) / (counts.sum() + eps)
        return found


@MODELS.register_module()
class UPerNetHead(_AccuracyOnDevice, UPerHead):
    """mmseg's ``UPerHead``."""


@MODELS.register_module()
class AuxiliaryFCNHead(_AccuracyOnDevice, FCNHead):
    """mmseg's ``FCNHead``."""


@MODELS.register_module()
class LinearSegmentationHead(_AccuracyOnDevice):
    """BatchNorm of the patches, then a 1 x 1 convolution to the classes.

    Args:
        in_channels: width of the backbone.
        norm_cfg: of the BatchNorm.
        kwargs: others of mmseg's ``BaseDecodeHead``.

    Source: DINOv2 (Oquab et al. 2023), Section 7.4 and its configs for ADE20K.
    """

    def __init__(self, in_channels: int, norm_cfg: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(
            in_channels=in_channels,
            channels=in_channels,
            dropout_ratio=0.0,
            norm_cfg=norm_cfg,
            **kwargs,
        )
        self.norm = build_norm_layer(norm_cfg, in_channels)[1]

    def forward(self, inputs: list[Tensor]) -> Tensor:
        """Maps, of which ``in_index`` counts, (B, D, h, w) -> scores (B, classes, h, w)."""
        return self.cls_seg(self.norm(self._transform_inputs(inputs)))
