"""Large-scale jitter, and the resize of test images, as detectron2 and MIMDet do them."""

import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image

from ..datasets.loading import in_order
from ..registry import TRANSFORMS
from .mask_geometry import Crop, crop_masks

MIN_SIDE = 1e-5  # of a box, in pixels: what is less is dropped (detectron2)


def resize(image: np.ndarray, crop: Crop) -> np.ndarray:
    """A window into a resized image (H, W, 3) uint8, by Pillow, bilinear and antialiased."""
    scale_x, scale_y = crop.scale
    right, bottom = crop.left + crop.width, crop.top + crop.height
    box = (crop.left / scale_x, crop.top / scale_y, right / scale_x, bottom / scale_y)
    height, width = crop.source
    inside = (*box[:2], min(box[2], width), min(box[3], height))
    pixels = Image.fromarray(in_order(image))
    return np.asarray(pixels.resize((crop.width, crop.height), Image.Resampling.BILINEAR, inside))


def pad_to_square(image: np.ndarray, size: int, grey: int) -> np.ndarray:
    """(H, W, 3) -> (size, size, 3): grey on the right and below."""
    square = np.full((size, size, 3), grey, image.dtype)
    square[: image.shape[0], : image.shape[1]] = image
    return square


@TRANSFORMS.register_module()
class FitToSquare(BaseTransform):
    """Resize a test image so that its longer side has ``size`` pixels, by Pillow, antialiased.

    Args:
        size: pixels.
        pad: grey level that fills the square on the right and below; None: no filling. It is not
            part of the image: boxes end before it.

    Source: detectron2, ``ResizeShortestEdge(size, max_size=size)``; MIMDet then pads with 128.
    """

    def __init__(self, size: int, pad: int | None = None) -> None:
        self.size = size
        self.pad = pad

    def transform(self, results: dict) -> dict:
        """Change ``img`` (H, W, 3) uint8; ``img_shape`` is the image without filling."""
        source = results["img"].shape[:2]
        # First the shorter side, then the longer one if it is too long.
        scale = self.size / min(source)
        sides = [scale * side for side in source]
        if max(sides) > self.size:
            scale = self.size / max(sides)
            sides = [scale * side for side in sides]
        height, width = (max(int(side + 0.5), 1) for side in sides)
        crop = Crop(source, (height, width), 0, 0, height, width)
        image = resize(results["img"], crop)
        results.update(img_shape=(height, width), scale_factor=crop.scale, keep_ratio=True)
        results["img"] = image if self.pad is None else pad_to_square(image, self.size, self.pad)
        return results


@TRANSFORMS.register_module()
class LargeScaleJitter(BaseTransform):
    """Resize an image by a random factor and cut a square from it; smaller ones stay smaller.

    The window is drawn first, and only what is in it is resized. Pixels are Pillow's, bilinear and
    antialiased. One random number places the window along both axes. Boxes are drawn anew round
    what is left of the masks; objects of which nothing is left are dropped.

    Args:
        size: side of the square in pixels, to which an image is fitted at a factor of 1.
        ratio_range: least and greatest factor, drawn uniformly.
        pad: grey level that fills what is missing to the square on the right and below, which then
            counts as image; None: the image is left as large as it is.

    Raises:
        ValueError: from the call, for annotations other than boxes, labels and masks.

    Source: detectron2, ``ResizeScale`` and ``FixedSizeCrop`` with ``recompute_boxes``; the same in
    MIMDet (with ``pad=128``) and ViTDet (without).
    """

    def __init__(
        self, size: int, ratio_range: tuple[float, float] = (0.1, 2.0), pad: int | None = None
    ) -> None:
        self.size = size
        self.ratio_range = ratio_range
        self.pad = pad

    def transform(self, results: dict) -> dict:
        """Change ``img`` (H, W, 3) uint8 and its ``gt_bboxes`` and ``gt_masks``."""
        if refused := {"gt_seg_map", "gt_keypoints"} & set(results):
            raise ValueError(f"LargeScaleJitter takes boxes and masks, and got {refused}")
        crop = self._draw(results["img"].shape[:2])
        image = resize(results["img"], crop)
        if self.pad is not None:
            image = pad_to_square(image, self.size, self.pad)
        results.update(
            img=image, img_shape=image.shape[:2], scale_factor=crop.scale, keep_ratio=True
        )
        if "gt_bboxes" in results:
            self._annotations(results, crop)
        return results

    def _draw(self, source: tuple[int, int]) -> Crop:
        scale = np.random.uniform(*self.ratio_range) * self.size / max(source)
        place = np.random.uniform()
        resized = [max(round(side * scale), 1) for side in source]
        top, left = (round(max(side - self.size, 0) * place) for side in resized)
        height, width = (min(side, self.size) for side in resized)
        return Crop(source, (resized[0], resized[1]), top, left, height, width)

    def _annotations(self, results: dict, crop: Crop) -> None:
        if "gt_masks" in results:
            masks, left = crop_masks(results.pop("gt_masks"), crop, self.size)
            _keep(results, left)
            results["gt_masks"] = masks.pad(results["img_shape"])
            results["gt_bboxes"] = masks.get_bboxes("hbox")
        else:
            boxes = results["gt_bboxes"]
            boxes.rescale_(crop.scale)
            boxes.translate_((-crop.left, -crop.top))
            boxes.clip_(results["img_shape"])
        corners = results["gt_bboxes"].tensor
        _keep(results, (corners[:, 2:] - corners[:, :2] > MIN_SIDE).all(dim=1).numpy())


def _keep(results: dict, chosen: np.ndarray) -> None:
    for key in ("gt_bboxes", "gt_bboxes_labels", "gt_ignore_flags", "gt_masks"):
        if key in results:
            results[key] = results[key][chosen]
