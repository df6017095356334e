"""The names that mmpretrain and mmsegmentation share."""

from ..variants import SHARED_TABLE, TABLE
from .adapter import Pairs

PREFIX = "backbone."

BLOCK = [
    ("norm1.*", "ln1.*"),
    ("norm2.*", "ln2.*"),
    ("attn.qkv.*", "attn.qkv.*"),
    ("attn.proj.*", "attn.proj.*"),
    ("mlp.fc1.*", "ffn.layers.0.0.*"),
    ("mlp.fc2.*", "ffn.layers.1.*"),
]
BEIT_BLOCK = [
    ("ls1.gamma", "gamma_1"),
    ("ls2.gamma", "gamma_2"),
    ("attn.q_bias", "attn.q_bias"),
    ("attn.v_bias", "attn.v_bias"),
    (TABLE, "attn.relative_position_bias_table"),
]


def blocks(ours: str, theirs: str, block: Pairs = BLOCK) -> Pairs:
    """Key map of a stack of blocks."""
    return [(f"{ours}.*.{a}", f"{theirs}.*.{b}") for a, b in block]


BACKBONE = [
    ("cls_token", PREFIX + "cls_token"),
    ("pos_embed", PREFIX + "pos_embed"),
    ("patch_embed.proj.*", PREFIX + "patch_embed.projection.*"),
    *blocks("blocks", PREFIX + "layers"),
    ("norm.*", PREFIX + "ln1.*"),
    ("fc_norm.*", PREFIX + "ln2.*"),
]
BEIT_BACKBONE = [
    *BACKBONE,
    *blocks("blocks", PREFIX + "layers", BEIT_BLOCK),
    (SHARED_TABLE, PREFIX + SHARED_TABLE),
]
