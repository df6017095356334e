"""The files of the MAE authors' code: pre-trained, with decoder, fine-tuned."""

from .adapter import HEAD, Adapter, Tensors, same_names
from .tensors import has_mae_positions

DECODER = [
    ("decoder.mask_token", "mask_token"),
    ("decoder.pos_embed", "decoder_pos_embed"),
    ("decoder.embed.*", "decoder_embed.*"),
    ("decoder.blocks.**", "decoder_blocks.**"),
    ("decoder.norm.*", "decoder_norm.*"),
    ("decoder.pred.*", "decoder_pred.*"),
]


def _is_mae(tensors: Tensors) -> bool:
    """A fine-tuned file trains its positions: its names alone are those of any classifier."""
    return "decoder_embed.weight" in tensors or (
        has_mae_positions(tensors) and "head.weight" not in tensors
    )


ADAPTER = Adapter(
    name="official_mae",
    pairs=[*same_names(), *DECODER, HEAD],
    signs=["patch_embed.proj.weight", "blocks.*.attn.qkv.weight"],
    looks_like=_is_mae,
    likeness="MAE",
    normalization="imagenet",
    wrapper="model",
)
