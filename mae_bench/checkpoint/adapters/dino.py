"""DINO and iBOT: a full training file with teacher and student, or the backbone alone."""

import re

from .adapter import Adapter, same_names

TEACHER = "teacher.backbone."
# The student is saved from within DistributedDataParallel.
STUDENT = "student.module.backbone."


def _teacher_name(name: str) -> str:
    # With BatchNorm in its head, the teacher is in DistributedDataParallel too.
    return re.sub(r"^teacher\.module\.", "teacher.", name)


def _student_name(name: str) -> str:
    return re.sub(r"^student\.(?!module\.)", "student.module.", name)


ADAPTER = Adapter(
    name="dino",
    pairs=same_names(TEACHER),
    signs=[TEACHER + "patch_embed.proj.weight"],
    absent=[TEACHER + "mask_token"],  # DINOv2
    ignored=["student.**", "teacher.head.**", TEACHER + "masked_embed"],
    normalise_names=_teacher_name,
    likeness="DINO or iBOT",
    normalization="imagenet",
    wrapper="teacher",
)
STUDENT_ADAPTER = Adapter(
    name="dino_student",
    pairs=same_names(STUDENT),
    signs=[STUDENT + "patch_embed.proj.weight"],
    absent=["teacher.**"],  # of a full file, the teacher is what is evaluated
    ignored=["teacher.**", "student.module.head.**", STUDENT + "masked_embed"],
    normalise_names=_student_name,
    likeness="DINO or iBOT",
    normalization="imagenet",
    wrapper="student",
)
BACKBONE_ADAPTER = Adapter(
    name="dino_backbone",
    pairs=same_names(),
    signs=["patch_embed.proj.weight", "blocks.*.attn.qkv.bias", "norm.weight"],
    absent=["decoder_embed.*", "head.*", "fc_norm.*"],
    likeness="DINO or iBOT",
    normalization="imagenet",
    asked=True,
)
