"""What the names and shapes of a checkpoint's tensors tell about its model."""

import re
from collections.abc import Mapping

from torch import Tensor

# Of a file's tensors, those an encoder computes with: without them its features are others. An
# index buffer holds nothing that was learned.
ENCODER = re.compile(
    r"(blocks|patch_embed|norm_pre|rel_pos_bias\w*)\.(?!.*relative_position_index$)"
    r"|dist_token$|reg_token$"
)


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
