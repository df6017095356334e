"""Attention of a ViT block: multi-head attention, where a bias enters, and windows."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .position import Grid, RelativePositionBias

# Fewest tokens at which PyTorch's fused kernel wins on a CPU in float32. Measured forward and
# backward: 0.87x the plain product at 50 tokens, 1.97x at 197; in bfloat16 it loses at both.
CPU_FUSED_MIN_TOKENS = 128


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention with the faster kernel for the device, dtype and length.

    Args:
        q: (B, heads, Nq, d).
        k: (B, heads, Nk, d).
        v: (B, heads, Nk, d).
        bias: added to the logits before the softmax, broadcastable to (B, heads, Nq, Nk).

    Returns:
        (B, heads, Nq, d).
    """
    fused = q.device.type != "cpu" or (
        q.dtype == torch.float32 and k.shape[-2] >= CPU_FUSED_MIN_TOKENS
    )
    if bias is not None:
        bias = bias.to(q.dtype)
    if fused:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if bias is not None:
        logits = logits + bias
    return logits.softmax(dim=-1) @ v


class Attention(nn.Module):
    """Multi-head self-attention with fused ``qkv`` (rows q | k | v), timm's parameter names.

    Args:
        dim: width.
        num_heads: heads, a divisor of ``dim``.
        rel_pos_bias: bias module owned by this block; its table is then stored under the BEiT name
            ``attn.rel_pos_bias.relative_position_bias_table``. None: no bias of its own.
    """

    def __init__(
        self, dim: int, num_heads: int, rel_pos_bias: RelativePositionBias | None = None
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos_bias = rel_pos_bias

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x (B, N, dim), bias broadcastable to (B, heads, N, N) -> (B, N, dim)."""
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.num_heads, dim // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (3, B, heads, N, d) -> three of (B, heads, N, d)
        out = attend(q, k, v, bias)
        return self.proj(out.transpose(1, 2).reshape(batch, tokens, dim))


def partition_windows(x: Tensor, grid: Grid, window: int) -> tuple[Tensor, Grid]:
    """Cut a token map into non-overlapping windows, padding bottom and right with zeros.

    Args:
        x: (B, H * W, C).
        grid: (H, W).
        window: side of a window in patches.

    Returns:
        windows (B * windows, window * window, C) and the padded grid. As in ViTDet, padding is
        not masked: a padded token enters attention as a zero input.
    """
    batch, _, channels = x.shape
    rows, columns = grid
    x = x.view(batch, rows, columns, channels)
    x = F.pad(x, (0, 0, 0, -columns % window, 0, -rows % window))
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
