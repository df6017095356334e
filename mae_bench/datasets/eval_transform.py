"""From a decoded image to what a model gets to see when it is evaluated."""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from mmcv.transforms import Compose
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F


class EvalTransform(Protocol):
    """Takes (3, H, W) uint8 RGB and gives (3, size, size) uint8 RGB."""

    size: int

    def __call__(self, image: Tensor) -> Tensor:
        """Transform one image."""


class CenterCropTransform:
    """Resize the shorter side, keep the middle: with antialiasing, in uint8, as Pillow does it.

    Args:
        size: side of the crop, pixels.
        resize: length of the shorter side before, or of both sides with ``squash``.
        interpolation: ``"bicubic"``, ``"bilinear"``, ``"nearest"`` or another of torchvision's.
        squash: resize both sides to ``resize`` and so change the proportions.
        pad: allow a ``resize`` smaller than ``size``, and surround the image with black.

    Raises:
        ValueError: the crop is larger than what it is cut from, or an unknown interpolation.
    """

    def __init__(
        self,
        size: int,
        resize: int,
        interpolation: str = "bicubic",
        squash: bool = False,
        pad: bool = False,
    ) -> None:
        if resize < size and not pad:
            raise ValueError(f"resize={resize} is smaller than the crop of {size} pixels")
        self.size = size
        self.resize = [resize, resize] if squash else [resize]
        self.interpolation = InterpolationMode(interpolation)

    def __call__(self, image: Tensor) -> Tensor:
        """Transform one image."""
        resized = F.resize(image, self.resize, self.interpolation, antialias=True)
        return F.center_crop(resized, [self.size, self.size])


class PipelineTransform:
    """The transforms of an OpenMMLab test pipeline, between loading and packing.

    Args:
        pipeline: their configs.

    Raises:
        ValueError: from the call, where they do not give square images of one size.
    """

    def __init__(self, pipeline: Sequence[Mapping[str, Any]]) -> None:
        self.pipeline = Compose([dict(step) for step in pipeline])
        # The size shows only in what comes out.
        self.size = self._run(np.zeros((256, 320, 3), np.uint8)).shape[0]

    def __call__(self, image: Tensor) -> Tensor:
        """Transform one image."""
        array = self._run(np.ascontiguousarray(image.flip(0).permute(1, 2, 0).numpy()))
        if array.shape != (self.size, self.size, 3):
            raise ValueError(
                f"the model's test pipeline gives images of {array.shape[:2]} and of "
                f"{(self.size, self.size)} pixels: give test_dataloader.dataset.transform"
            )
        return torch.from_numpy(np.ascontiguousarray(array[..., ::-1])).permute(2, 0, 1)

    def _run(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 BGR, before and after."""
        height, width = image.shape[:2]
        results = dict(img=image, img_shape=(height, width), ori_shape=(height, width))
        return self.pipeline(results)["img"]


def build_transform(config: Mapping[str, Any]) -> EvalTransform:
    """A transform from its config: the arguments of ``CenterCropTransform``.

    Raises:
        ValueError: an argument that it does not have.
    """
    known = set(inspect.signature(CenterCropTransform).parameters)
    if unknown := sorted(set(config) - known):
        raise ValueError(f"transform: unknown key '{unknown[0]}'; it may have {sorted(known)}")
    return CenterCropTransform(**config)


def timm_transform(data_config: Mapping[str, Any]) -> CenterCropTransform:
    """The evaluation transform of a timm model.

    Args:
        data_config: from ``timm.data.resolve_model_data_config``.

    Raises:
        ValueError: it is neither a centre crop nor a squash of a square.
    """
    _, height, width = data_config["input_size"]
    mode = data_config["crop_mode"]
    if height != width or mode not in ("center", "squash"):
        raise ValueError(
            f"crop mode '{mode}' to {height} x {width} is not supported: give "
            "test_dataloader.dataset.transform"
        )
    resize = math.floor(height / data_config["crop_pct"])
    return CenterCropTransform(
        height, resize, data_config["interpolation"], squash=mode == "squash", pad=resize < height
    )
