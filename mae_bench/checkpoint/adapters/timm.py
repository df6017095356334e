"""Plain ViTs of timm, ``vision_transformer.VisionTransformer``, and those that took their names."""

from .adapter import (
    DISTILLATION,
    DISTILLATION_HEAD,
    HEAD,
    LAYER_SCALE,
    MASK_TOKENS,
    Adapter,
    Tensors,
    same_names,
)
from .dinov2 import is_dinov2
from .tensors import distillation_as_register, has_mae_positions, positions_without_registers


def _is_plain(tensors: Tensors) -> bool:
    """Whether nothing tells that it is MAE or DINOv2.

    MAE is known by its positions; with a head, whoever trains it keeps them or not.
    """
    return not is_dinov2(tensors) and ("head.weight" in tensors or not has_mae_positions(tensors))


def _import(tensors: Tensors) -> Tensors:
    return positions_without_registers(distillation_as_register(tensors))


ADAPTER = Adapter(
    name="timm",
    pairs=[
        *same_names(),
        LAYER_SCALE,
        ("reg_token", "reg_token"),
        DISTILLATION,
        HEAD,
    ],
    signs=["patch_embed.proj.weight", "blocks.*.attn.qkv.weight", "blocks.*.attn.qkv.bias"],
    absent=["decoder_embed.*", "blocks.*.attn.rel_pos_*", "register_tokens"],
    ignored=[*MASK_TOKENS, DISTILLATION_HEAD],
    looks_like=_is_plain,
    after_import=_import,
    required=["pos_embed"],
)
