"""A whole model of OpenMMLab with our backbone, as training leaves it in ``epoch_N.pth``.

The backbone's names are ours after a prefix; all other parts keep theirs.
"""

from .adapter import Adapter, Tensors

PREFIX = "backbone."
PARTS = ("head", "neck", "decode_head", "auxiliary_head", "rpn_head", "roi_head", "decoder")


def _without_preprocessor(tensors: Tensors) -> Tensors:
    # Mean and std belong to the config, not to what was learned.
    return {n: t for n, t in tensors.items() if not n.startswith("data_preprocessor.")}


ADAPTER = Adapter(
    name="openmmlab",
    pairs=[
        *[(f"{part}.**", f"{part}.**") for part in PARTS],
        ("**", PREFIX + "**"),
        ("**", "**"),  # parts that a user's own model has
    ],
    signs=[PREFIX + "patch_embed.proj.weight", PREFIX + "blocks.*.attn.qkv.weight"],
    absent=[PREFIX + "blocks.*.attn.q_bias", PREFIX + "blocks.*.gamma_*", "neck.fpn1.**"],
    after_import=_without_preprocessor,
    required=["pos_embed"],
    wrapper="state_dict",
)
