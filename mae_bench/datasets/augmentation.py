"""Augmentation that the libraries have otherwise than the recipes ask for."""

import math
from typing import Any

import torch
from mmcv.transforms import BaseTransform
from PIL import Image, ImageOps
from timm.data.auto_augment import rand_augment_transform
from torchvision.transforms import v2
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from ..registry import TRANSFORMS

# What an operation uncovers: ImageNet's mean colour, RGB.
MEAN_COLOUR = (124, 116, 104)


def posterize(image: Image.Image, bits: int, **_: Any) -> Image.Image:
    """Keep the highest bits of each channel; none of them is black.

    At the highest magnitude timm keeps none, which Pillow refuses today and took for black before.
    """
    return ImageOps.posterize(image, bits) if bits else Image.new(image.mode, image.size)


@TRANSFORMS.register_module()
class RandAugment(BaseTransform):
    """timm's RandAugment, operation by operation on Pillow images.

    mmpretrain's has the same operations on arrays, with other interpolation and rounding.

    Args:
        policy: timm's notation. ``rand-m9-mstd0.5-inc1`` is two of 15 operations, each applied
            with probability 1/2, at magnitude 9 (of 10) with a standard deviation of 0.5, harder
            with growing magnitude.

    Source: MAE Table 9 (RandAug 9, 0.5); the policy from the official fine-tuning code.
    """

    def __init__(self, policy: str = "rand-m9-mstd0.5-inc1") -> None:
        hparams = dict(img_mean=MEAN_COLOUR, interpolation=Image.Resampling.BICUBIC)
        self.augment = rand_augment_transform(policy, hparams)
        for operation in self.augment.ops:
            if operation.name.startswith("Posterize"):
                operation.aug_fn = posterize

    def transform(self, results: dict) -> dict:
        """Change ``img``, (3, H, W) uint8 RGB; its size stays."""
        results["img"] = pil_to_tensor(self.augment(to_pil_image(results["img"])))
        return results


@TRANSFORMS.register_module()
class SingleDrawCrop(v2.RandomResizedCrop):
    """Random resized crop whose area and proportions are drawn once, and cut to the image.

    torchvision draws again, up to ten times, until the crop fits. mmpretrain's
    ``MAERandomResizedCrop`` is the same for Pillow images, which takes twice the time.

    Args:
        size, scale, ratio, interpolation: as torchvision's.

    Source: official linear probing code, after BYOL's.
    """

    def make_params(self, flat_inputs: list[Any]) -> dict[str, int]:
        """Top, left, height and width in pixels."""
        image = next(value for value in flat_inputs if isinstance(value, torch.Tensor))
        rows, columns = image.shape[-2:]
        area = rows * columns * torch.empty(1).uniform_(*self.scale).item()
        low, high = torch.log(torch.tensor(self.ratio)).tolist()
        ratio = torch.exp(torch.empty(1).uniform_(low, high)).item()
        width = min(round(math.sqrt(area * ratio)), columns)
        height = min(round(math.sqrt(area / ratio)), rows)
        top = int(torch.randint(0, rows - height + 1, (1,)))
        left = int(torch.randint(0, columns - width + 1, (1,)))
        return dict(top=top, left=left, height=height, width=width)
