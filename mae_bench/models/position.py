"""Position information of a ViT: sin-cos tables, their resizing, and relative position bias.

Token order is row-major everywhere: token ``r * W + c`` is row ``r``, column ``c``.
"""

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


def relative_position_values(table: Tensor, grid: Grid, class_token: bool) -> Tensor:
    """Look up a relative position table for each pair of tokens.

    The row of a pair of patches is ``(dy + H - 1) * (2W - 1) + dx + W - 1`` with (dy, dx) = query
    - key. The class token has the last three rows: n-3 where it asks, n-2 where it is asked, n-1
    for itself. What all keys of one row of the grid add is looked up once for each dy; the values
    of a query are then H of these in succession, copied as they are.

    Args:
        table: (rows of ``grid``, heads).
        grid: (H, W) of patches.
        class_token: whether a class token precedes the patches.

    Returns:
        (heads, N, N), [query, key], N = H * W (+ 1). Differentiable.

    Source: BEiT, relative position bias, as used by MAE for ADE20K (Appendix A.4).
    """
    rows, columns = grid
    by_head = table.T
    offsets = by_head[:, : relative_position_rows(grid, class_token=False)]
    x = torch.arange(columns, device=table.device)
    # Offsets dy from the greatest to the least, as a query meets them from key to key.
    by_row = offsets.unflatten(1, (2 * rows - 1, -1)).flip(1)[:, :, x[:, None] - x + columns - 1]
    by_row = by_row.transpose(1, 2).flatten(2)  # (heads, query's column, dy * key's column)
    keys = rows * columns
    starts = [(rows - 1 - y) * columns for y in range(rows)]
    values = [by_row[:, :, start : start + keys] for start in starts]
    if class_token:
        asks, asked, itself = (part[..., None] for part in by_head[:, -CLASS_TOKEN_ROWS:].unbind(1))
        column = asked[..., None].expand(-1, columns, 1)
        values = [torch.cat([column, part], dim=2) for part in values]
        values.insert(0, torch.cat([itself, asks.expand(-1, keys)], dim=1).unsqueeze(1))
    return torch.cat(values, dim=1)


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


def resize_offset_table(table: Tensor, side: int) -> Tensor:
    """Resize a table of offsets along one axis, (2s - 1, d) -> (2 * side - 1, d).

    Returns:
        linearly interpolated, ``align_corners=False``; the same tensor where the size is right.
        Differentiable.

    Source: ViTDet (Li et al. 2022), detectron2's code.
    """
    length = 2 * side - 1
    if len(table) == length:
        return table
    resized = F.interpolate(table.T.unsqueeze(0).float(), size=length, mode="linear")
    return resized[0].T.to(table.dtype)


def decomposed_channels(
    q: Tensor, table_h: Tensor, table_w: Tensor, grid: Grid
) -> tuple[Tensor, Tensor]:
    """Decomposed relative positions as channels that queries and keys have besides their own.

    The bias of a pair of tokens is ``q . table_h[dy + H - 1] + q . table_w[dx + W - 1]`` with
    (dy, dx) = query - key. Its first term is one of H values of a query, which the key's row
    picks, and the second one of W. With these values as channels of the query, and with the row
    and the column of the key in one-hot code as those of the key, the bias is part of the product
    of queries and keys: fused kernels then serve, and no N x N bias is ever held. The channels of
    the queries alone are what blockwise attention adds.

    Args:
        q: (B, heads, N, d) queries, not scaled; N = H * W.
        table_h: (2H - 1, d), or made for another grid.
        table_w: (2W - 1, d), or made for another grid.
        grid: (H, W).

    Returns:
        (B, heads, N, H + W) for the queries and (N, H + W) for the keys.

    Source: MViTv2 (Li et al. 2021), section 4.1, as ViTDet uses it.
    """
    rows, columns = grid
    y, x = torch.arange(rows, device=q.device), torch.arange(columns, device=q.device)
    by_row = resize_offset_table(table_h, rows)[y[:, None] - y + rows - 1]  # (H, H, d) [query, key]
    by_column = resize_offset_table(table_w, columns)[x[:, None] - x + columns - 1]
    q = q.reshape(*q.shape[:2], *grid, -1)
    extra_q = torch.cat(
        [
            torch.einsum("bnhwd,hkd->bnhwk", q, by_row.to(q.dtype)),
            torch.einsum("bnhwd,wkd->bnhwk", q, by_column.to(q.dtype)),
        ],
        dim=-1,
    )
    one_hot = [
        torch.eye(rows, dtype=q.dtype, device=q.device).repeat_interleave(columns, dim=0),
        torch.eye(columns, dtype=q.dtype, device=q.device).repeat(rows, 1),
    ]
    return extra_q.flatten(2, 3), torch.cat(one_hot, dim=1)


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
        return relative_position_values(table, grid, self.class_token)
