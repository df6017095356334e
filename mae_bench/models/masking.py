"""Which patches the encoder sees."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .position import Grid
from .seeded_rows import SeededRows

Randomness = torch.Generator | SeededRows | None

SAMPLINGS = ("random", "block", "grid")

# BEiT's generator on its 14 x 14 patches: blocks of at least 16, sides at most 1 : 0.3, ten tries.
MIN_BLOCK_SHARE = 16 / 196
MIN_BLOCK_ASPECT = 0.3
BLOCK_TRIES = 10

BAYER_LEVELS = 3


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

    def in_order(self) -> Tensor:
        """(B, V + M) patch numbers, visible ones first."""
        return torch.cat([self.visible, self.masked], dim=1)


def gather_tokens(x: Tensor, index: Tensor) -> Tensor:
    """Tokens of x (B or 1, N, C) at index (B, n) -> (B, n, C)."""
    # Whole rows of one long list: gather, which takes an index for every value, is far slower.
    if len(x) > 1:
        first = torch.arange(len(x), device=index.device).unsqueeze(1) * x.shape[1]
        index = first + index
    return x.flatten(0, 1).index_select(0, index.flatten()).view(*index.shape, -1)


def count_visible(num_patches: int, mask_ratio: float) -> int:
    """Patches that stay visible: ``int(num_patches * (1 - mask_ratio))``, as in the official code.

    Raises:
        ValueError: nothing would be visible, or nothing masked.
    """
    num_visible = int(num_patches * (1 - mask_ratio))
    if not 0 < num_visible < num_patches:
        raise ValueError(
            f"mask_ratio={mask_ratio} leaves {num_visible} of {num_patches} patches visible; "
            "some must be visible and some masked"
        )
    return num_visible


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
        mask_ratio: share of patches to hide, in (0, 1), see :func:`count_visible`.
        device: where the indices live.
        noise: (B, N) scores to sort by in place of fresh uniform noise; the lowest stay visible.

    Raises:
        ValueError: nothing would be visible, or nothing masked.

    Source: MAE, section 3 ("Masking") and the official code.
    """
    num_visible = count_visible(num_patches, mask_ratio)
    if noise is None:
        noise = torch.rand(batch, num_patches, device=device)
    order = noise.argsort(dim=1)
    return Masking(order[:, :num_visible], order[:, num_visible:])


def _uniform(batch: int, columns: int, device: torch.device | str, generator: Randomness) -> Tensor:
    """(batch, columns) float32, uniform in [0, 1)."""
    if isinstance(generator, SeededRows):
        return generator.rand(columns)
    return torch.rand(batch, columns, device=device, generator=generator)


def block_masking(
    batch: int,
    grid: Grid,
    mask_ratio: float,
    device: torch.device | str = "cpu",
    generator: Randomness = None,
) -> Masking:
    """Mask rectangles of random place, area and aspect until the ratio is reached (BEiT).

    All images of the batch get their next rectangle at once. Its area is uniform between
    :data:`MIN_BLOCK_SHARE` of the patches and what is still to be masked, its aspect log-uniform in
    [0.3, 1/0.3]. BEiT may stop short of its number; here the last rectangle is cut off, row by row,
    where the number is reached, so that every image keeps the same.

    Args:
        batch: images B.
        grid: (rows, columns) of patches, at least 2 x 2.
        mask_ratio: share of patches to hide, see :func:`count_visible`.
        device: where the indices live.
        generator: of the random numbers, on ``device``; PyTorch's default when None.

    Raises:
        ValueError: a grid of one row or column, or a ratio that leaves nothing visible or masked.

    Source: BEiT (Bao et al. 2021), Algorithm 1, and its code for areas, aspects and tries; MAE,
    Table 1f and Figure 6.
    """
    rows, columns = grid
    if min(grid) < 2:
        raise ValueError(f"block-wise masking needs at least 2x2 patches, got {rows}x{columns}")
    num_patches = rows * columns
    num_visible = count_visible(num_patches, mask_ratio)
    smallest = max(1.0, MIN_BLOCK_SHARE * num_patches)
    y = torch.arange(rows, device=device).view(-1, 1)
    x = torch.arange(columns, device=device)
    hidden = torch.zeros(batch, num_patches, dtype=torch.bool, device=device)
    left = torch.full((batch, 1), num_patches - num_visible, device=device)
    while left.any():
        area, aspect, place = (
            _uniform(batch, tries, device, generator) for tries in (BLOCK_TRIES, BLOCK_TRIES, 2)
        )
        area = smallest + (left - smallest) * area
        aspect = torch.exp(math.log(MIN_BLOCK_ASPECT) * (1 - 2 * aspect))
        heights, widths = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
        # The first try that leaves a row and a column free; the first of all where none does.
        fitting = ((heights < rows) & (widths < columns)).int().argmax(dim=1, keepdim=True)
        height = heights.gather(1, fitting).clamp(1, rows - 1)
        width = widths.gather(1, fitting).clamp(1, columns - 1)
        top = (place[:, :1] * (rows - height + 1)).floor().unsqueeze(-1)  # (B, 1, 1)
        side = (place[:, 1:] * (columns - width + 1)).floor().unsqueeze(-1)
        block = (y >= top) & (y < top + height.unsqueeze(-1))  # (B, rows, 1)
        block = block & (x >= side) & (x < side + width.unsqueeze(-1))  # (B, rows, columns)
        new = block.flatten(1) & ~hidden
        new &= new.cumsum(dim=1) <= left
        hidden |= new
        left = left - new.sum(dim=1, keepdim=True)
    order = hidden.int().argsort(dim=1, stable=True)
    return Masking(order[:, :num_visible], order[:, num_visible:])


