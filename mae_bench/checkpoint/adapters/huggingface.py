"""Hugging Face transformers: ViTMAE, ViT, DeiT, I-JEPA, BEiT, data2vec and DINOv2.

Their queries, keys and values lie apart. Files keep the names of transformers 4, but for ViTMAE's
decoder; ``model.state_dict()`` of transformers 5 has others. Both are read, the first are written.

Configs have ``layer_norm_eps`` 1e-12 by default, other than the originals: for the same outputs as
here, set it to 1e-6.
"""

from dataclasses import replace

from ..variants import SHARED_TABLE, TABLE
from .adapter import Adapter, Pairs, Tensors
from .tensors import (
    add_zero_key_bias,
    add_zero_positions,
    distillation_as_register,
    fuse_qkv,
    has_mae_positions,
    refuse_class_token,
    remove_zero_key_bias,
    remove_zero_positions,
    split_qkv,
    table_heads,
    unit_layer_scale,
)

PATCHES = "embeddings.patch_embeddings.projection.weight"
NORMS = [("norm1.*", "layernorm_before.*"), ("norm2.*", "layernorm_after.*")]
ATTENTION = [
    ("attn.q.*", "attention.attention.query.*"),
    ("attn.k.*", "attention.attention.key.*"),
    ("attn.v.*", "attention.attention.value.*"),
    ("attn.proj.*", "attention.output.dense.*"),
]
MLP = [("mlp.fc1.*", "intermediate.dense.*"), ("mlp.fc2.*", "output.dense.*")]
# Of a model in memory, transformers 5.
ATTENTION_5 = [
    ("attn.q.*", "attention.q_proj.*"),
    ("attn.k.*", "attention.k_proj.*"),
    ("attn.v.*", "attention.v_proj.*"),
    ("attn.proj.*", "attention.o_proj.*"),
]
MLP_5 = [("mlp.fc1.*", "mlp.fc1.*"), ("mlp.fc2.*", "mlp.fc2.*")]
LAYER_SCALE = [("ls1.gamma", "lambda_1"), ("ls2.gamma", "lambda_2")]
BEIT_TABLE = [
    (TABLE, "attention.attention.relative_position_bias.relative_position_bias_table"),
]
BEIT_TABLE_5 = [(TABLE, "relative_position_bias.relative_position_bias_table")]
DINOV2_BLOCK = [
    ("norm1.*", "norm1.*"),
    ("norm2.*", "norm2.*"),
    ("mlp.fc1.*", "mlp.fc1.*"),
    ("mlp.fc2.*", "mlp.fc2.*"),
    ("ls1.gamma", "layer_scale1.lambda1"),
    ("ls2.gamma", "layer_scale2.lambda1"),
]


def _blocks(ours: str, theirs: str, block: Pairs) -> Pairs:
    return [(f"{ours}.*.{a}", f"{theirs}.*.{b}") for a, b in block]


def _backbone(prefix: str, block: Pairs, block_5: Pairs, layers_5: str = "layers") -> Pairs:
    """Names of a ViT after a prefix: of files first, then of transformers 5 in memory."""
    return [
        ("cls_token", prefix + "embeddings.cls_token"),
        ("pos_embed", prefix + "embeddings.position_embeddings"),
        ("patch_embed.proj.*", prefix + "embeddings.patch_embeddings.projection.*"),
        *_blocks("blocks", prefix + "encoder.layer", block),
        *_blocks("blocks", prefix + layers_5, block_5),
        ("norm.*", prefix + "layernorm.*"),
    ]


VIT_BLOCK, VIT_BLOCK_5 = [*NORMS, *ATTENTION, *MLP], [*NORMS, *ATTENTION_5, *MLP_5]
HEAD = [("head.fc.*", "classifier.*")]
DECODER = "decoder.decoder_layers"
MAE_DECODER = [
    ("decoder.mask_token", "decoder.mask_token"),
    ("decoder.pos_embed", "decoder.decoder_pos_embed"),
    ("decoder.embed.*", "decoder.decoder_embed.*"),
    *_blocks("decoder.blocks", DECODER, VIT_BLOCK),
    *_blocks("decoder.blocks", DECODER, VIT_BLOCK_5),
    *_blocks("decoder.blocks", "decoder.decoder_encoder.layer", VIT_BLOCK),
    ("decoder.norm.*", "decoder.decoder_norm.*"),
    ("decoder.pred.*", "decoder.decoder_pred.*"),
]


def _split(tensors: Tensors, num_heads: int | None) -> Tensors:
    return split_qkv(tensors)


def _export_ijepa(tensors: Tensors, num_heads: int | None) -> Tensors:
    refuse_class_token(tensors)
    return split_qkv(tensors)


def _is_mae(tensors: Tensors) -> bool:
    for prefix in ("vit.", ""):
        table = tensors.get(f"{prefix}embeddings.position_embeddings")
        if table is not None and has_mae_positions({"pos_embed": table}):
            return True
    return "decoder.decoder_embed.weight" in tensors


def _has_key_bias(tensors: Tensors) -> bool:
    """BEiT has none."""
    return any(name.endswith((".key.bias", ".k_proj.bias")) for name in tensors)


def _import_deit(tensors: Tensors) -> Tensors:
    return distillation_as_register(fuse_qkv(tensors))


def _import_beit(tensors: Tensors) -> Tensors:
    # The class for pre-training has the last norm beside the encoder, where that pools the mean.
    for kind in ("weight", "bias"):
        beside = tensors.pop(f"mim_norm.{kind}", None)
        if beside is not None:
            tensors.setdefault(f"norm.{kind}", beside)
    return add_zero_positions(fuse_qkv(add_zero_key_bias(tensors)))


