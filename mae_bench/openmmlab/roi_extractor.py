"""RoI features with boxes in float32 whatever the precision of the features.

Beside ``mmcv_ops.py`` and not in ``models/``: it amends a part of mmdet, which models never import.
"""

import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from torch import Tensor

from ..registry import MODELS


@MODELS.register_module()
class Float32RoIExtractor(SingleRoIExtractor):
    """mmdet's ``SingleRoIExtractor`` that does not round its boxes under mixed precision.

    mmdet casts the boxes to the type of the features. In bfloat16, which keeps 8 bits, a coordinate
    of a 1024-pixel image is then off by up to 2 pixels, in float16 by up to a quarter. Here the
    features are widened instead, and what is extracted gets their type again.

    In a config: ``type=Float32RoIExtractor`` with the arguments of ``SingleRoIExtractor``.
    """

    def forward(
        self, feats: tuple[Tensor, ...], rois: Tensor, roi_scale_factor: float | None = None
    ) -> Tensor:
        """Features (B, C, H, W) of each level and boxes (K, 5) -> (K, C, h, w).

        A box is (index in the batch, x1, y1, x2, y2), in pixels.
        """
        wide = torch.promote_types(feats[0].dtype, torch.float32)
        widened = tuple(level.to(wide) for level in feats)
        extracted = super().forward(widened, rois.to(wide), roi_scale_factor)
        return extracted.to(feats[0].dtype)
