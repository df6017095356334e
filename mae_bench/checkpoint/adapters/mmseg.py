"""mmsegmentation: its MAE and BEiT, whole segmentors with their heads or the backbone alone."""

from ..variants import clone_shared_table
from .adapter import Adapter, Tensors
from .beit import export_beit, import_beit
from .openmmlab import BEIT_BACKBONE, PREFIX
from .tensors import table_heads, unit_layer_scale

# Its neck and heads of an UperNet; the neck's levels are x4, x2, x1 and x1/2, as ours.
HEADS = [
    ("neck.levels.0.*.*", "neck.upsample_4x.*.*"),
    ("neck.levels.1.*", "neck.upsample_2x.0.*"),
    ("decode_head.**", "decode_head.**"),
    ("auxiliary_head.**", "auxiliary_head.**"),
]
IGNORED = ["data_preprocessor.**", "**relative_position_index"]


def _export_mae(tensors: Tensors, num_heads: int | None) -> Tensors:
    return unit_layer_scale(clone_shared_table(tensors))


def _export_beit(tensors: Tensors, num_heads: int | None) -> Tensors:
    # mmsegmentation looks for the tables of the blocks, and fails over a shared one.
    return export_beit(clone_shared_table(tensors), num_heads)


ADAPTER = Adapter(
    name="mmseg_mae",
    pairs=[*HEADS, *BEIT_BACKBONE],
    signs=[
        PREFIX + "layers.*.gamma_1",
        PREFIX + "layers.*.attn.qkv.bias",
        PREFIX + "pos_embed",
    ],
    ignored=IGNORED,
    bare_prefix=PREFIX,
    before_export=_export_mae,
    heads=table_heads,
    likeness="MAE",
    normalization="imagenet",
    wrapper="state_dict",
)
BEIT_ADAPTER = Adapter(
    name="mmseg_beit",
    pairs=[*HEADS, *BEIT_BACKBONE],
    signs=[PREFIX + "layers.*.attn.q_bias"],
    absent=[PREFIX + "ln*.weight", "head.**"],
    ignored=IGNORED,
    bare_prefix=PREFIX,
    after_import=import_beit,
    before_export=_export_beit,
    heads=table_heads,
    likeness="BEiT",
    normalization="imagenet",
    wrapper="state_dict",
)
