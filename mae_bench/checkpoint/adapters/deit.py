"""DeiT, and other supervised ViTs trained with its code."""

from .adapter import DISTILLATION, DISTILLATION_HEAD, HEAD, Adapter, same_names
from .tensors import distillation_as_register

ADAPTER = Adapter(
    name="deit",
    pairs=[*same_names(), DISTILLATION, HEAD],
    signs=["patch_embed.proj.weight", "blocks.*.attn.qkv.bias", "head.weight"],
    absent=["decoder_embed.*", "fc_norm.*"],
    ignored=[DISTILLATION_HEAD],
    after_import=distillation_as_register,
    likeness="DeiT",
    normalization="imagenet",
    wrapper="model",
    asked=True,
)
