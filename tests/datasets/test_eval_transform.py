"""Evaluation transforms against torchvision's and timm's on Pillow images."""

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmpretrain.registry import TRANSFORMS
from PIL import Image
from skimage.data import chelsea
from timm.data import create_transform
from torchvision import transforms

from mae_bench.datasets.eval_transform import (
    CenterCropTransform,
    PipelineTransform,
    build_transform,
    timm_transform,
)

PICTURE = chelsea()  # 300 x 451
TENSOR = torch.from_numpy(PICTURE.copy()).permute(2, 0, 1)


def difference(mine: torch.Tensor, theirs: np.ndarray) -> np.ndarray:
    return np.abs(mine.permute(1, 2, 0).numpy().astype(int) - theirs)


@pytest.mark.parametrize(
    ("size", "resize", "name", "mode"),
    [
        (224, 256, "bicubic", transforms.InterpolationMode.BICUBIC),
        (224, 256, "bilinear", transforms.InterpolationMode.BILINEAR),
        (448, 448, "bicubic", transforms.InterpolationMode.BICUBIC),
    ],
)
def test_as_torchvision_on_pillow(size, resize, name, mode):
    theirs = transforms.CenterCrop(size)(transforms.Resize(resize, mode)(Image.fromarray(PICTURE)))
    distance = difference(CenterCropTransform(size, resize, name)(TENSOR), np.asarray(theirs))
    # Pillow and torch round their filters' weights differently: a level or two here and there.
    assert distance.max() <= 2 and distance.mean() < 0.05


@pytest.mark.parametrize(
    ("crop_mode", "crop_pct"),
    # Some models of timm see pictures with a black frame: volo_d5_512 has 1.15.
    [("center", 0.95), ("squash", 0.95), ("center", 1.15)],
)
def test_as_timm(crop_mode, crop_pct):
    config = dict(
        input_size=(3, 160, 160), crop_pct=crop_pct, interpolation="bicubic", crop_mode=crop_mode
    )
    theirs = create_transform(**config, is_training=False, mean=(0, 0, 0), std=(1, 1, 1))
    expected = 255 * theirs(Image.fromarray(PICTURE)).permute(1, 2, 0).numpy()
    transform = timm_transform(config)
    assert transform.size == 160
    assert difference(transform(TENSOR), expected.round()).max() <= 1


def test_timm_mode_that_there_is_not():
    config = dict(
        input_size=(3, 160, 160), crop_pct=1.0, interpolation="bicubic", crop_mode="border"
    )
    with pytest.raises(ValueError, match="crop mode 'border'"):
        timm_transform(config)


def test_pipeline_of_openmmlab():
    init_default_scope("mmpretrain")
    steps = [
        dict(type="ResizeEdge", scale=72, edge="short"),
        dict(type="CenterCrop", crop_size=64),
    ]
    results = dict(img=PICTURE[..., ::-1].copy(), img_shape=PICTURE.shape[:2])
    for step in steps:
        results = TRANSFORMS.build(step)(results)
    transform = PipelineTransform(steps)
    assert transform.size == 64
    assert np.array_equal(transform(TENSOR).permute(1, 2, 0).numpy(), results["img"][..., ::-1])


def test_pipeline_without_a_size():
    init_default_scope("mmpretrain")
    transform = PipelineTransform([dict(type="ResizeEdge", scale=64, edge="short")])
    with pytest.raises(ValueError, match="give test_dataloader.dataset.transform"):
        transform(TENSOR)


def test_wrong_config():
    with pytest.raises(ValueError, match="unknown key 'sise'"):
        build_transform(dict(sise=224, resize=256))
    with pytest.raises(ValueError, match="resize=200 is smaller than the crop of 224"):
        build_transform(dict(size=224, resize=200))
