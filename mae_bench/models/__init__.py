"""Models: one ViT, the masked autoencoder around it, and the adapters to pyramids."""

from .dvae import DVAETarget
from .feature_pyramid import FeaturePyramidAdapter
from .mae import MAE, MAEDecoder
from .simple_pyramid import SimpleFeaturePyramid
from .targets import PCATarget
from .timm_backbone import TimmBackbone
from .vit import SIZES, VisionTransformer

__all__ = [
    "MAE",
    "SIZES",
    "DVAETarget",
    "FeaturePyramidAdapter",
    "MAEDecoder",
    "SimpleFeaturePyramid",
    "PCATarget",
    "TimmBackbone",
    "VisionTransformer",
]
