"""Reading images: fast, as tensors, and so that a broken file is named."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmcv.transforms import BaseTransform, LoadImageFromFile
from mmengine import fileio
from torchvision.transforms import RandomResizedCrop

from ..registry import TRANSFORMS
from .archives import read_part
from .reading import BrokenImage, decode_array, decode_tensor


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """mmcv's loader, through the one reading of :mod:`mae_bench.datasets.reading`.

    A broken file is named, 16 bits are scaled, and formats that OpenCV does not know are read.
    With another ``color_type`` or ``imdecode_backend`` than mmcv's defaults mmcv decodes.

    A sample may have ``img_part``, archive, offset and size of a file that lies in one;
    ``exif_orientation``, False where its annotations lie over the image as stored; and ``height``
    and ``width`` of its annotations, which the image has to have.

    Raises:
        FileNotFoundError: no such file.
        BrokenImage: the file cannot be decoded, or is of another size than its annotations.
    """

    def transform(self, results: dict) -> dict | None:
        """Add ``img`` (H, W, 3) uint8 BGR and its shape to the sample."""
        path = results["img_path"]
        try:
            if self.color_type == "color" and self.imdecode_backend == "cv2":
                if "img_part" in results:
                    content = read_part(results["img_part"])
                else:
                    content = fileio.get(path, backend_args=self.backend_args)
                image = decode_array(content, path, results.get("exif_orientation", True))
                results["img"] = image.astype(np.float32) if self.to_float32 else image
                results["img_shape"] = results["ori_shape"] = image.shape[:2]
            else:
                super().transform(results)
        except (FileNotFoundError, BrokenImage):
            if self.ignore_empty:
                return None
            raise
        except Exception as error:
            raise BrokenImage.at(path) from error
        _check_size(results)
        return results


def _check_size(results: dict) -> None:
    found, stated = results["ori_shape"], (results.get("height"), results.get("width"))
    if None in stated or found == stated:
        return
    what = f"is {found[1]}x{found[0]}, its annotations are for {stated[1]}x{stated[0]}"
    if found == stated[::-1]:
        what += " (turned by EXIF? see exif_orientation in docs/own_data.md)"
    raise BrokenImage.at(results["img_path"], what)


@TRANSFORMS.register_module()
class LoadImageTensor(BaseTransform):
    """Decode an image file of the local disk into a tensor.

    Then come :class:`RandomResizedCropTensor` or transforms of ``torchvision.transforms.v2``, which
    take the sample's dict as it is. Together that takes less than half the time of Pillow, for the
    same pixels (docs/data_loading.md). A sample may have ``img_part``, as of :class:`LoadImage`.

    Args:
        exif_orientation: turn an image upright as the camera noted it in EXIF. Left out, as in
            torchvision's own data sets and so in the authors' code, it is read as it is stored.

    Raises:
        FileNotFoundError: no such file.
        BrokenImage: the file cannot be decoded, or its end is missing.
    """

    def __init__(self, exif_orientation: bool = False) -> None:
        self.exif_orientation = exif_orientation

    def transform(self, results: dict) -> dict:
        """Add ``img`` (3, H, W) uint8 RGB and its shape to the sample."""
        content = read_part(results["img_part"]) if "img_part" in results else None
        image = decode_tensor(results["img_path"], content, self.exif_orientation)
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


def in_order(image: np.ndarray) -> np.ndarray:
    """Pixels (H, W, C) of a view that was flipped left and right, in the order of memory.

    mmcv's flip is such a view, and NumPy takes 30 times as long as OpenCV to copy it.
    """
    if image.strides[1] >= 0:
        return image
    return cv2.flip(image[:, ::-1], 1).reshape(image.shape)


@TRANSFORMS.register_module()
class ChannelsFirst(BaseTransform):
    """Store an image channel after channel, as a model takes it, so that packing copies nothing.

    mmdet's and mmseg's packing does the same by a transposed copy, in ten times the time.
    """

    def transform(self, results: dict) -> dict:
        """Lay ``img`` (H, W, C) uint8 out as (C, H, W); shape and pixels stay."""
        image = in_order(results["img"])
        planes = np.empty((image.shape[2], *image.shape[:2]), image.dtype)
        cv2.split(image, list(planes))
        results["img"] = planes.transpose(1, 2, 0)
        return results
