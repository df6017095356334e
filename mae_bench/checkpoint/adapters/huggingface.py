"""Hugging Face transformers: ViTMAE and ViT, whose q, k and v lie apart.

Their configs have ``layer_norm_eps`` 1e-12 by default, other than the originals: for the same
outputs as here, set it to 1e-6.
"""

from .adapter import Adapter, Pairs, Tensors
from .tensors import fuse_qkv, has_mae_positions, split_qkv

PREFIX = "vit."

BLOCK = [
    ("norm1.*", "layernorm_before.*"),
    ("attn.q.*", "attention.attention.query.*"),
    ("attn.k.*", "attention.attention.key.*"),
    ("attn.v.*", "attention.attention.value.*"),
    ("attn.proj.*", "attention.output.dense.*"),
    ("norm2.*", "layernorm_after.*"),
    ("mlp.fc1.*", "intermediate.dense.*"),
    ("mlp.fc2.*", "output.dense.*"),
]


def _blocks(ours: str, theirs: str) -> Pairs:
    return [(f"{ours}.*.{a}", f"{theirs}.*.{b}") for a, b in BLOCK]


BACKBONE = [
    ("cls_token", PREFIX + "embeddings.cls_token"),
    ("pos_embed", PREFIX + "embeddings.position_embeddings"),
    ("patch_embed.proj.*", PREFIX + "embeddings.patch_embeddings.projection.*"),
    *_blocks("blocks", PREFIX + "encoder.layer"),
    ("norm.*", PREFIX + "layernorm.*"),
]
DECODER = [
    ("decoder.mask_token", "decoder.mask_token"),
    ("decoder.pos_embed", "decoder.decoder_pos_embed"),
    ("decoder.embed.*", "decoder.decoder_embed.*"),
    *_blocks("decoder.blocks", "decoder.decoder_layers"),
    ("decoder.norm.*", "decoder.decoder_norm.*"),
    ("decoder.pred.*", "decoder.decoder_pred.*"),
]


def _split(tensors: Tensors, num_heads: int | None) -> Tensors:
    return split_qkv(tensors)


def _is_mae(tensors: Tensors) -> bool:
    for prefix in (PREFIX, ""):
        table = tensors.get(f"{prefix}embeddings.position_embeddings")
        if table is not None and has_mae_positions({"pos_embed": table}):
            return True
    return "decoder.decoder_embed.weight" in tensors


MAE_ADAPTER = Adapter(
    name="hf_vit_mae",
    pairs=[*BACKBONE, *DECODER],
    signs=[PREFIX + "encoder.layer.*.attention.attention.query.weight"],
    absent=["classifier.*", "vit.pooler.**"],
    bare_prefix=PREFIX,
    looks_like=_is_mae,
    after_import=fuse_qkv,
    before_export=_split,
    likeness="MAE",
    normalization="imagenet",
)
ADAPTER = Adapter(
    name="hf_vit",
    pairs=[*BACKBONE, ("head.fc.*", "classifier.*")],
    signs=[PREFIX + "encoder.layer.*.attention.attention.query.weight"],
    absent=["decoder.**"],
    ignored=[PREFIX + "pooler.dense.*", PREFIX + "embeddings.mask_token"],
    bare_prefix=PREFIX,
    looks_like=lambda tensors: not _is_mae(tensors),
    after_import=fuse_qkv,
    before_export=_split,
    # No normalization: DINO, MAE and Google publish in this class, each with its own.
)
