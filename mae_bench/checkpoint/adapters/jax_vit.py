"""Google's JAX ViTs as ``.npz``: kernels are input first, and have an axis for the heads."""

import re

from torch import Tensor

from .adapter import Adapter, Tensors
from .tensors import fuse_qkv, split_qkv

BLOCK = [
    ("norm1", "LayerNorm_0"),
    ("norm2", "LayerNorm_2"),
]
LINEAR = [
    ("attn.q", "MultiHeadDotProductAttention_1/query"),
    ("attn.k", "MultiHeadDotProductAttention_1/key"),
    ("attn.v", "MultiHeadDotProductAttention_1/value"),
    ("attn.proj", "MultiHeadDotProductAttention_1/out"),
    ("mlp.fc1", "MlpBlock_3/Dense_0"),
    ("mlp.fc2", "MlpBlock_3/Dense_1"),
]
NORM_KINDS = (("weight", "scale"), ("bias", "bias"))
LINEAR_KINDS = (("weight", "kernel"), ("bias", "bias"))
ENCODER_BLOCK = "Transformer/encoderblock_*"

PAIRS = [
    ("cls_token", "cls"),
    ("pos_embed", "Transformer/posembed_input/pos_embedding"),
    *[(f"patch_embed.proj.{a}", f"embedding/{b}") for a, b in LINEAR_KINDS],
    *[
        (f"blocks.*.{ours}.{a}", f"{ENCODER_BLOCK}/{theirs}/{b}")
        for names, kinds in ((BLOCK, NORM_KINDS), (LINEAR, LINEAR_KINDS))
        for ours, theirs in names
        for a, b in kinds
    ],
    *[(f"norm.{a}", f"Transformer/encoder_norm/{b}") for a, b in NORM_KINDS],
    *[(f"head.fc.{a}", f"head/{b}") for a, b in LINEAR_KINDS],
]


def _to_torch(name: str, tensor: Tensor) -> Tensor:
    if name == "patch_embed.proj.weight":
        return tensor.permute(3, 2, 0, 1)  # (p, p, C, D) -> (D, C, p, p)
    if re.search(r"attn\.[qkv]\.weight$", name):
        return tensor.flatten(1).t()  # (D, heads, d) -> (heads * d, D)
    if re.search(r"attn\.[qkv]\.bias$", name):
        return tensor.flatten()  # (heads, d) -> (heads * d)
    if name.endswith("attn.proj.weight"):
        return tensor.flatten(0, 1).t()  # (heads, d, D) -> (D, heads * d)
    if re.search(r"(mlp\.fc.|head\.fc)\.weight$", name):
        return tensor.t()
    return tensor


def _to_jax(name: str, tensor: Tensor, heads: int) -> Tensor:
    if name == "patch_embed.proj.weight":
        return tensor.permute(2, 3, 1, 0)
    if re.search(r"attn\.[qkv]\.weight$", name):
        return tensor.t().unflatten(1, (heads, -1))
    if re.search(r"attn\.[qkv]\.bias$", name):
        return tensor.unflatten(0, (heads, -1))
    if name.endswith("attn.proj.weight"):
        return tensor.t().unflatten(0, (heads, -1))
    if re.search(r"(mlp\.fc.|head\.fc)\.weight$", name):
        return tensor.t()
    return tensor


def _import(tensors: Tensors) -> Tensors:
    return fuse_qkv({name: _to_torch(name, tensor) for name, tensor in tensors.items()})


def _export(tensors: Tensors, num_heads: int | None) -> Tensors:
    if num_heads is None:
        raise ValueError("kernels have an axis for the heads, and their number is unknown")
    split = split_qkv(tensors)
    return {name: _to_jax(name, tensor, num_heads) for name, tensor in split.items()}


def _heads(tensors: Tensors) -> int | None:
    kernels = [t for name, t in tensors.items() if name.endswith("query/kernel")]
    return kernels[0].shape[1] if kernels else None


ADAPTER = Adapter(
    name="jax_vit",
    pairs=PAIRS,
    signs=["embedding/kernel", f"{ENCODER_BLOCK}/MlpBlock_3/Dense_0/kernel"],
    ignored=["pre_logits/*"],
    normalise_names=lambda name: name.removeprefix("opt/target/"),
    after_import=_import,
    before_export=_export,
    heads=_heads,
    likeness="ViT in JAX",
    # Google's ViTs, AugReg among them, take pixels in -1..1.
    normalization="half",
    npz=True,
)
