"""The Transformer block of encoder and decoder."""

import torch
import torch.nn.functional as F
from timm.layers import LayerScale
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.ops import StochasticDepth

from .attention import Attention
from .kernels.linear import project
from .position import Grid, RelativePositionBias

LAYER_NORM_EPS = 1e-6


class Mlp(nn.Module):
    """Two linear layers with GELU between, timm's parameter names."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, dim) -> (B, N, dim)."""
        return project(self.fc2, F.gelu(project(self.fc1, x)))


class Block(nn.Module):
    """Pre-norm Transformer block, with global attention or attention in windows.

    Args:
        dim: width.
        num_heads: heads.
        mlp_ratio: hidden width of the MLP over ``dim``.
        drop_path: probability of dropping each residual branch, per sample.
        window_size: side of the attention windows in patches; None: global attention.
        rel_pos_bias: relative position bias owned by this block.
        rel_pos_grid: grid of this block's decomposed relative positions, see :class:`Attention`.
        layer_scale_init: start of the factor for each channel of either branch; None: no factors.
        with_cp: keep the input only and compute the rest again in the backward pass.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        window_size: int | None = None,
        rel_pos_bias: RelativePositionBias | None = None,
        rel_pos_grid: Grid | None = None,
        layer_scale_init: float | None = None,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.window_size = window_size
        self.with_cp = with_cp

        def layer_scale() -> nn.Module:
            return nn.Identity() if layer_scale_init is None else LayerScale(dim, layer_scale_init)

        self.norm1 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.attn = Attention(dim, num_heads, rel_pos_bias, rel_pos_grid)
        self.ls1 = layer_scale()
        self.norm2 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.ls2 = layer_scale()
        self.drop_path = StochasticDepth(drop_path, mode="row") if drop_path else nn.Identity()

    def forward(
        self,
        x: Tensor,
        grid: Grid | None = None,
        bias: Tensor | None = None,
        num_queries: int | None = None,
    ) -> Tensor:
        """(B, N, dim) -> (B, N, dim).

        Args:
            x: tokens; without a class token where the block has windows.
            grid: (H, W) of the patch tokens; not needed for plain global attention, where any
                subset of tokens will do.
            bias: (heads, n, n) for the logits of n tokens, all or those of a window, where the
                block has no bias module of its own.
            num_queries: compute the last so many tokens only, (B, num_queries, dim), from all;
                for global attention without a bias. None: all.
        """
        if self.with_cp and torch.is_grad_enabled():
            return checkpoint(self._run, x, grid, bias, num_queries, use_reentrant=False)
        return self._run(x, grid, bias, num_queries)

    def _run(
        self,
        x: Tensor,
        grid: Grid | None,
        bias: Tensor | None,
        num_queries: int | None,
    ) -> Tensor:
        window = self.window_size
        if self.attn.rel_pos_bias is not None:
            bias = self.attn.rel_pos_bias(grid if window is None else (window, window))
        attended = self.ls1(self.attn(self.norm1(x), bias, num_queries, grid, window))
        if num_queries is not None:
            x = x[:, -num_queries:]
        x = x + self.drop_path(attended)
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))


def init_transformer(module: nn.Module) -> None:
    """Initialise one module of a Transformer as MAE does; for ``nn.Module.apply``."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
