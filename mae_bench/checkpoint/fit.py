"""Make position tables and patch kernels of a checkpoint fit a backbone's grid and patches."""

import math
from typing import Any

import torch
from timm.layers import resample_patch_embed
from torch import Tensor, nn

from ..models.backbone import optional
from ..models.position import (
    CLASS_TOKEN_ROWS,
    Grid,
    relative_position_rows,
    resize_offset_table,
    resize_position_table,
    resize_relative_position_table,
)
from .format import CheckpointMetadata
from .geometric import resize_geometrically
from .variants import TABLE

RELATIVE_TABLE = "relative_position_bias_table"
PATCH_KERNELS = "patch_embed.proj.weight"
MAX_PATCH_RATIO = 1.5
OFFSET_TABLES = ("attn.rel_pos_h", "attn.rel_pos_w")
DOCS = "docs/checkpoint_format.md"


def fit_tensor(
    key: str,
    stored: Tensor,
    wanted: Tensor,
    backbone: nn.Module,
    metadata: CheckpointMetadata | None,
) -> Tensor:
    """``stored`` itself, or a position table or patch kernels made to fit ``wanted``."""
    if key == PATCH_KERNELS and stored.ndim == wanted.ndim == 4:
        return _fit_patches(stored, wanted)
    grid: Grid | None = optional(backbone, "grid")
    same_width = stored.ndim == wanted.ndim and stored.shape[-1:] == wanted.shape[-1:]
    if key == "pos_embed" and grid is not None and same_width:
        return _fit_positions(stored, wanted, grid, metadata)
    if key.endswith(RELATIVE_TABLE) and same_width:
        module: Any = dict(backbone.named_modules()).get(key.rpartition(".")[0])
        # A backbone that is not ours has tables of a fixed window.
        if hasattr(module, "grid"):
            return _fit_relative(key, stored, wanted, module.grid, module.class_token, metadata)
    if key.endswith(OFFSET_TABLES) and same_width:
        if len(stored) % 2 == 0:
            raise ValueError(f"{key} has {len(stored)} rows, no odd number as 2 * side - 1 is")
        return resize_offset_table(stored, (len(wanted) + 1) // 2)
    return stored


def _fit_patches(stored: Tensor, wanted: Tensor) -> Tensor:
    """(D, C, p, p) -> (D, C, q, q): kernels that give resized patches the same tokens.

    Only where p and q are near, as 14 and 16: a patch of half the side sees something else.

    Source: FlexiViT (Beyer et al. 2023), section 3.4 (pseudo-inverse resize), by timm.
    """
    old, new = stored.shape[-1], wanted.shape[-1]
    if stored.shape[:2] != wanted.shape[:2] or max(old, new) >= MAX_PATCH_RATIO * min(old, new):
        return stored
    return resample_patch_embed(stored, list(wanted.shape[-2:]))


def _fit_positions(
    stored: Tensor, wanted: Tensor, grid: Grid, metadata: CheckpointMetadata | None
) -> Tensor:
    """(1, P + source patches, D) -> (1, Q + target patches, D); P and Q class tokens, 0 or 1."""
    source = position_grid(stored.shape[1], metadata, grid)
    prefix = stored.shape[1] - math.prod(source)
    wanted_prefix = wanted.shape[1] - math.prod(grid)
    resized = resize_position_table(stored, source, grid)
    if prefix == wanted_prefix:
        return resized
    return torch.cat([wanted[:, :wanted_prefix].to(stored), resized[:, prefix:]], dim=1)


def position_grid(rows: int, metadata: CheckpointMetadata | None, target: Grid) -> Grid:
    """Grid of a table with ``rows`` rows, of which one may be a class token's."""
    if metadata is not None:
        if rows - math.prod(metadata.grid) not in (0, 1):
            raise ValueError(
                f"pos_embed has {rows} rows, the grid {metadata.grid} of the metadata needs "
                f"{math.prod(metadata.grid)}, or one more with a class token: correct img_size "
                "or patch_size of the metadata"
            )
        return metadata.grid
    for patches in (rows, rows - 1):
        side = math.isqrt(patches)
        if side and side**2 == patches:
            return _check_unambiguous("pos_embed", (side, side), target, math.prod(target))
    raise ValueError(
        f"pos_embed has {rows} rows, which is no square grid with or without a class token; save "
        f"the file with metadata that says the image size ({DOCS})"
    )


def _check_unambiguous(key: str, square: Grid, target: Grid, target_size: int) -> Grid:
    """A table that fits the model's oblong grid is not to be taken for a square one."""
    size = math.prod(square) if key == "pos_embed" else relative_position_rows(square, False)
    if square != target and size == target_size:
        raise ValueError(
            f"{key} may be of the grid {square} or of {target}; save the file with metadata that "
            f"says the image size ({DOCS})"
        )
    return square


def _fit_relative(
    key: str,
    stored: Tensor,
    wanted: Tensor,
    grid: Grid,
    class_token: bool,
    metadata: CheckpointMetadata | None,
) -> Tensor:
    """(source rows, heads) -> (target rows, heads), class-token rows kept, dropped or left.

    Tables of single blocks are resized as BEiT's segmentation code does, those that blocks share
    (COCO) bicubically, as the public re-implementation of that transfer does with BEiT's.
    """
    source, has_class_rows = _relative_grid(key, len(stored), metadata, grid)
    resize = resize_geometrically if key.endswith(TABLE) else resize_relative_position_table
    resized = resize(stored, source, grid, has_class_rows)
    if has_class_rows == class_token:
        return resized
    offsets = relative_position_rows(grid, class_token=False)
    return torch.cat([resized[:offsets], wanted[offsets:].to(stored)])


def _relative_grid(
    key: str, rows: int, metadata: CheckpointMetadata | None, target: Grid
) -> tuple[Grid, bool]:
    """Grid of a relative position table, and whether it has class-token rows."""
    if metadata is not None:
        for class_token in (False, True):
            if rows == relative_position_rows(metadata.grid, class_token):
                return metadata.grid, class_token
    # Windows are square, so their tables need no metadata.
    for class_token in (False, True):
        side = math.isqrt(max(rows - CLASS_TOKEN_ROWS * class_token, 0))
        grid = ((side + 1) // 2, (side + 1) // 2)
        if side and rows == relative_position_rows(grid, class_token):
            target_size = relative_position_rows(target, class_token=False)
            return _check_unambiguous(key, grid, target, target_size), class_token
    raise ValueError(
        f"{key} has {rows} rows, which is no square grid with or without a class token; save the "
        f"file with metadata that says the image size ({DOCS})"
    )
