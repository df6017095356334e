"""Every step of a shipped pipeline that resizes, beside the library of the published code.

That is Pillow, and OpenCV for ADE20K: BEiT, implus and MIMDet read it by mmcv 1. MiniWorld's
configs repeat no published number and are left out.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import TRANSFORMS, init_default_scope
from PIL import Image
from skimage.data import chelsea
from torchvision.transforms import InterpolationMode, v2
from torchvision.tv_tensors import Mask

from mae_bench.config.keys import LOADERS, name_of, walk
from mae_bench.config.load import load_config
from mae_bench.datasets.loading import RandomResizedCropTensor

CONFIGS = Path(__file__).parents[1] / "configs"
PICTURE = chelsea()  # 300 x 451
TENSOR = torch.from_numpy(PICTURE.copy()).permute(2, 0, 1)
CLASSES = (np.indices(PICTURE.shape[:2]) // 7).sum(0).astype(np.uint8) % 150
PILLOW = ("Resize", "RandomResizedCrop", "SingleDrawCrop", "RandomResizedCropTensor")
OPENCV = ("RandomResize", "Resize", "ResizeShortestEdge")
JUDGED_IN_THEIR_OWN_TESTS = {"LargeScaleJitter", "FitToSquare", "CenterCropTransform"}
NOTHING_TO_INTERPOLATE = {"CenterCrop", "RandomCrop", "FastRandomCrop"}
WORDS = (
    "Resize",
    "Crop",
    "Jitter",
    "Square",
    "Scale",
    "Pad",
    "Affine",
    "Rotation",
    "Rotate",
    "Zoom",
)


def steps() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Folder of the config, name and settings of each step that changes a size, once."""
    seen = set()
    for path in sorted(CONFIGS.glob("*/*.py")):
        cfg = {} if "miniworld" in path.name else load_config(path)
        for loader in LOADERS:
            for _, node in walk(cfg.get(loader), loader):
                name, kind = name_of(node), (path.parent.name, str(node))
                moves = any(word in name for word in WORDS) and name != "ColorJitter"
                if moves and name not in NOTHING_TO_INTERPOLATE and kind not in seen:
                    seen.add(kind)
                    yield path.parent.name, name, dict(node.items())


STEPS = list(steps())
ADE20K = [step for folder, _, step in STEPS if folder == "seg" and "scale" in step]
ADE20K = [step for step in ADE20K if "mmcv" in str(step["type"]) or "mmseg" in str(step["type"])]
OTHERS = [
    step for _, name, step in STEPS if name not in JUDGED_IN_THEIR_OWN_TESTS and step not in ADE20K
]


def build(step: dict[str, Any], scope: str) -> Any:
    init_default_scope(scope)
    return TRANSFORMS.build(step)


def test_no_step_is_without_a_judge():
    """Whoever ships a new one adds it here."""
    assert {name_of(step) for step in OTHERS} <= set(PILLOW)
    assert {name_of(step) for step in ADE20K} <= set(OPENCV)
    assert len(OTHERS) >= 8 and len(ADE20K) >= 6


@pytest.mark.parametrize("step", OTHERS, ids=lambda step: f"{name_of(step)}-{step['size']}")
def test_pixels_are_pillows(step):
    never = {"flip_prob": 0.0} if "flip_prob" in step else {}
    transform = build({**step, **never}, "mmpretrain")
    mode = InterpolationMode(getattr(transform, "interpolation", "bicubic"))
    resampling = Image.Resampling[mode.name]
    for seed in range(5):
        torch.manual_seed(seed)
        if isinstance(transform, RandomResizedCropTensor):
            ours = transform(dict(img=TENSOR))["img"]
            draw = v2.RandomResizedCrop(1, transform.scale, transform.ratio).make_params
        else:
            ours = transform(TENSOR)
            draw = transform.make_params
        torch.manual_seed(seed)
        place = dict(top=0, left=0, height=300, width=451) | draw([TENSOR])
        left, top = place["left"], place["top"]
        window = (left, top, left + place["width"], top + place["height"])
        shape = ours.shape[:0:-1]
        theirs = Image.fromarray(PICTURE).crop(window).resize(shape, resampling)
        difference = np.abs(ours.permute(1, 2, 0).numpy().astype(int) - np.asarray(theirs))
        # A level or two where a sum falls on a half: the filters' weights are rounded otherwise.
        assert difference.max() <= 2 and difference.mean() < 0.25
        if isinstance(transform, v2.Resize):
            size = step["size"]
            assert shape == (int(size * 451 / 300), size)
            break


@pytest.mark.parametrize("size", [224, 256])
def test_masks_take_the_nearest_pixel(size):
    """ImageNet-S in training: the mask goes with the picture."""
    crop = v2.functional.resize(Mask(torch.from_numpy(CLASSES)), [size, size])
    rows, columns = (np.arange(size) * side // size for side in CLASSES.shape)
    assert (crop.numpy() == CLASSES[np.ix_(rows, columns)]).all()


@pytest.mark.parametrize("step", ADE20K, ids=lambda step: f"{name_of(step)}-{step['scale']}")
def test_pixels_of_ade20k_are_opencvs(step):
    np.random.seed(0)
    results = dict(
        img=PICTURE.copy(),
        img_shape=PICTURE.shape[:2],
        gt_seg_map=CLASSES,
        seg_fields=["gt_seg_map"],
    )
    results = build(dict(step), "mmseg")(results)
    shape = results["img"].shape[1::-1]
    assert (results["img"] == cv2.resize(PICTURE, shape, interpolation=cv2.INTER_LINEAR)).all()
    nearest = cv2.resize(CLASSES, shape, interpolation=cv2.INTER_NEAREST)
    assert (results["gt_seg_map"] == nearest).all()
    if min(shape) >= 300:  # Pillow's filter is as wide as OpenCV's only where a picture grows
        theirs = Image.fromarray(PICTURE).resize(shape, Image.Resampling.BILINEAR)
        assert np.abs(results["img"].astype(int) - np.asarray(theirs)).max() <= 2
