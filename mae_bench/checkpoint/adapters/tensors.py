"""Changes of tensors, not of names, that several formats need. All work on our names.

Names that are ours on the way only: ``attn.{q,k,v}`` for split projections, ``attn.q_bias`` and
``attn.v_bias``.
"""

import math
import re

import torch
from torch import Tensor

from ...models.position import relative_position_rows, sincos_position_table
from .adapter import Tensors


def square_grid(rows: int) -> int | None:
    """Side of the square grid of a position table, with or without a class token's row."""
    for patches in (rows, rows - 1):
        if patches > 0 and math.isqrt(patches) ** 2 == patches:
            return math.isqrt(patches)
    return None


def has_mae_positions(tensors: Tensors) -> bool:
    """Whether the positions are MAE's own fixed table: nothing else pre-trains with it.

    MoCo v3 has the same values with the halves swapped, all others learn theirs.
    """
    table = tensors.get("pos_embed")
    if table is None or table.ndim != 3 or table.shape[-1] % 4:
        return False
    side = square_grid(table.shape[1])
    if side is None or side * side == table.shape[1]:
        return False
    expected = sincos_position_table(table.shape[-1], (side, side))
    return torch.allclose(table[:, 1:].float(), expected, atol=1e-5)


def fuse_qkv(tensors: Tensors) -> Tensors:
    """Rows q | k | v in one ``attn.qkv``, of three that lie apart."""
    fused: Tensors = {}
    for name, tensor in tensors.items():
        found = re.fullmatch(r"(.*attn)\.([qkv])\.(weight|bias)", name)
        if found is None:
            fused[name] = tensor
        elif found[2] == "q":
            parts = [f"{found[1]}.{part}.{found[3]}" for part in "qkv"]
            if lacking := [part for part in parts if part not in tensors]:
                raise ValueError(f"{name} is there without {lacking[0]}")
            fused[f"{found[1]}.qkv.{found[3]}"] = torch.cat([tensors[part] for part in parts])
    return fused


def split_qkv(tensors: Tensors) -> Tensors:
    """Undo :func:`fuse_qkv`."""
    split: Tensors = {}
    for name, tensor in tensors.items():
        found = re.fullmatch(r"(.*attn)\.qkv\.(weight|bias)", name)
        if found is None:
            split[name] = tensor
        else:
            for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                split[f"{found[1]}.{part}.{found[2]}"] = rows
    return split


def unit_layer_scale(tensors: Tensors) -> Tensors:
    """Add layer scales of one where there are none, for models that have the parameters."""
    scaled = dict(tensors)
    for name, tensor in tensors.items():
        if found := re.fullmatch(r"(blocks\.\d+)\.norm([12])\.weight", name):
            scaled.setdefault(f"{found[1]}.ls{found[2]}.gamma", torch.ones_like(tensor))
    return scaled


def add_zero_key_bias(tensors: Tensors) -> Tensors:
    """Give keys, whose projection lies apart, the bias of zero that they do without."""
    whole = dict(tensors)
    for name, tensor in tensors.items():
        if name.endswith(".attn.q.bias"):
            whole.setdefault(name.replace(".q.bias", ".k.bias"), torch.zeros_like(tensor))
    return whole


def remove_zero_key_bias(tensors: Tensors) -> Tensors:
    """Undo :func:`add_zero_key_bias`.

    Raises:
        ValueError: the keys have a bias.
    """
    for name, tensor in tensors.items():
        if name.endswith(".attn.k.bias") and tensor.any():
            raise ValueError(f"{name} is not zero, and the format has no place for it")
    return {n: tensor for n, tensor in tensors.items() if not n.endswith(".attn.k.bias")}


def distillation_as_register(tensors: Tensors) -> Tensors:
    """DeiT's distillation token, at its position, as the register token that it is without a head.

    The positions lose its row; all outputs stay the same.

    Raises:
        ValueError: positions without a row for it.
    """
    if "dist_token" not in tensors:
        return tensors
    rest = {name: tensor for name, tensor in tensors.items() if name != "dist_token"}
    positions = tensors.get("pos_embed")
    if positions is None or positions.ndim != 3 or positions.shape[1] < 3:
        raise ValueError("a distillation token, and no position for it")
    rest["reg_token"] = tensors["dist_token"] + positions[:, 1:2]
    rest["pos_embed"] = torch.cat([positions[:, :1], positions[:, 2:]], dim=1)
    return rest


