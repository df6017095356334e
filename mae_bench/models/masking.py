"""Which patches the encoder sees."""

from typing import NamedTuple

import torch
from torch import Tensor


class Masking(NamedTuple):
    """The split of a batch's patches; every image keeps the same number.

    Attributes:
        visible: (B, V) int64, patch numbers the encoder sees.
        masked: (B, M) int64, patch numbers to predict; V + M = all patches.
    """

    visible: Tensor
    masked: Tensor

    def as_mask(self) -> Tensor:
        """(B, V + M) float, 1 where a patch is masked."""
        batch, visible = self.visible.shape
        mask = torch.ones(batch, visible + self.masked.shape[1], device=self.visible.device)
        return mask.scatter_(1, self.visible, 0.0)


def random_masking(
    batch: int,
    num_patches: int,
    mask_ratio: float,
    device: torch.device | str = "cpu",
    noise: Tensor | None = None,
) -> Masking:
    """Mask uniformly at random without replacement, for each image on its own.

    Args:
        batch: images B.
        num_patches: patches N of an image.
        mask_ratio: share of patches to hide, in (0, 1); ``int(N * (1 - mask_ratio))`` stay visible.
        device: where the indices live.
        noise: (B, N) scores to sort by in place of fresh uniform noise; the lowest stay visible.

    Raises:
        ValueError: nothing would be visible, or nothing masked.

    Source: MAE, section 3 ("Masking") and the official code.
    """
    num_visible = int(num_patches * (1 - mask_ratio))
    if not 0 < num_visible < num_patches:
        raise ValueError(
            f"mask_ratio={mask_ratio} leaves {num_visible} of {num_patches} patches visible; "
            "some must be visible and some masked"
        )
    if noise is None:
        noise = torch.rand(batch, num_patches, device=device)
    order = noise.argsort(dim=1)
    return Masking(order[:, :num_visible], order[:, num_visible:])
