"""What the names and shapes of a checkpoint's tensors tell about its model."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from .variants import SHARED_TABLE, TABLE, is_layer_scale

# Of a file's tensors, those an encoder computes with: without them its features are others. An
# index buffer holds nothing that was learned.
ENCODER = re.compile(
    r"(blocks|patch_embed|norm_pre|rel_pos_bias\w*)\.(?!.*relative_position_index$)"
    r"|dist_token$|reg_token$|register_tokens$|storage_tokens$|rope|freqs"
    # Swin, ConvNeXt and ResNet of timm.
    r"|(layers\.|stages\.|stem\.|layer\d+\.|conv1\.|bn1\.)(?!.*(relative_position_index|attn_mask)$)"
)


# What other ViTs compute with, and ours does not.
NOT_OURS = {
    r"rope|(^|\.)freqs|storage_tokens": "rotary positions (DINOv3, EVA-02)",
    r"mlp\.(w\d|gate|fc1_g|norm)|weights_in": "a gated MLP",
    r"(q|k)_norm\.|bias_mask": "normed queries and keys, or masked biases",
    r"relative_position_bias_for_(high|width)": "relative positions by row and column",
}


def other_architecture(names: Iterable[str]) -> str | None:
    """What names tell that a model has and our ViT has not; None where nothing shows."""
    for name in names:
        for pattern, what in NOT_OURS.items():
            if re.search(pattern, name):
                return f"{what}, as {name} shows"
    return None


def visible_architecture(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """What shapes tell of a ViT under timm's names: width, depth, patch size, input channels.

    Number of heads and image size do not show in shapes. Empty for other names.
    """
    seen = {}
    patches = tensors.get("patch_embed.proj.weight")
    if patches is not None and patches.ndim == 4:
        seen["embed_dim"], seen["in_channels"], _, seen["patch_size"] = patches.shape
    blocks = {name.split(".")[1] for name in tensors if name.startswith("blocks.")}
    return {**seen, "depth": len(blocks)} if blocks else seen


def visible_options(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Options of the backbone that names and shapes tell of, under timm's names.

    Layer scale, whose start does not show, is said to be 1. Windows show in decomposed relative
    positions: blocks with longer tables than others are global.
    """
    options: dict[str, Any] = {}
    if any(map(is_layer_scale, tensors)):
        options["layer_scale_init"] = 1.0
    if "reg_token" in tensors and tensors["reg_token"].ndim == 3:
        options["register_tokens"] = tensors["reg_token"].shape[1]
    if SHARED_TABLE in tensors:
        options["rel_pos_bias"] = "shared"
    elif any(name.endswith(f".{TABLE}") for name in tensors):
        options["rel_pos_bias"] = "per_block"
    lengths = {
        int(name.split(".")[1]): len(tensor)
        for name, tensor in tensors.items()
        if re.fullmatch(r"blocks\.\d+\.attn\.rel_pos_h", name) and tensor.ndim == 2
    }
    if lengths:
        options["rel_pos_bias"] = "decomposed"
        shortest = min(lengths.values())
        global_blocks = [block for block, length in lengths.items() if length > shortest]
        if global_blocks:
            options.update(window_size=(shortest + 1) // 2, global_blocks=global_blocks)
    return options
