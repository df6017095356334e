"""Our segmentation transforms beside mmseg's own."""

import numpy as np
import pytest
from mmseg.datasets.transforms import PhotoMetricDistortion, RandomCrop

from mae_bench.openmmlab.seg_transforms import (
    FastPhotoMetricDistortion,
    FastRandomCrop,
)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    """Few classes, one of which fills most windows, and ignored pixels."""
    labels = np.full((60, 90), 3, np.uint8)
    labels[:20, :30], labels[40:, 70:], labels[:, 88:] = 0, 254, 255
    return labels


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_colours_are_mmsegs(image, seed, flipped):
    image = np.flip(image, axis=1) if flipped else image  # mmcv's RandomFlip gives such a view
    found = []
    for transform in (PhotoMetricDistortion(), FastPhotoMetricDistortion()):
        np.random.seed(seed)
        found.append((transform(dict(img=image.copy()))["img"], np.random.uniform()))
    assert (found[0][0] == found[1][0]).all() and found[0][1] == found[1][1]


@pytest.mark.parametrize("ratio", [0.6, 0.75, 1.0])
@pytest.mark.parametrize("seed", range(10))
def test_windows_are_mmsegs(image, labels, ratio, seed):
    found = []
    for transform in (RandomCrop, FastRandomCrop):
        np.random.seed(seed)
        results = dict(img=image, gt_seg_map=labels, seg_fields=["gt_seg_map"])
        results = transform(crop_size=(32, 40), cat_max_ratio=ratio)(results)
        found.append((results["img"], results["gt_seg_map"]))
    assert all((one == other).all() for one, other in zip(*found, strict=True))
