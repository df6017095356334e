"""I-JEPA: the target encoder of its training files. It has no class token."""

from .adapter import Adapter, Tensors, same_names
from .tensors import refuse_class_token

TARGET = "target_encoder."


def _export(tensors: Tensors, num_heads: int | None) -> Tensors:
    refuse_class_token(tensors)
    return tensors


ADAPTER = Adapter(
    name="ijepa",
    pairs=same_names(TARGET),
    signs=[TARGET + "patch_embed.proj.weight", "encoder.patch_embed.proj.weight"],
    absent=[TARGET + "cls_token"],
    ignored=["encoder.**", "predictor.**"],
    # both are saved from within DistributedDataParallel
    normalise_names=lambda name: name.replace("encoder.module.", "encoder.", 1),
    before_export=_export,
    required=["pos_embed"],
    likeness="I-JEPA",
    normalization="imagenet",
)
