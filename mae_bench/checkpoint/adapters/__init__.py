"""Foreign checkpoint formats: one file each, with a declared key map and both directions.

To add one, write its file and name its adapter in :data:`ADAPTERS`.
"""

from . import (
    beit,
    deit,
    detectron2,
    dino,
    dinov2,
    huggingface,
    ijepa,
    jax_vit,
    mmdet_vitdet,
    mmpretrain,
    mmseg,
    moco_v3,
    official_mae,
    openmmlab_model,
    simmim,
    timm,
)
from .adapter import Adapter, Tensors

ADAPTERS = {
    adapter.name: adapter
    for adapter in (
        official_mae.ADAPTER,
        timm.ADAPTER,
        deit.ADAPTER,
        moco_v3.ADAPTER,
        dino.ADAPTER,
        dino.STUDENT_ADAPTER,
        dino.BACKBONE_ADAPTER,
        dinov2.ADAPTER,
        dinov2.TEACHER_ADAPTER,
        ijepa.ADAPTER,
        simmim.ADAPTER,
        mmpretrain.ADAPTER,
        mmpretrain.MAE_ADAPTER,
        mmpretrain.MOCO_ADAPTER,
        mmpretrain.BEIT_ADAPTER,
        mmdet_vitdet.ADAPTER,
        mmseg.ADAPTER,
        mmseg.BEIT_ADAPTER,
        huggingface.MAE_ADAPTER,
        huggingface.ADAPTER,
        huggingface.DEIT_ADAPTER,
        huggingface.IJEPA_ADAPTER,
        huggingface.BEIT_ADAPTER,
        huggingface.DATA2VEC_ADAPTER,
        huggingface.DINOV2_ADAPTER,
        detectron2.ADAPTER,
        beit.ADAPTER,
        jax_vit.ADAPTER,
        openmmlab_model.ADAPTER,
    )
}


def candidates(tensors: Tensors) -> list[Adapter]:
    """Formats that foreign tensors can be of, by their names."""
    return [adapter for adapter in ADAPTERS.values() if not adapter.asked and adapter.fits(tensors)]
