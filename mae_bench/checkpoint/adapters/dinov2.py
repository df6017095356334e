"""DINOv2, with and without registers: the published backbones, and the teacher of a training."""

import re

from .adapter import LAYER_SCALE, Adapter, Pairs, Tensors, same_names

TEACHER = "teacher.backbone."


def _pairs(prefix: str) -> Pairs:
    ours, theirs = LAYER_SCALE
    return [*same_names(prefix), (ours, prefix + theirs), ("reg_token", prefix + "register_tokens")]


def _whole_blocks(name: str) -> str:
    """Training splits the blocks into chunks, in which each keeps its number: ``blocks.C.I.``."""
    return re.sub(r"(^|\.)blocks\.\d+\.(\d+)\.", r"\1blocks.\2.", name)


def is_dinov2(tensors: Tensors) -> bool:
    """Whether tensors are a backbone: without registers it has timm's names and a mask token."""
    return "register_tokens" in tensors or (
        "mask_token" in tensors and any(name.endswith(".ls1.gamma") for name in tensors)
    )


ADAPTER = Adapter(
    name="dinov2",
    pairs=_pairs(""),
    signs=["patch_embed.proj.weight", "blocks.*.attn.qkv.bias", "norm.weight"],
    absent=["decoder_embed.*"],
    ignored=["mask_token"],
    looks_like=is_dinov2,
    normalise_names=_whole_blocks,
    likeness="DINOv2",
    normalization="imagenet",
)
TEACHER_ADAPTER = Adapter(
    name="dinov2_teacher",
    pairs=_pairs(TEACHER),
    signs=[TEACHER + "patch_embed.proj.weight", TEACHER + "mask_token"],
    ignored=[TEACHER + "mask_token", "teacher.*_head.**", "student.**"],
    normalise_names=_whole_blocks,
    likeness="DINOv2",
    normalization="imagenet",
    wrapper="teacher",
)