def _export_beit(tensors: Tensors, num_heads: int | None) -> Tensors:
    whole = unit_layer_scale(remove_zero_positions(tensors))
    return remove_zero_key_bias(split_qkv(whole))


# What tells other models from a ViT, in files of a model alone, whose names have no prefix.
OTHER_BLOCKS = ("**.layer_scale1.lambda1", "**.lambda_1")

MAE_ADAPTER = Adapter(
    name="hf_vit_mae",
    pairs=[*_backbone("vit.", VIT_BLOCK, VIT_BLOCK_5), *MAE_DECODER],
    signs=["vit." + PATCHES],
    absent=["classifier.*", "vit.pooler.**", *OTHER_BLOCKS],
    bare_prefix="vit.",
    looks_like=_is_mae,
    after_import=fuse_qkv,
    before_export=_split,
    likeness="MAE",
    normalization="imagenet",
)
ADAPTER = Adapter(
    name="hf_vit",
    pairs=[*_backbone("vit.", VIT_BLOCK, VIT_BLOCK_5), *HEAD],
    signs=["vit." + PATCHES, "vit.embeddings.cls_token"],
    absent=["decoder.**", "vit.embeddings.distillation_token", *OTHER_BLOCKS],
    ignored=["vit.pooler.dense.*", "vit.embeddings.mask_token"],
    bare_prefix="vit.",
    looks_like=lambda tensors: _has_key_bias(tensors) and not _is_mae(tensors),
    after_import=fuse_qkv,
    before_export=_split,
    # No normalization: DINO, MAE and Google publish in this class, each with its own.
)
DEIT_ADAPTER = Adapter(
    name="hf_deit",
    pairs=[
        *_backbone("deit.", VIT_BLOCK, VIT_BLOCK_5),
        ("dist_token", "deit.embeddings.distillation_token"),
        *HEAD,
        ("head.fc.*", "cls_classifier.*"),
    ],
    signs=["deit." + PATCHES, "deit.embeddings.distillation_token"],
    ignored=["distillation_classifier.*", "deit.pooler.dense.*", "deit.embeddings.mask_token"],
    bare_prefix="deit.",
    after_import=_import_deit,
    before_export=_split,
    likeness="DeiT, distilled",
    normalization="imagenet",
)
IJEPA_ADAPTER = Adapter(
    name="hf_ijepa",
    pairs=[*_backbone("ijepa.", VIT_BLOCK, VIT_BLOCK_5), *HEAD],
    signs=["ijepa." + PATCHES, "ijepa.embeddings.position_embeddings"],
    absent=["**embeddings.cls_token", *OTHER_BLOCKS],
    ignored=["ijepa.pooler.dense.*", "ijepa.embeddings.mask_token"],
    bare_prefix="ijepa.",
    after_import=fuse_qkv,
    before_export=_export_ijepa,
    required=["pos_embed"],
    likeness="I-JEPA",
    normalization="imagenet",
)


def _beit(prefix: str) -> Pairs:
    return [
        *_backbone(
            prefix,
            [*VIT_BLOCK, *LAYER_SCALE, *BEIT_TABLE],
            [*VIT_BLOCK_5, *LAYER_SCALE, *BEIT_TABLE_5],
        ),
        ("fc_norm.*", prefix + "pooler.layernorm.*"),
        ("mim_norm.*", "layernorm.*"),
        (SHARED_TABLE, prefix + "encoder.relative_position_bias.relative_position_bias_table"),
        (SHARED_TABLE, prefix + "shared_position_bias.relative_position_bias_table"),
        *HEAD,
    ]


BEIT_ADAPTER = Adapter(
    name="hf_beit",
    pairs=_beit("beit."),
    signs=["beit." + PATCHES, "**.attention.**"],
    absent=["**.key.bias", "**.k_proj.bias", "**.layer_scale1.lambda1"],
    ignored=[
        "beit.embeddings.mask_token",
        "lm_head.*",
        "**relative_position_index",
    ],
    bare_prefix="beit.",
    after_import=_import_beit,
    before_export=_export_beit,
    heads=table_heads,
    likeness="BEiT",
)
DATA2VEC_ADAPTER = replace(
    BEIT_ADAPTER,
    name="hf_data2vec",
    pairs=_beit("data2vec_vision."),
    signs=["data2vec_vision." + PATCHES],
    ignored=["data2vec_vision.embeddings.mask_token", "**relative_position_index"],
    bare_prefix="",
    likeness="data2vec",
)


def _dinov2(prefix: str) -> Pairs:
    return [
        *_backbone(
            prefix,
            [*DINOV2_BLOCK, *ATTENTION],
            [*DINOV2_BLOCK, *ATTENTION_5],
            layers_5="encoder.layer",
        ),
        ("reg_token", prefix + "embeddings.register_tokens"),
        *HEAD,
    ]


DINOV2_ADAPTER = Adapter(
    name="hf_dinov2",
    pairs=_dinov2("dinov2."),
    signs=["dinov2." + PATCHES, "**.layer_scale1.lambda1"],
    ignored=["dinov2.embeddings.mask_token"],
    bare_prefix="dinov2.",
    # also of the class that has registers
    normalise_names=lambda name: name.replace("dinov2_with_registers.", "dinov2.", 1),
    after_import=fuse_qkv,
    before_export=_split,
    likeness="DINOv2",
    normalization="imagenet",
)
