"""Plain ViTs of timm, ``vision_transformer.VisionTransformer``."""

from .adapter import HEAD, Adapter, same_names
from .tensors import has_mae_positions

ADAPTER = Adapter(
    name="timm",
    pairs=[*same_names(), ("blocks.*.ls*.gamma", "blocks.*.ls*.gamma"), HEAD],
    signs=["patch_embed.proj.weight", "blocks.*.attn.qkv.weight", "blocks.*.attn.qkv.bias"],
    absent=["decoder_embed.*", "blocks.*.attn.rel_pos_*"],
    looks_like=lambda tensors: "head.weight" in tensors or not has_mae_positions(tensors),
    required=["pos_embed"],
)
