"""The one Vision Transformer of every task.

State-dict keys are timm's, so timm loads our files and we load its. A task asks for what it needs
through ``output``; nothing else differs between pre-training, classification, detection and
segmentation.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..registry import MODELS
from .backbone import OUTPUTS
from .block import LAYER_NORM_EPS, Block, init_transformer
from .kernels.linear import linear
from .kernels.observers import any_module_hook, untouched
from .position import Grid, RelativePositionBias, resize_position_table, sincos_position_table

# Width, depth and heads. tiny and small: DeiT (Touvron et al. 2021, Table 1); base, large, huge:
# ViT (Dosovitskiy et al. 2021, Table 1). MAE uses patch 16 for base and large, 14 for huge.
SIZES = {
    "tiny": dict(embed_dim=192, depth=12, num_heads=3),
    "small": dict(embed_dim=384, depth=12, num_heads=6),
    "base": dict(embed_dim=768, depth=12, num_heads=12),
    "large": dict(embed_dim=1024, depth=24, num_heads=16),
    "huge": dict(embed_dim=1280, depth=32, num_heads=16),
}

REL_POS_BIASES = ("per_block", "shared", "decomposed")


def patch_grid(images: Tensor, patch_size: int) -> Grid:
    """(rows, columns) of patches of images (B, C, H, W).

    Raises:
        ValueError: ``patch_size`` does not divide the image.
    """
    height, width = images.shape[2:]
    p = patch_size
    if height % p or width % p:
        raise ValueError(
            f"an input of {height}x{width} pixels cannot be cut into {p}x{p} patches: use a size "
            f"that is a multiple of {p}, such as {max(height // p, 1) * p}x{max(width // p, 1) * p}"
        )
    return height // p, width // p


def patchify(images: Tensor, patch_size: int) -> Tensor:
    """Cut images into patches, pixels in the order (row, column, channel) of the MAE target.

    Args:
        images: (B, C, H, W).
        patch_size: side p of a patch in pixels; must divide H and W.

    Returns:
        (B, H/p * W/p, p * p * C), patches row-major.

    Raises:
        ValueError: ``patch_size`` does not divide the image.
    """
    batch, channels, height, width = images.shape
    p = patch_size
    patch_grid(images, p)
    # Channels last in a step of its own: then whole rows of a patch move, and both steps together
    # take half of the time of one.
    x = images.permute(0, 2, 3, 1).contiguous()
    x = x.reshape(batch, height // p, p, width // p, p * channels)
    return x.transpose(2, 3).reshape(batch, -1, p * p * channels)


def unpatchify(patches: Tensor, grid: Grid, patch_size: int) -> Tensor:
    """Undo ``patchify``: (B, rows * columns, p * p * C) -> (B, C, rows * p, columns * p)."""
    batch = patches.shape[0]
    x = patches.view(batch, *grid, patch_size, patch_size, -1)
    return x.permute(0, 5, 1, 3, 2, 4).reshape(
        batch, -1, grid[0] * patch_size, grid[1] * patch_size
    )


class PatchEmbedding(nn.Module):
    """Linear projection of patches: a convolution as in timm and MAE, applied to any of them."""

    def __init__(self, patch_size: int, in_channels: int, embed_dim: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(in_channels, embed_dim, patch_size, patch_size)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W), or any n of their patches (B, n, p * p * C) as ``patchify`` cuts
        them -> (B, n, D)."""
        if untouched(self.proj, nn.Conv2d) and not any_module_hook():
            patches = patchify(x, self.patch_size) if x.ndim == 4 else x
            # The convolution as a product of matrices, its weight by rows of a patch.
            return linear(patches, self.proj.weight.permute(0, 2, 3, 1).flatten(1), self.proj.bias)
        if x.ndim == 4:
            patch_grid(x, self.patch_size)
            return self.proj(x).flatten(2).transpose(1, 2)
        # each an image of its own
        p = self.patch_size
        images = x.reshape(-1, p, p, x.shape[2] // p**2).permute(0, 3, 1, 2)
        return self.proj(images).reshape(*x.shape[:2], -1)


@MODELS.register_module()
class VisionTransformer(BaseModule):
    """Vision Transformer with the backbone contract of this benchmark.

    Args:
        arch: a name in ``SIZES``, or a dict with ``embed_dim``, ``depth`` and ``num_heads``.
        img_size: input side in pixels, or (height, width), for which position tables are made.
            Other sizes run too: the tables are resized on the fly.
        patch_size: side of a patch in pixels.
        output: ``"maps"``: one map (B, D, H/p, W/p) for each block in ``out_indices``, without
            norm; ``"class_token"``: (B, D) after the final ``norm``; ``"mean"``: mean of the patch
            tokens, then ``fc_norm``, (B, D); ``"tokens"``: all tokens after ``norm``, (B, P+N, D).
        out_indices: blocks (0-based) whose outputs are the maps, in this order; only for
            ``"maps"``. A block may occur several times: all levels from the last one, as in
            ViTDet, are its number repeated.
        norm_maps: the maps are taken after the final ``norm``, as in DINOv2's linear segmentation;
            only for ``"maps"``.
        class_token: whether a class token is used.
        register_tokens: how many tokens without a position there are besides, as in DINOv2 with
            registers; not with windows or relative positions.
        drop_path_rate: stochastic depth of the last block; grows linearly from 0 at the first.
        rel_pos_bias: None; ``"per_block"``: a zero-initialised table in each block (ADE20K);
            ``"shared"``: one table for all global blocks and one for all windowed ones (COCO);
            ``"decomposed"``: zero-initialised tables for rows and for columns in each block
            (ViTDet), which need ``class_token=False``.
        window_size: side in patches of attention windows; None: all blocks are global. Windows
            need ``class_token=False``.
        global_blocks: with ``window_size``, the blocks that stay global.
        frozen: no gradients for the backbone, which then runs without recording any; the same as
            ``trainable_blocks=0``.
        trainable_blocks: partial fine-tuning: how many of the last blocks train. Half a block is
            its MLP branch (``norm2`` and ``mlp``); 0 is ``frozen``; None and the number of blocks
            are full fine-tuning, embeddings included. Between, the embeddings and the blocks
            before are frozen and run without recording gradients or dropping paths, and the norm
            after the last block trains.
        layer_scale_init: start of a trained factor for each channel of either branch of a block
            (CaiT), under timm's names ``ls1.gamma`` and ``ls2.gamma``; None: no factors, as in
            MAE. BEiT's start is 0.1 (base), 1e-5 (large; 1e-6 in its segmentation code);
            mmsegmentation's MAE, whose ADE20K result is public, has them with 1.
        train_positions: False: the absolute positions stay as they are loaded. BEiT's are zero, so
            this is BEiT without them.
        with_cp: activation checkpointing: blocks keep their input only and are computed again in
            the backward pass. Same results for less memory and about a third more time.
        init_cfg: ``dict(type="mae_bench.PretrainedBackbone", checkpoint=...)`` or None.

    Raises:
        ValueError: an unknown ``arch`` or ``output``, a ``trainable_blocks`` that is no multiple
            of 1/2 between 0 and the number of blocks, or options that exclude each other.

    Source: MAE, Appendix A.1 (architecture), A.3 and A.4 (dense tasks), Section 4.3 (partial
    fine-tuning; which norms train is not said there); sizes as in ``SIZES``.
    """

    map_channels = map_strides = None  # all maps are alike

    def __init__(
        self,
        arch: str | dict[str, int],
        img_size: int | Sequence[int] = 224,
        patch_size: int = 16,
        in_channels: int = 3,
        output: str = "maps",
        out_indices: Sequence[int] = (),
        norm_maps: bool = False,
        class_token: bool = True,
        register_tokens: int = 0,
        drop_path_rate: float = 0.0,
        rel_pos_bias: str | None = None,
        window_size: int | None = None,
        global_blocks: Sequence[int] = (),
        frozen: bool = False,
        trainable_blocks: float | None = None,
        layer_scale_init: float | None = None,
        train_positions: bool = True,
        with_cp: bool = False,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        size = self.size_of(arch)
        self.embed_dim, depth, num_heads = size["embed_dim"], size["depth"], size["num_heads"]
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        self.patch_size = patch_size
        self.grid: Grid = (height // patch_size, width // patch_size)
        self.num_heads = num_heads
        self.output = output
        self.out_indices = tuple(out_indices)
        self.norm_maps = norm_maps
        self._check_options(output, depth, class_token, rel_pos_bias, window_size, global_blocks)
        if register_tokens and (window_size is not None or rel_pos_bias):
            raise ValueError("register_tokens have no place in windows or relative positions")

        self.patch_embed = PatchEmbedding(patch_size, in_channels, self.embed_dim)
        self.cls_token = nn.Parameter(torch.empty(1, 1, self.embed_dim)) if class_token else None
        self.reg_token = None
        if register_tokens:
            self.reg_token = nn.Parameter(torch.empty(1, register_tokens, self.embed_dim))
        positions = self.grid[0] * self.grid[1] + class_token
        self.pos_embed = nn.Parameter(torch.empty(1, positions, self.embed_dim))

        def bias(window: int | None, has_class_token: bool) -> RelativePositionBias:
            grid = self.grid if window is None else (window, window)
            return RelativePositionBias(grid, num_heads, has_class_token and window is None)

        blocks = []
        for i in range(depth):
            window = None if i in global_blocks else window_size
            own_bias = bias(window, class_token) if rel_pos_bias == "per_block" else None
            own_grid = self.grid if window is None else (window, window)
            rate = drop_path_rate * i / max(depth - 1, 1)
            blocks.append(
                Block(
                    self.embed_dim,
                    num_heads,
                    drop_path=rate,
                    window_size=window,
                    rel_pos_bias=own_bias,
                    rel_pos_grid=own_grid if rel_pos_bias == "decomposed" else None,
                    layer_scale_init=layer_scale_init,
                    with_cp=with_cp,
                )
            )
        self.blocks = nn.ModuleList(blocks)
        # Tables that no block looks up would have no gradient.
        windows = {block.window_size for block in blocks} if rel_pos_bias == "shared" else set()
        self.rel_pos_bias = bias(None, class_token) if None in windows else None
        self.rel_pos_bias_window = bias(window_size, False) if windows - {None} else None

        self.norm: nn.Module = nn.Identity()
        self.fc_norm: nn.Module = nn.Identity()
        if output in ("class_token", "tokens") or norm_maps:
            self.norm = nn.LayerNorm(self.embed_dim, eps=LAYER_NORM_EPS)
        elif output == "mean":
            self.fc_norm = nn.LayerNorm(self.embed_dim, eps=LAYER_NORM_EPS)
        self.reset_parameters()
        if frozen and trainable_blocks:
            raise ValueError(f"frozen=True excludes trainable_blocks={trainable_blocks}")
        self._freeze(0 if frozen else trainable_blocks)
        if not train_positions:
            self.pos_embed.requires_grad_(False)

    @staticmethod
    def size_of(arch: str | dict[str, int]) -> dict[str, int]:
        """``embed_dim``, ``depth`` and ``num_heads`` of an ``arch``; ValueError for another one."""
        if isinstance(arch, str):
            if arch not in SIZES:
                raise ValueError(f"arch={arch!r} is not one of {', '.join(SIZES)}, nor a dict")
            return SIZES[arch]
        wanted = {"embed_dim", "depth", "num_heads"}
        if set(arch) != wanted:
            raise ValueError(f"arch needs the keys {sorted(wanted)}, got {sorted(arch)}")
        if arch["embed_dim"] % arch["num_heads"]:
            raise ValueError(f"arch: embed_dim must be a multiple of num_heads, got {arch}")
        return arch

    def _check_options(
        self,
        output: str,
        depth: int,
        class_token: bool,
        rel_pos_bias: str | None,
        window_size: int | None,
        global_blocks: Sequence[int],
    ) -> None:
        if output not in OUTPUTS:
            raise ValueError(f"output={output!r} is not one of {', '.join(OUTPUTS)}")
        if (output == "maps") != bool(self.out_indices):
            raise ValueError('out_indices belongs to output="maps", and is needed there')
        if self.norm_maps and output != "maps":
            raise ValueError('norm_maps belongs to output="maps"')
        if any(not 0 <= i < depth for i in self.out_indices):
            raise ValueError(f"out_indices={self.out_indices} must lie in 0..{depth - 1}")
        if output == "class_token" and not class_token:
            raise ValueError('output="class_token" needs class_token=True')
        if set(global_blocks) - set(range(depth)) or (global_blocks and window_size is None):
            raise ValueError(
                f"global_blocks={tuple(global_blocks)} must lie in 0..{depth - 1}, and need "
                "window_size: without windows all blocks are global"
            )
        if window_size is not None and class_token:
            raise ValueError("windowed attention has no place for it: set class_token=False")
        if rel_pos_bias not in (None, *REL_POS_BIASES):
            raise ValueError(
                f"rel_pos_bias={rel_pos_bias!r} is not None or one of {', '.join(REL_POS_BIASES)}"
            )
        if rel_pos_bias == "decomposed" and class_token:
            raise ValueError('rel_pos_bias="decomposed" has no row for it: set class_token=False')

    @property
    def num_layers(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    def layer_id(self, name: str) -> int:
        """Layer of a parameter, for layer-wise learning-rate decay.

        Args:
            name: parameter name relative to the backbone.

        Returns:
            0 for the embeddings, i + 1 for block i, ``num_layers + 1`` for the rest (norms).

        Source: MAE official fine-tuning code, as BEiT and ELECTRA before it.
        """
        if name.startswith(("cls_token", "reg_token", "pos_embed", "patch_embed.")):
            return 0
        if name.startswith("blocks."):
            return int(name.split(".")[1]) + 1
        return self.num_layers + 1

    def reset_parameters(self) -> None:
        """MAE's initialisation (Appendix A.1 and official code).

        Xavier uniform for every linear layer, ``qkv`` as one fused matrix and the patch embedding
        as a (D, p * p * C) matrix; zero biases, but for the patch embedding, which keeps
        PyTorch's convolution default; class token normal with std 0.02; sin-cos positions, zero
        for the class token; relative position tables zero, as they are made. Register tokens as in
        DINOv2's code: normal with std 1e-6.
        """
        nn.init.xavier_uniform_(self.patch_embed.proj.weight.data.flatten(1))
        if self.cls_token is not None:
            nn.init.normal_(self.cls_token, std=0.02)
        if self.reg_token is not None:
            nn.init.normal_(self.reg_token, std=1e-6)
        with torch.no_grad():
            self.pos_embed.zero_()
            self.pos_embed[:, self._position_prefix :] = sincos_position_table(
                self.embed_dim, self.grid
            )
        self.blocks.apply(init_transformer)

    def _freeze(self, trainable_blocks: float | None) -> None:
        """Take gradients from all but the last blocks; see ``trainable_blocks``."""
        depth = self.num_layers
        count = depth if trainable_blocks is None else trainable_blocks
        if not 0 <= count <= depth or count * 2 % 1:
            raise ValueError(
                f"trainable_blocks={count} must be a multiple of 0.5 from 0 to {depth}, the number "
                "of blocks"
            )
        self.frozen = count == 0
        self.frozen_blocks = depth - math.ceil(count)
        if count == depth:
            return
        self.requires_grad_(False)
        for block in self.blocks[self.frozen_blocks :]:
            block.requires_grad_(True)
        if count % 1:
            partial = self.blocks[self.frozen_blocks]
            partial.norm1.requires_grad_(False)
            partial.attn.requires_grad_(False)
            partial.ls1.requires_grad_(False)
        for norm in (self.norm, self.fc_norm):
            norm.requires_grad_(not self.frozen)

    def train(self, mode: bool = True) -> "VisionTransformer":
        """What is frozen stays in evaluation mode: no stochastic depth there."""
        super().train(mode and not self.frozen)
        for block in self.blocks[: self.frozen_blocks]:
            block.eval()
        return self

    def patch_positions(self, grid: Grid) -> Tensor:
        """Position embedding of the patches of a grid, (1, rows * columns, D)."""
        return resize_position_table(self.pos_embed, self.grid, grid)[:, self._position_prefix :]

    @property
    def _position_prefix(self) -> int:
        """Rows of the position table before those of the patches."""
        return int(self.cls_token is not None)

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens before the patches: the class token and the register tokens."""
        return self._position_prefix + (0 if self.reg_token is None else self.reg_token.shape[1])

    def prepend_class_token(self, x: Tensor) -> Tensor:
        """(B, n, D) -> (B, P + n, D): the class token at its position, the register tokens, x."""
        tokens = [] if self.cls_token is None else [self.cls_token + self.pos_embed[:, :1]]
        tokens += [] if self.reg_token is None else [self.reg_token]
        if not tokens:
            return x
        return torch.cat([*(t.to(x.dtype).expand(x.shape[0], -1, -1) for t in tokens), x], dim=1)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Features of normalised images.

        Args:
            images: (B, C, H, W).

        Returns:
            Always a tuple, as heads and necks of OpenMMLab expect; see ``output``.

        Raises:
            ValueError: the patch size does not divide the image.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            grid = patch_grid(images, self.patch_size)
            x = self.patch_embed(images)
            x = self.prepend_class_token(x + self.patch_positions(grid))
            # Tables that blocks share are looked up once: 0.8 GB at 64x64 tokens in float32.
            table, windows = self.rel_pos_bias, self.rel_pos_bias_window
            bias = None if table is None else table(grid)
            window_bias = None if windows is None else windows(windows.grid)
            maps = {}
            last = max(self.out_indices, default=self.num_layers - 1)
            for i, block in enumerate(self.blocks[: last + 1]):
                x = block(x, grid, bias if block.window_size is None else window_bias)
                if i in self.out_indices:
                    patches = self.norm(x)[:, self.num_prefix_tokens :]  # none without norm_maps
                    maps[i] = patches.transpose(1, 2).reshape(*x.shape[::2], *grid).contiguous()
            if self.output == "maps":
                return tuple(maps[i] for i in self.out_indices)
            if self.output == "mean":
                return (self.fc_norm(x[:, self.num_prefix_tokens :].mean(dim=1)),)
            x = self.norm(x)
            return (x[:, 0],) if self.output == "class_token" else (x,)
