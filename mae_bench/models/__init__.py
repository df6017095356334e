"""Models: one ViT, the masked autoencoder around it, the adapter to pyramids, and heads."""

from .classifier import LinearProbeHead
from .feature_pyramid import FeaturePyramidAdapter
from .mae import MAE, MAEDecoder
from .vit import SIZES, VisionTransformer

__all__ = [
    "MAE",
    "SIZES",
    "FeaturePyramidAdapter",
    "LinearProbeHead",
    "MAEDecoder",
    "VisionTransformer",
]