def dither_matrix(levels: int) -> Tensor:
    """Bayer's ordered-dither matrix: ranks 0, 1, ... of the cells of a square, evenly spread.

    The lowest quarter is every second cell of every second row, the lowest half a chessboard.

    Args:
        levels: the side is ``2 ** levels``.

    Returns:
        (side, side) float32.

    Source: Bayer (1973), "An optimum method for two-level rendition of continuous-tone pictures".
    """
    smallest = torch.tensor([[0.0, 2.0], [3.0, 1.0]])
    matrix = torch.zeros(1, 1)
    for _ in range(levels):
        matrix = 4 * matrix.repeat(2, 2) + smallest.kron(torch.ones_like(matrix))
    return matrix


def grid_masking(
    batch: int,
    grid: Grid,
    mask_ratio: float,
    device: torch.device | str = "cpu",
    generator: Randomness = None,
) -> Masking:
    """Keep a regular pattern of patches: at 75 % one of every four.

    The pattern is that of :func:`dither_matrix`, shifted at random for each image, so other ratios
    are spread evenly too. Where a ratio cuts through cells of equal rank, chance decides.

    Args:
        batch: images B.
        grid: (rows, columns) of patches.
        mask_ratio: share of patches to hide, see :func:`count_visible`.
        device: where the indices live.
        generator: of the random numbers, on ``device``; PyTorch's default when None.

    Raises:
        ValueError: nothing would be visible, or nothing masked.

    Source: MAE, Table 1f and Figure 6. Whether the authors shift the pattern is UNKNOWN; without a
    shift three quarters of the positions would never be encoded.
    """
    rows, columns = grid
    ranks = dither_matrix(BAYER_LEVELS).to(device)
    side = len(ranks)
    shift = (_uniform(batch, 2, device, generator) * side).long()
    y = (shift[:, :1] + torch.arange(rows, device=device)) % side  # (B, rows)
    x = (shift[:, 1:] + torch.arange(columns, device=device)) % side  # (B, columns)
    noise = ranks[y.unsqueeze(2), x.unsqueeze(1)].flatten(1)
    noise = noise + _uniform(batch, rows * columns, device, generator)
    return random_masking(batch, rows * columns, mask_ratio, noise=noise)


def sample_masking(
    sampling: str,
    batch: int,
    grid: Grid,
    mask_ratio: float,
    device: torch.device | str = "cpu",
    generator: Randomness = None,
) -> Masking:
    """Mask by the name of the strategy: ``"random"``, ``"block"`` or ``"grid"``.

    Args:
        sampling: one of :data:`SAMPLINGS`.
        batch, grid, mask_ratio, device, generator: as in :func:`block_masking`.

    Raises:
        ValueError: another name, or as the strategies do.
    """
    if sampling == "block":
        return block_masking(batch, grid, mask_ratio, device, generator)
    if sampling == "grid":
        return grid_masking(batch, grid, mask_ratio, device, generator)
    if sampling != "random":
        raise ValueError(f"sampling={sampling!r} is not one of {', '.join(SAMPLINGS)}")
    num_patches = grid[0] * grid[1]
    noise = _uniform(batch, num_patches, device, generator)
    return random_masking(batch, num_patches, mask_ratio, noise=noise)
