"""detectron2's ViTDet: the backbone of a detector. It has neither class token nor final norm."""

from .adapter import BACKBONE, Adapter, Tensors

PREFIX = "backbone.net."
WITHOUT = ("cls_token", "norm.*", "fc_norm.*")
RELATIVE = ("rel_pos_h", "rel_pos_w")


def _heads(tensors: Tensors) -> int | None:
    """Tables of relative positions are (offsets, width of a head)."""
    width = tensors[PREFIX + "patch_embed.proj.weight"].shape[0]
    tables = [tensor for name, tensor in tensors.items() if name.endswith(RELATIVE)]
    return width // tables[0].shape[1] if tables else None


ADAPTER = Adapter(
    name="detectron2_vitdet",
    pairs=[
        *[(name, PREFIX + name) for name in BACKBONE if name not in WITHOUT],
        ("blocks.*.attn.rel_pos_h", PREFIX + "blocks.*.attn.rel_pos_h"),
        ("blocks.*.attn.rel_pos_w", PREFIX + "blocks.*.attn.rel_pos_w"),
    ],
    signs=[PREFIX + "patch_embed.proj.weight"],
    ignored=[
        "backbone.simfp_*.**",
        "proposal_generator.**",
        "roi_heads.**",
        "pixel_mean",
        "pixel_std",
    ],
    required=["pos_embed"],
    heads=_heads,
    likeness="ViTDet",
    normalization="imagenet",
    wrapper="model",
)
