"""From the single scale of a plain ViT to the levels of a feature pyramid."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from timm.layers import lecun_normal_
from torch import Tensor, nn

from ..registry import MODELS


@MODELS.register_module()
class FeaturePyramidAdapter(BaseModule):
    """Resample the maps of a ViT, all of one stride, to the strides of FPN or UperNet.

    Map i goes to ``strides[i]``: x4 is two transposed convolutions with a norm and GELU between,
    x2 one transposed convolution, x1 the identity, and x1/k max-pooling over k x k.

    Args:
        embed_dim: width D of the backbone.
        patch_size: stride of the maps in pixels.
        strides: stride wanted for each map.
        norm_cfg: norm between the two convolutions of x4: ``dict(type="GN", num_groups=32)`` in
            the published COCO code, ``dict(type="SyncBN")`` in the ADE20K one.
        lecun_init: start the transposed convolutions from a Lecun normal with zero bias, as the
            published COCO code (MIMDet) does; False: as PyTorch makes them, like the ADE20K code
            (BEiT, implus/mae_segmentation, mmsegmentation).

    Raises:
        ValueError: a stride that is not 1/4, 1/2, or a whole multiple of the patch size.

    Source: MAE, Appendix A.3 (following Li et al. 2021, arXiv 2111.11429) and A.4 (BEiT).
    """

    def __init__(
        self,
        embed_dim: int,
        patch_size: int,
        strides: Sequence[int] = (4, 8, 16, 32),
        norm_cfg: dict | None = None,
        lecun_init: bool = False,
    ) -> None:
        super().__init__(init_cfg=None)
        self.lecun_init = lecun_init
        self.patch_size, self.coarsest = patch_size, max(strides)
        self.levels = nn.ModuleList(
            self._level(embed_dim, patch_size, stride, norm_cfg or dict(type="BN"))
            for stride in strides
        )

    @staticmethod
    def _level(dim: int, patch_size: int, stride: int, norm_cfg: dict) -> nn.Module:
        if patch_size == 4 * stride:
            return nn.Sequential(
                nn.ConvTranspose2d(dim, dim, 2, 2),
                _norm(norm_cfg, dim),
                nn.GELU(),
                nn.ConvTranspose2d(dim, dim, 2, 2),
            )
        if patch_size == 2 * stride:
            return nn.ConvTranspose2d(dim, dim, 2, 2)
        if patch_size == stride:
            return nn.Identity()
        if stride % patch_size == 0:
            return nn.MaxPool2d(stride // patch_size)
        finer = "".join(f"{patch_size // k}, " for k in (4, 2) if patch_size % k == 0)
        raise ValueError(
            f"cannot resample patches of {patch_size} pixels to stride {stride}: use "
            f"{finer}or a multiple of {patch_size}"
        )

    def init_weights(self) -> None:
        """Start the transposed convolutions; see ``lecun_init``."""
        for module in self.modules():
            if not isinstance(module, nn.ConvTranspose2d) or module.bias is None:
                continue
            if self.lecun_init:
                lecun_normal_(module.weight)
                nn.init.zeros_(module.bias)
            else:
                module.reset_parameters()
        self._is_init = True

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps (B, D, H/p, W/p), one per level -> (B, D, H/stride, W/stride) for each stride.

        Raises:
            ValueError: another number of maps, or an image smaller than the coarsest stride.
        """
        if len(maps) != len(self.levels):
            raise ValueError(
                f"{len(maps)} maps for {len(self.levels)} pyramid levels: set the backbone's "
                "out_indices and the adapter's strides to the same length"
            )
        check_size(maps[-1], self.patch_size, self.coarsest)
        return tuple(level(one) for level, one in zip(self.levels, maps, strict=True))


def check_size(features: Tensor, patch_size: int, coarsest: float) -> None:
    """Look whether a map (B, D, H/p, W/p) has a place left at the coarsest stride of a pyramid.

    Raises:
        ValueError: it has none.
    """
    height, width = (side * patch_size for side in features.shape[2:])
    if min(height, width) < coarsest:
        raise ValueError(
            f"an image of {height}x{width} pixels has no place of stride {coarsest}, which the "
            f"pyramid of patches of {patch_size} pixels ends with: take larger images or smaller "
            "patches"
        )


def _norm(norm_cfg: dict, channels: int) -> nn.Module:
    """Normalisation layer by the names that OpenMMLab's configs use.

    Raises:
        ValueError: another type than BN, SyncBN and GN.
    """
    options = dict(norm_cfg)
    kind = options.pop("type")
    if kind == "GN":
        return nn.GroupNorm(num_channels=channels, **options)
    if kind not in ("BN", "SyncBN"):
        raise ValueError(f"norm_cfg.type={kind!r}: the adapter takes BN, SyncBN or GN")
    return (nn.BatchNorm2d if kind == "BN" else nn.SyncBatchNorm)(channels, **options)