def refuse_class_token(tensors: Tensors) -> None:
    """Raise ValueError for a model with a class token, where the format has none."""
    if "cls_token" in tensors:
        raise ValueError("a class token, which the format has no place for")


def positions_without_registers(tensors: Tensors) -> Tensors:
    """timm's positions of a ViT with registers -> those of class token and patches alone.

    timm adds the class token's to the token, and leaves its row out; or has rows for all tokens,
    of which those of the registers are added to these here.
    """
    positions, registers = tensors.get("pos_embed"), tensors.get("reg_token")
    if registers is None or positions is None or positions.ndim != 3:
        return tensors
    first = int("cls_token" in tensors)
    rows, width = positions.shape[1:]
    if math.isqrt(rows) ** 2 == rows:
        row = positions.new_zeros(1, first, width)
        return {**tensors, "pos_embed": torch.cat([row, positions], dim=1)}
    last = first + registers.shape[1]
    if math.isqrt(rows - last) ** 2 != rows - last:
        return tensors  # they have no rows: made by others than timm
    kept = torch.cat([positions[:, :first], positions[:, last:]], dim=1)
    return {**tensors, "pos_embed": kept, "reg_token": registers + positions[:, first:last]}


def fuse_query_value_bias(tensors: Tensors) -> Tensors:
    """``attn.qkv.bias`` as q | 0 | v: such a model has no bias for its keys."""
    fused: Tensors = {}
    for name, tensor in tensors.items():
        if name.endswith(".attn.q_bias"):
            value = tensors[name.replace("q_bias", "v_bias")]
            fused[name.replace("q_bias", "qkv.bias")] = torch.cat(
                [tensor, torch.zeros_like(tensor), value]
            )
        elif not name.endswith(".attn.v_bias"):
            fused[name] = tensor
    return fused


def split_query_value_bias(tensors: Tensors) -> Tensors:
    """Undo :func:`fuse_query_value_bias`.

    Raises:
        ValueError: the keys have a bias.
    """
    split: Tensors = {}
    for name, tensor in tensors.items():
        if not name.endswith(".attn.qkv.bias"):
            split[name] = tensor
            continue
        query, key, value = tensor.chunk(3)
        if key.any():
            raise ValueError(f"{name} has a bias for keys, which the format has no place for")
        split[name.replace("qkv.bias", "q_bias")] = query
        split[name.replace("qkv.bias", "v_bias")] = value
    return split


def table_of(tensors: Tensors) -> Tensor | None:
    """The first relative position table, (rows, heads)."""
    return next((t for name, t in tensors.items() if name.endswith("bias_table")), None)


def table_heads(tensors: Tensors) -> int | None:
    """Number of heads, as a relative position table shows it."""
    table = table_of(tensors)
    return None if table is None else table.shape[1]


def add_zero_positions(tensors: Tensors) -> Tensors:
    """Absolute positions of zero, (1, 1 + patches, D), for a model that has relative ones only.

    Raises:
        ValueError: no relative position table of a square grid tells how many patches there are.
    """
    if "pos_embed" in tensors:
        return tensors
    table = table_of(tensors)
    rows = len(table) if table is not None and table.ndim == 2 else 0
    side = (math.isqrt(max(rows - 3, 0)) + 1) // 2
    if not side or rows != relative_position_rows((side, side), True):
        raise ValueError("neither absolute positions nor a relative table of a square grid")
    width = tensors["cls_token"].shape[-1]
    return {**tensors, "pos_embed": tensors["cls_token"].new_zeros(1, 1 + side * side, width)}


def remove_zero_positions(tensors: Tensors) -> Tensors:
    """Undo :func:`add_zero_positions`.

    Raises:
        ValueError: the positions are not zero, or the blocks have no relative ones.
    """
    if tensors["pos_embed"].any():
        raise ValueError("pos_embed is not zero, and the format has no absolute positions")
    if table_of(tensors) is None:
        raise ValueError("the blocks lack relative position tables, which the format needs")
    return {name: tensor for name, tensor in tensors.items() if name != "pos_embed"}
