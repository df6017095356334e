"""Classification head that pools frozen patches by attention."""

from typing import Any

import torch
from mmpretrain.models.heads import LinearClsHead
from torch import Tensor, nn

from ..registry import MODELS
from .linear_probe import FEATURE_NORM_EPS


@MODELS.register_module()
class AttentiveProbeHead(LinearClsHead):
    """Linear classifier on patches that learned queries attend to ("efficient probing").

    Each of Q queries has a weight for every patch, the softmax of their product over the square
    root of D. By these it averages its own D / Q channels of a linear projection of the patches.
    The channels of all queries are standardised by a BatchNorm without affine parameters.

    Args:
        num_classes: classes.
        in_channels: width D of the patches.
        queries: Q; divides ``in_channels``.
        kwargs: of mmpretrain's LinearClsHead; ``init_cfg`` is None unless given, which leaves both
            linear layers as PyTorch starts them.

    Raises:
        ValueError: ``queries`` does not divide ``in_channels``.

    Source: Psomas et al., "Attention, Please! Revisiting Attentive Probing Through the Lens of
    Efficiency", 2026, and its code: no projection of keys and queries, no bias of the values,
    queries normal with std 0.02.
    """

    takes_maps = True

    def __init__(
        self, num_classes: int, in_channels: int, queries: int = 32, **kwargs: Any
    ) -> None:
        if in_channels % queries:
            raise ValueError(f"queries={queries} must divide in_channels={in_channels}")
        super().__init__(num_classes, in_channels, **{"init_cfg": None, **kwargs})
        self.queries = nn.Parameter(0.02 * torch.randn(1, queries, in_channels))
        self.value = nn.Linear(in_channels, in_channels, bias=False)
        self.norm = nn.BatchNorm1d(in_channels, affine=False, eps=FEATURE_NORM_EPS)

    def attention(self, patches: Tensor) -> Tensor:
        """Patches (B, N, D) -> the weight of each for each query, (B, Q, N)."""
        scale = patches.shape[2] ** -0.5
        return (scale * self.queries @ patches.transpose(1, 2)).softmax(dim=2)

    def pre_logits(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Last of the backbone's maps (B, D, h, w) -> pooled and standardised, (B, D).

        Raises:
            ValueError: the backbone gives no maps.
        """
        if feats[-1].ndim != 4:
            raise ValueError(
                f"AttentiveProbeHead pools maps, and gets {tuple(feats[-1].shape)}: set "
                'model.backbone.output="maps" and model.backbone.out_indices to the last block'
            )
        patches = feats[-1].flatten(2).transpose(1, 2)
        values = self.value(patches).unflatten(2, (self.queries.shape[1], -1))  # (B, N, Q, D/Q)
        pooled = torch.einsum("bqn,bnqd->bqd", self.attention(patches), values)
        return self.norm(pooled.flatten(1))
