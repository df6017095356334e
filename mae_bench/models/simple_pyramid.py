"""ViTDet's simple feature pyramid: all levels from the last map of a plain ViT."""

from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.model import BaseModule
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from ..registry import MODELS
from .feature_pyramid import check_size


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """Resample the last map of a ViT to each stride, then project it; no path from top to bottom.

    Each level is resampled (x4: two transposed convolutions with LayerNorm and GELU between, to
    D/2 and D/4 channels; x2: one, to D/2; x1: nothing; x1/2: max-pooling), then a 1 x 1 and a
    3 x 3 convolution follow, each with LayerNorm and without bias or activation. LayerNorm is over
    the channels of each place.

    Args:
        embed_dim: width D of the backbone.
        patch_size: stride of its map in pixels.
        strides: stride wanted for each level.
        out_channels: width of every level.
        num_outs: levels in all: what exceeds ``strides`` is every second place of the level
            before, as mmdet's FPN makes its last one for the RPN.

    Raises:
        ValueError: a stride that is not 1/4, 1/2, 1 or 2 times the patch size, or fewer
            ``num_outs`` than strides.

    Source: ViTDet (Li et al. 2022), section 3; layers, widths and norms from detectron2's code,
    which leaves PyTorch's initialisation as it is.
    """

    def __init__(
        self,
        embed_dim: int,
        patch_size: int,
        strides: Sequence[int] = (4, 8, 16, 32),
        out_channels: int = 256,
        num_outs: int = 5,
    ) -> None:
        super().__init__(init_cfg=None)
        if num_outs < len(strides):
            raise ValueError(f"num_outs={num_outs} is less than the {len(strides)} strides")
        self.num_extra = num_outs - len(strides)
        self.patch_size, self.coarsest = patch_size, max(strides)
        self.levels = nn.ModuleList(
            nn.Sequential(
                *_resample(embed_dim, patch_size, stride),
                nn.Conv2d(_width(embed_dim, patch_size, stride), out_channels, 1, bias=False),
                LayerNorm2d(out_channels),
                nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
                LayerNorm2d(out_channels),
            )
            for stride in strides
        )

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """One map (B, D, H/p, W/p) -> (B, out_channels, H/stride, W/stride), finest first.

        Raises:
            ValueError: the backbone gives several maps, or the image is smaller than the coarsest
                stride.
        """
        if len(maps) != 1:
            raise ValueError(
                f"{len(maps)} maps for a pyramid of the last one: set the backbone's out_indices "
                "to its last block"
            )
        check_size(maps[0], self.patch_size, self.coarsest)
        levels = [level(maps[0]) for level in self.levels]
        for _ in range(self.num_extra):
            levels.append(F.max_pool2d(levels[-1], kernel_size=1, stride=2))
        return tuple(levels)


def _resample(dim: int, patch_size: int, stride: int) -> list[nn.Module]:
    if patch_size == 4 * stride:
        return [
            nn.ConvTranspose2d(dim, dim // 2, 2, 2),
            LayerNorm2d(dim // 2),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 2, dim // 4, 2, 2),
        ]
    if patch_size == 2 * stride:
        return [nn.ConvTranspose2d(dim, dim // 2, 2, 2)]
    if patch_size == stride:
        return []
    if 2 * patch_size == stride:
        return [nn.MaxPool2d(2)]
    raise ValueError(
        f"cannot resample patches of {patch_size} pixels to stride {stride}: use "
        f"{patch_size / 4:g}, {patch_size / 2:g}, {patch_size} or {2 * patch_size}"
    )


def _width(dim: int, patch_size: int, stride: float) -> int:
    """Channels after ``_resample``: halved with each doubling of the map."""
    return int(dim * stride // patch_size) if stride < patch_size else dim
