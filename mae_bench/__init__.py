"""mae_bench: how well a masked-autoencoder ViT transfers, as one benchmark on OpenMMLab."""

from mae_bench.openmmlab import mmcv_ops as mmcv_ops  # first, so that mmcv finds its operators

__version__ = "0.1.0"
