"""Reading images: fast, as tensors, and so that a broken file is named."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mmcv.transforms import BaseTransform, LoadImageFromFile
from torchvision.io import decode_image
from torchvision.transforms import RandomResizedCrop

from ..registry import TRANSFORMS


class BrokenImage(ValueError):
    """A file that is there and cannot be decoded as an image."""

    @classmethod
    def at(cls, path: str | Path) -> "BrokenImage":
        """The error for the file at ``path``, which it names."""
        return cls(
            f"{path}: cannot be decoded as an image; replace the file or take it out of the data"
        )


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """mmcv's loader, with a clear error for a file that is no image.

    The original says nothing of the file where it is empty (OpenCV's error) or where another
    decoder than OpenCV fails. ``load_config`` puts this class in place of the original, so no
    config has to name it.

    Raises:
        FileNotFoundError: no such file.
        BrokenImage: the file cannot be decoded.
    """

    def transform(self, results: dict) -> dict | None:
        """Add ``img`` (H, W, 3) uint8 BGR and its shape to the sample."""
        try:
            return super().transform(results)
        except FileNotFoundError:
            raise
        except Exception as error:
            raise BrokenImage.at(results["img_path"]) from error


@TRANSFORMS.register_module()
class LoadImageTensor(BaseTransform):
    """Decode a JPEG, PNG, GIF or WebP file of the local disk into a tensor.

    Then come :class:`RandomResizedCropTensor` or transforms of ``torchvision.transforms.v2``, which
    take the sample's dict as it is. Together that takes less than half the time of Pillow, for the
    same pixels (docs/data_loading.md). As in torchvision's own pipelines, the orientation
    that a camera noted in EXIF is not applied.

    Raises:
        FileNotFoundError: no such file.
        BrokenImage: the file cannot be decoded, or its end is missing.
    """

    def transform(self, results: dict) -> dict:
        """Add ``img`` (3, H, W) uint8 RGB and its shape to the sample."""
        path = results["img_path"]
        try:
            image = decode_image(str(path), mode="RGB")
        except RuntimeError as error:
            if not Path(path).exists():
                raise FileNotFoundError(f"{path}: no such image file") from None
            raise BrokenImage.at(path) from error
        results["img"] = image
        results["ori_shape"] = tuple(image.shape[1:])
        return results


@TRANSFORMS.register_module()
class RandomResizedCropTensor(BaseTransform):
    """torchvision's RandomResizedCrop and RandomHorizontalFlip of a uint8 tensor, bicubic.

    Same draws from PyTorch's generator and same pixels as torchvision's two v2 transforms. Those
    take a fifth of a millisecond longer for an image, finding out what they were given.

    Args:
        size: side of the square that comes out, in pixels.
        scale: range of the crop's share of the area.
        ratio: range of its aspect before resizing.
        flip_prob: probability of flipping left and right.
    """

    def __init__(
        self,
        size: int,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip_prob: float = 0.0,
    ) -> None:
        self.flip_prob = flip_prob
        self.size = (size, size)
        self.scale, self.ratio = list(scale), list(ratio)

    def transform(self, results: dict) -> dict:
        """Crop ``img`` (3, H, W) uint8, resize that view to (3, size, size), perhaps flip it."""
        image = results["img"]
        top, left, height, width = RandomResizedCrop.get_params(image, self.scale, self.ratio)
        crop = image[None, :, top : top + height, left : left + width]
        image = F.interpolate(crop, self.size, mode="bicubic", antialias=True)[0]
        if self.flip_prob and torch.rand(1) < self.flip_prob:
            image = image.flip(-1)
        results["img"] = image
        return results


@TRANSFORMS.register_module()
class TensorToArray(BaseTransform):
    """From :class:`LoadImageTensor`'s layout to OpenMMLab's, for its own augmentations."""

    def transform(self, results: dict) -> dict:
        """Turn ``img`` from (3, H, W) RGB tensor into (H, W, 3) BGR array, both uint8."""
        image: torch.Tensor = results["img"]
        results["img"] = np.ascontiguousarray(image.permute(1, 2, 0).numpy()[..., ::-1])
        results["img_shape"] = tuple(image.shape[1:])
        return results
