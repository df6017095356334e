"""The same function for models with other options: layer scale and shared relative positions.

All work on our names.
"""

import re
from collections.abc import Mapping

from torch import Tensor

TABLE = "attn.rel_pos_bias.relative_position_bias_table"
SHARED_TABLE = "rel_pos_bias.relative_position_bias_table"
WINDOW_TABLE = "rel_pos_bias_window.relative_position_bias_table"

# The layer that each scale follows: nothing comes between, so one can be multiplied into the other.
SCALED_LAYERS = {"ls1.gamma": "attn.proj", "ls2.gamma": "mlp.fc2"}


def is_layer_scale(name: str) -> bool:
    """Whether a name is that of a layer scale."""
    return re.fullmatch(r"blocks\.\d+\.ls[12]\.gamma", name) is not None


def fold_layer_scale(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Multiply each layer scale into the layer before it, by output channel.

    The model stays the same function, and a scale of one changes no bit.

    Returns:
        the tensors without layer scales; those whose layer is not there stay.

    Raises:
        ValueError: a scale that is not one number for each output channel of its layer.
    """
    folded = dict(tensors)
    for name in filter(is_layer_scale, tensors):
        block, scale = name[: -len(".ls1.gamma")], tensors[name]
        layer = f"{block}.{SCALED_LAYERS[name[-len('ls1.gamma') :]]}"
        parts = [part for part in (f"{layer}.weight", f"{layer}.bias") if part in tensors]
        for part in parts:
            tensor = tensors[part]
            if scale.shape != tensor.shape[:1]:
                raise ValueError(f"{name} is {tuple(scale.shape)}, of another width than {part}")
            folded[part] = tensor * scale.view(-1, *[1] * (tensor.ndim - 1))
        if parts:
            del folded[name]
    return folded


def clone_shared_table(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give each block its own copy of a relative position table that all share."""
    if SHARED_TABLE not in tensors:
        return dict(tensors)
    cloned = {name: tensor for name, tensor in tensors.items() if name != SHARED_TABLE}
    for name in tensors:
        if found := re.fullmatch(r"(blocks\.\d+)\.norm1\.weight", name):
            cloned[f"{found[1]}.{TABLE}"] = tensors[SHARED_TABLE].clone()
    return cloned


def match_variants(
    tensors: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Write a checkpoint the way a model has it, where both can compute the same.

    Layer scale that the model lacks is folded. A table that all blocks share (BEiT's pre-training)
    is copied into each block that has its own; a model that has one more for its windows gets it
    there too, as in the COCO transfer.

    Args:
        tensors: of the checkpoint.
        state: of the model.

    Returns:
        the tensors, and the names of the layer scales that were folded.

    Raises:
        ValueError: see :func:`fold_layer_scale`.
    """
    matched = dict(tensors)
    folded: list[str] = []
    if not any(map(is_layer_scale, state)):
        matched = fold_layer_scale(matched)
        folded = [name for name in tensors if name not in matched]
    if any(name.endswith(f".{TABLE}") for name in state):
        matched = clone_shared_table(matched)
    elif SHARED_TABLE in matched and WINDOW_TABLE in state and WINDOW_TABLE not in matched:
        matched[WINDOW_TABLE] = matched[SHARED_TABLE].clone()
    return matched, folded
