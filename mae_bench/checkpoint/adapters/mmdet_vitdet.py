"""mmdetection's ViTDet project: a whole Mask R-CNN on a plain ViT with a simple feature pyramid.

The backbone has timm's names, and relative positions as detectron2 names them. Its norms over maps
are of a class that mmcv has no short name for.
"""

from collections.abc import Sequence

from .adapter import Adapter, Pairs

PREFIX = "backbone."
NECK = "neck."
# Of each level of our pyramid: the layers that resample, and the first of the two convolutions.
RESAMPLING = {
    0: ("fpn1", (0, 1, 3), 4),
    1: ("fpn2", (0,), 1),
    2: ("fpn3", (), 0),
    3: ("fpn4", (), 1),
}
# Layers with a norm after each convolution.
HEADS = ("roi_head.bbox_head.shared_convs.*", "roi_head.mask_head.convs.*")


def _level(number: int, name: str, resampling: Sequence[int], first: int) -> Pairs:
    ours = f"{NECK}levels.{number}"
    pairs = [(f"{ours}.{layer}.*", f"{NECK}{name}.{layer}.*") for layer in resampling]
    for place, theirs in ((first, "lateral_convs"), (first + 2, "fpn_convs")):
        pairs += [
            (f"{ours}.{place}.*", f"{NECK}{theirs}.{number}.conv.*"),
            (f"{ours}.{place + 1}.*", f"{NECK}{theirs}.{number}.norm_layer.*"),
        ]
    return pairs


ADAPTER = Adapter(
    name="mmdet_vitdet",
    pairs=[
        *[pair for number, level in RESAMPLING.items() for pair in _level(number, *level)],
        *[(f"{head}.ln.*", f"{head}.norm_layer.*") for head in HEADS],
        ("rpn_head.**", "rpn_head.**"),
        ("roi_head.**", "roi_head.**"),
        *[(f"{name}", f"{PREFIX}{name}") for name in ("pos_embed", "patch_embed.**", "blocks.**")],
    ],
    signs=[PREFIX + "patch_embed.proj.weight", NECK + "fpn1.0.weight"],
    ignored=["data_preprocessor.**"],
    required=["pos_embed"],
    likeness="ViTDet",
    normalization="imagenet",
    wrapper="state_dict",
)
