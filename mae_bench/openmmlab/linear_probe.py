"""Classification heads that mmpretrain lacks."""

from mmpretrain.models.heads import LinearClsHead
from torch import Tensor, nn

from ..registry import MODELS

FEATURE_NORM_EPS = 1e-6


@MODELS.register_module()
class LinearProbeHead(LinearClsHead):
    """Linear classifier after a BatchNorm without affine parameters.

    The norm only standardises the frozen features, with the statistics of the batch in training;
    nothing in it is learned, and it can be folded into the linear layer afterwards.

    Args:
        num_classes: classes.
        in_channels: width of the features.
        kwargs: of mmpretrain's LinearClsHead.

    Source: MAE, Appendix A.1 ("Linear probing"); eps from the official code.
    """

    def __init__(self, num_classes: int, in_channels: int, **kwargs: object) -> None:
        super().__init__(num_classes=num_classes, in_channels=in_channels, **kwargs)
        self.norm = nn.BatchNorm1d(in_channels, affine=False, eps=FEATURE_NORM_EPS)

    def pre_logits(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Last of the backbone's features (B, D), standardised."""
        return self.norm(super().pre_logits(feats))
