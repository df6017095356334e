"""Attention of a ViT block: multi-head attention, where a bias enters, and windows."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .kernels import blockwise
from .kernels.linear import linear, project
from .kernels.observers import any_mode, any_module_hook, transformed, untouched
from .position import Grid, RelativePositionBias, decomposed_channels

# Fewest tokens at which PyTorch's fused kernel wins on a CPU in float32. Measured forward and
# backward: 0.82x the plain product at 17 tokens, 1.12x to 1.18x at 50, 1.2x to 1.5x at 65 and 197;
# in bfloat16 it loses at all.
CPU_FUSED_MIN_TOKENS = 48


def fused_wins(q: Tensor, k: Tensor) -> bool:
    """Whether PyTorch's fused kernel is the faster one for queries and keys (B, heads, N, d)."""
    return q.device.type != "cpu" or (
        q.dtype == torch.float32 and k.shape[-2] >= CPU_FUSED_MIN_TOKENS
    )


def attend(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """Scaled dot-product attention with the faster kernel for the device, dtype and length.

    Args:
        q: (B, heads, Nq, d).
        k: (B, heads, Nk, d).
        v: (B, heads, Nk, e), e at most d.
        bias: added to the logits before the softmax, broadcastable to (B, heads, Nq, Nk).
        scale: factor of the product of queries and keys; None: ``d ** -0.5``.

    Returns:
        (B, heads, Nq, e).
    """
    width, value_width = q.shape[-1], v.shape[-1]
    # Fused kernels have neither forward mode nor second derivatives.
    fused = fused_wins(q, k) and (torch.compiler.is_compiling() or not transformed())
    if bias is not None:
        bias = bias.to(q.dtype)
    if fused:
        if bias is not None:
            learned = bias.requires_grad and torch.is_grad_enabled()
            if learned and bias.ndim == 3 and blockwise.serves(q, k):
                return blockwise.attend_blockwise(q * width**-0.5, k, v, bias)
            # Only with four dimensions does a mask go to a kernel that never holds the logits.
            bias = bias[(None,) * (4 - bias.ndim)]
        if value_width < width:
            # Kernels that never hold the logits want one width; others take quadratic memory.
            v = F.pad(v, (0, width - value_width))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
        # Not always: the gradient of a slice, even of a whole one, is a copy.
        return out if value_width == width else out[..., :value_width]
    logits = (q * (width**-0.5 if scale is None else scale)) @ k.transpose(-2, -1)
    if bias is not None:
        logits = logits + bias
    return logits.softmax(dim=-1) @ v


def attend_decomposed(
    q: Tensor, k: Tensor, v: Tensor, table_h: Tensor, table_w: Tensor, grid: Grid
) -> Tensor:
    """Attention with decomposed relative positions, without a bias of all pairs of tokens.

    Args:
        q, k, v: (B, heads, H * W, d).
        table_h, table_w: see :func:`decomposed_channels`.
        grid: (H, W).

    Returns:
        (B, heads, H * W, d).
    """
    extra_q, extra_k = decomposed_channels(q, table_h, table_w, grid)
    scaled = q * q.shape[-1] ** -0.5  # the positions are those of the query as it is
    if blockwise.serves(q, k):
        by_row, by_column = extra_q.split(grid, dim=-1)
        return blockwise.attend_blockwise(scaled, k, v, by_row=by_row, by_column=by_column)
    scaled = torch.cat([scaled, extra_q], dim=-1)
    k = torch.cat([k, extra_k.expand(*k.shape[:2], -1, -1)], dim=-1)
    return attend(scaled, k, v, scale=1.0)


class Attention(nn.Module):
    """Multi-head self-attention with fused ``qkv`` (rows q | k | v), timm's parameter names.

    Args:
        dim: width.
        num_heads: heads, a divisor of ``dim``.
        rel_pos_bias: bias module owned by this block; its table is then stored under the BEiT name
            ``attn.rel_pos_bias.relative_position_bias_table``. None: no bias of its own.
        rel_pos_grid: grid that decomposed relative positions are made for, stored under
            detectron2's names ``attn.rel_pos_h`` (2H - 1, d) and ``attn.rel_pos_w`` (2W - 1, d),
            zero at initialisation; d is the width of a head. None: no such positions.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        rel_pos_bias: RelativePositionBias | None = None,
        rel_pos_grid: Grid | None = None,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos_bias = rel_pos_bias
        self.rel_pos_h: nn.Parameter | None = None
        self.rel_pos_w: nn.Parameter | None = None
        if rel_pos_grid is not None:
            self.rel_pos_h, self.rel_pos_w = (
                nn.Parameter(torch.zeros(2 * side - 1, dim // num_heads)) for side in rel_pos_grid
            )

    def forward(
        self,
        x: Tensor,
        bias: Tensor | None = None,
        num_queries: int | None = None,
        grid: Grid | None = None,
        window: int | None = None,
    ) -> Tensor:
        """x (B, N, dim), bias broadcastable to (B, heads, N, N) -> (B, N, dim).

        ``grid`` is that of the N tokens, which windows and decomposed relative positions need.

        With ``num_queries`` only the last so many tokens are computed, (B, num_queries, dim); all
        serve them as keys and values. It takes no bias.

        With ``window`` tokens attend to those of their own window of so many tokens a side, N is
        ``window ** 2`` in the shape of the bias, and there is no ``num_queries``.
        """
        if window is not None:
            assert grid is not None and num_queries is None, "windows are cut from a whole grid"
            return self._attend_windows(x, bias, grid, window)
        if num_queries is None or num_queries == x.shape[1]:
            q, k, v = self._split(project(self.qkv, x))
        else:
            assert bias is None and self.rel_pos_h is None, "a bias is made for all tokens"
            q, k, v = self._project_some(x, num_queries)
        out = self._attend(q, k, v, bias, grid)
        return project(self.proj, out.transpose(1, 2).flatten(2))

    def _project_some(self, x: Tensor, num_queries: int) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of the last tokens only, keys and values of all."""
        # What counts operators has hooks on all modules too: it is to find those that are made.
        listened = any_module_hook() and not any_mode()
        if listened or not untouched(self.qkv, nn.Linear):
            q, k, v = self._split(self.qkv(x))
            return q[:, :, -num_queries:], k, v
        dim = x.shape[2]
        weights, biases = (part.split([dim, 2 * dim]) for part in self.qkv.parameters())
        q = linear(x[:, -num_queries:], weights[0], biases[0])
        k, v = linear(x, weights[1], biases[1]).chunk(2, dim=2)
        return self._by_head(q), self._by_head(k), self._by_head(v)

    def _split(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, 3 * dim) -> queries, keys and values, each (B, heads, N, d)."""
        # The gradient of chunks is one concatenation; that of a permutation is copied once more.
        q, k, v = (self._by_head(part) for part in qkv.chunk(3, dim=2))
        return q, k, v

    def _by_head(self, x: Tensor) -> Tensor:
        """(B, N, dim) -> (B, heads, N, d)."""
        return x.reshape(*x.shape[:2], self.num_heads, -1).transpose(1, 2)

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, grid: Grid | None
    ) -> Tensor:
        if self.rel_pos_h is not None and self.rel_pos_w is not None:
            assert grid is not None, "relative positions are of a grid"
            return attend_decomposed(q, k, v, self.rel_pos_h, self.rel_pos_w, grid)
        return attend(q, k, v, bias)

    def _attend_windows(self, x: Tensor, bias: Tensor | None, grid: Grid, window: int) -> Tensor:
        """Attention in windows. Only what is in the grid is projected: padding is a fifth more
        tokens at 64x64 in windows of 14."""
        if not any(side % window for side in grid):
            qkv, padded = partition_windows(project(self.qkv, x), grid, window)
        elif untouched(self.qkv, nn.Linear):
            # the bias is all that the projection of a padded token, a zero, has
            qkv, padded = partition_windows(project(self.qkv, x), grid, window, self.qkv.bias)
        else:
            x, padded = partition_windows(x, grid, window)
            qkv = self.qkv(x)
        out = self._attend(*self._split(qkv), bias, (window, window))
        out = out.transpose(1, 2).flatten(2)  # (B * windows, window ** 2, dim)
        return project(self.proj, merge_windows(out, padded, grid, window))


def partition_windows(
    x: Tensor, grid: Grid, window: int, padding: Tensor | None = None
) -> tuple[Tensor, Grid]:
    """Cut a token map into non-overlapping windows, padded at the bottom and on the right.

    Args:
        x: (B, H * W, C).
        grid: (H, W).
        window: side of a window in patches.
        padding: (C,), what a padded token is; None: zeros.

    Returns:
        windows (B * windows, window * window, C) and the padded grid. As in ViTDet, padding is
        not masked: a padded token enters attention as a zero input.
    """
    batch, _, channels = x.shape
    rows, columns = grid
    x = x.view(batch, rows, columns, channels)
    below, right = -rows % window, -columns % window
    if padding is None:
        x = F.pad(x, (0, 0, 0, right, 0, below))
    else:
        x = torch.cat([x, padding.to(x.dtype).expand(batch, rows, right, -1)], dim=2)
        x = torch.cat([x, padding.to(x.dtype).expand(batch, below, columns + right, -1)], dim=1)
    rows, columns = x.shape[1:3]
    x = x.view(batch, rows // window, window, columns // window, window, channels)
    return x.transpose(2, 3).reshape(-1, window * window, channels), (rows, columns)


def merge_windows(windows: Tensor, padded: Grid, grid: Grid, window: int) -> Tensor:
    """Undo :func:`partition_windows`: (B * windows, window * window, C) -> (B, H * W, C)."""
    rows, columns = padded
    channels = windows.shape[-1]
    x = windows.view(-1, rows // window, columns // window, window, window, channels)
    x = x.transpose(2, 3).reshape(-1, rows, columns, channels)
    return x[:, : grid[0], : grid[1]].reshape(x.shape[0], -1, channels)
