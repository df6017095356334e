"""SimMIM with a ViT: its encoder is BEiT's ViT."""

from dataclasses import replace

from . import beit

PREFIX = "encoder."

ADAPTER = replace(
    beit.ADAPTER,
    name="simmim",
    pairs=[(ours, PREFIX + theirs) for ours, theirs in beit.ADAPTER.pairs],
    signs=[PREFIX + "blocks.*.attn.q_bias", PREFIX + "mask_token"],
    ignored=[PREFIX + "mask_token", "decoder.*.*", "**relative_position_index"],
    likeness="SimMIM",
    normalization="imagenet",
)
