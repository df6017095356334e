"""MoCo v3, official code: the base encoder."""

from .adapter import Adapter, same_names

PREFIX = "module.base_encoder."
# Its ViT-S has 12 heads, DeiT's has 6 (MoCo v3, official vits.py).
HEADS_BY_WIDTH = {384: 12}

ADAPTER = Adapter(
    name="moco_v3",
    pairs=same_names(PREFIX),
    signs=[PREFIX + "patch_embed.proj.weight"],
    ignored=[PREFIX + "head.**", "module.momentum_encoder.**", "module.predictor.**"],
    heads_by_width=HEADS_BY_WIDTH,
    likeness="MoCo v3",
    normalization="imagenet",
    wrapper="state_dict",
)
