"""mmpretrain: ViT, MAE with its decoder, MoCo v3, and BEiT."""

from dataclasses import replace

from .adapter import Adapter
from .beit import export_beit, import_beit
from .moco_v3 import HEADS_BY_WIDTH as MOCO_HEADS
from .openmmlab import BACKBONE, BEIT_BACKBONE, PREFIX, blocks
from .tensors import table_heads

DECODER = [
    ("decoder.mask_token", "neck.mask_token"),
    ("decoder.pos_embed", "neck.decoder_pos_embed"),
    ("decoder.embed.*", "neck.decoder_embed.*"),
    *blocks("decoder.blocks", "neck.decoder_blocks"),
    ("decoder.norm.*", "neck.ln1.*"),
    ("decoder.pred.*", "neck.decoder_pred.*"),
]
HEADS = [
    ("head.fc.*", "head.fc.*"),
    ("head.fc.*", "head.layers.head.*"),
]

ADAPTER = Adapter(
    name="mmpretrain_vit",
    pairs=[*BACKBONE, *HEADS],
    signs=[PREFIX + "layers.*.ffn.layers.0.0.weight", PREFIX + "layers.*.attn.qkv.bias"],
    absent=[PREFIX + "layers.*.gamma_*", "neck.**", "momentum_encoder.**"],
    ignored=["data_preprocessor.**"],
    bare_prefix=PREFIX,
    wrapper="state_dict",
)
MAE_ADAPTER = replace(
    ADAPTER,
    name="mmpretrain_mae",
    pairs=[*BACKBONE, *DECODER],
    signs=[*ADAPTER.signs, "neck.decoder_embed.weight"],
    absent=[],
    likeness="MAE",
    normalization="imagenet",
)
MOCO_ADAPTER = replace(
    ADAPTER,
    name="mmpretrain_moco_v3",
    pairs=BACKBONE,
    signs=[*ADAPTER.signs, "momentum_encoder.**"],
    absent=[],
    # Projector, predictor and momentum encoder.
    ignored=["neck.**", "head.**", "momentum_encoder.**", "data_preprocessor.**"],
    heads_by_width=MOCO_HEADS,
    likeness="MoCo v3",
    normalization="imagenet",
)
BEIT_ADAPTER = Adapter(
    name="mmpretrain_beit",
    pairs=[*BEIT_BACKBONE, *HEADS],
    signs=[PREFIX + "layers.*.attn.q_bias", PREFIX + "ln*.weight"],
    ignored=[
        PREFIX + "mask_token",
        "neck.**",
        "head.cls_head.**",
        "target_generator.**",
        "data_preprocessor.**",
        "**relative_position_index",
    ],
    bare_prefix=PREFIX,
    after_import=import_beit,
    before_export=export_beit,
    heads=table_heads,
    likeness="BEiT",
    wrapper="state_dict",
)
