"""DeiT, and other supervised ViTs trained with its code."""

from .adapter import HEAD, Adapter, same_names

ADAPTER = Adapter(
    name="deit",
    pairs=[*same_names(), HEAD],
    signs=["patch_embed.proj.weight", "blocks.*.attn.qkv.bias", "head.weight"],
    absent=["decoder_embed.*", "fc_norm.*"],
    likeness="DeiT",
    normalization="imagenet",
    wrapper="model",
    asked=True,
)
