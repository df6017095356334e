"""Position information of a ViT: sin-cos tables, their resizing, and relative position bias.

Token order is row-major everywhere: token ``r * W + c`` is row ``r``, column ``c``.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Grid = tuple[int, int]
"""A grid of patches as (rows, columns)."""

CLASS_TOKEN_ROWS = 3
"""Last rows of a relative position table: class->token, token->class, class->class (BEiT)."""


def sincos_position_table(dim: int, grid: Grid) -> Tensor:
    """Fixed 2-D sine-cosine position table of MAE.

    The first half of the channels encodes the column (x), the second half the row (y), each as
    ``[sin(all frequencies), cos(all frequencies)]`` with frequency ``10000 ** (-k / (dim / 4))``.
    MoCo v3 and mmpretrain swap the two halves: never regenerate a stored table with their helpers.

    Args:
        dim: channels, a multiple of 4.
        grid: (rows, columns) of patches.

    Returns:
        (1, rows * columns, dim), float32, computed in float64.

    Raises:
        ValueError: ``dim`` is not a multiple of 4.

    Source: MAE, Appendix A.1 ("sine-cosine version"); axis order from the official code.
    """
    if dim % 4:
        raise ValueError(f"sin-cos positions need a width that is a multiple of 4, got {dim}")
    omega = 10000.0 ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim / 4))
    y, x = torch.meshgrid(
        torch.arange(grid[0], dtype=torch.float64),
        torch.arange(grid[1], dtype=torch.float64),
        indexing="ij",
    )
    halves = []
    for axis in (x, y):
        angle = axis.reshape(-1, 1) * omega
        halves += [angle.sin(), angle.cos()]
    return torch.cat(halves, dim=1).float().unsqueeze(0)


def resize_position_table(table: Tensor, source: Grid, target: Grid) -> Tensor:
    """Resize the patch part of a stored position table; what precedes it (class token) is kept.

    Args:
        table: (1, P + rows * columns, D) where P is the number of prefix tokens.
        source: grid the table was made for.
        target: grid wanted, any aspect ratio.

    Returns:
        (1, P + target rows * target columns, D), bicubic, ``align_corners=False``; the same
        tensor when the grids are equal. Differentiable.

    Source: MAE official fine-tuning code (bicubic on the patch part).
    """
    if source == target:
        return table
    prefix = table.shape[1] - source[0] * source[1]
    patches = table[:, prefix:].reshape(1, *source, -1).permute(0, 3, 1, 2)
    patches = F.interpolate(patches.float(), size=target, mode="bicubic", align_corners=False)
    patches = patches.flatten(2).transpose(1, 2).to(table.dtype)
    return torch.cat([table[:, :prefix], patches], dim=1)


def relative_position_rows(grid: Grid, class_token: bool) -> int:
    """Rows of the relative position table: ``(2H-1)(2W-1)``, plus 3 with a class token."""
    return (2 * grid[0] - 1) * (2 * grid[1] - 1) + CLASS_TOKEN_ROWS * class_token


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what an inference run leaves in the cache must serve training too
def relative_position_index(grid: Grid, class_token: bool, device: torch.device) -> Tensor:
    """Which table row serves each pair of tokens.

    Args:
        grid: (H, W) of patches.
        class_token: whether a class token precedes the patches.
        device: where the index lives.

    Returns:
        (N, N) int64, N = H * W (+ 1); entry [query, key]. For patches it is
        ``(dy + H - 1) * (2W - 1) + dx + W - 1`` with (dy, dx) = query - key. The class token uses
        the last three rows: n-3 in row 0, n-2 in column 0, n-1 for itself.

    Source: BEiT, relative position bias, as used by MAE for ADE20K (Appendix A.4).
    """
    rows, columns = grid
    y = torch.arange(rows, device=device).repeat_interleave(columns)
    x = torch.arange(columns, device=device).repeat(rows)
    dy = y[:, None] - y[None, :] + rows - 1
    dx = x[:, None] - x[None, :] + columns - 1
    patches = dy * (2 * columns - 1) + dx
    if not class_token:
        return patches
    n = relative_position_rows(grid, class_token=True)
    index = F.pad(patches, (1, 0, 1, 0))
    index[0, :] = n - 3
    index[:, 0] = n - 2
    index[0, 0] = n - 1
    return index


def resize_relative_position_table(
    table: Tensor, source: Grid, target: Grid, class_token: bool
) -> Tensor:
    """Resize a relative position table to another grid; the class-token rows are kept.

    Args:
        table: (rows of ``source``, heads).
        source: grid the table was made for.
        target: grid wanted.
        class_token: whether the last three rows belong to a class token.

    Returns:
        (rows of ``target``, heads), bicubic over the ``(2H-1, 2W-1)`` plane of offsets with
        ``align_corners=True``, so that the zero offset stays at the centre. Differentiable.
    """
    if source == target:
        return table
    offsets = table[: relative_position_rows(source, class_token=False)]
    plane = offsets.T.reshape(1, -1, 2 * source[0] - 1, 2 * source[1] - 1)
    size = (2 * target[0] - 1, 2 * target[1] - 1)
    plane = F.interpolate(plane.float(), size=size, mode="bicubic", align_corners=True)
    resized = plane.flatten(2)[0].T.to(table.dtype)
    return torch.cat([resized, table[len(offsets) :]])


class RelativePositionBias(nn.Module):
    """A learned bias per head and offset, zero at initialisation, for any grid.

    The parameter keeps BEiT's name, ``relative_position_bias_table`` (rows, heads). It is made for
    ``grid``; at another grid the table is resized on the fly, so a model fine-tuned at one input
    size runs at another.

    Source: MAE, Appendix A.4 (switched on for transfer only, zero-initialised).
    """

    def __init__(self, grid: Grid, num_heads: int, class_token: bool) -> None:
        super().__init__()
        self.grid = grid
        self.class_token = class_token
        rows = relative_position_rows(grid, class_token)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(rows, num_heads))

    def forward(self, grid: Grid) -> Tensor:
        """Bias to add to the attention logits of ``grid``: (heads, N, N), [query, key]."""
        table = resize_relative_position_table(
            self.relative_position_bias_table, self.grid, grid, self.class_token
        )
        index = relative_position_index(grid, self.class_token, table.device)
        return table[index.flatten()].view(*index.shape, -1).permute(2, 0, 1)
