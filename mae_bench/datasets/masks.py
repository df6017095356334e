"""Masks of segmentation: files whose pixels are labels, and what is no such file."""

import io
from pathlib import Path

import cv2
import numpy as np
from mmengine import fileio
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

from ..registry import TRANSFORMS
from .reading import PNG, BrokenImage

VOID = 255  # pixels of no class
GREY_8_BITS = b"\x08\x00"  # depth and colour type in a PNG's header
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".gif", ".pgm")
LEVELS = np.arange(256, dtype=np.uint8)
AGAIN = "save it with one channel, whose values are labels from 0, and 255 for void"


def read_mask(path: str | Path) -> np.ndarray:
    """Labels of a file, as they are stored: (H, W) uint8; of a palette image its indices.

    Raises:
        FileNotFoundError: no such file.
        BrokenImage: the file cannot be decoded, has several channels, or labels above 255.
    """
    content = fileio.get(str(path))
    labels = None
    if content.startswith(PNG) and content[24:26] == GREY_8_BITS:
        # OpenCV takes half the time of Pillow; of a palette it would give the colours.
        labels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    return _with_pillow(content, path) if labels is None or labels.ndim > 2 else labels


def _with_pillow(content: bytes, path: str | Path) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.mode not in ("1", "L", "P", "I") and not image.mode.startswith("I;16"):
                raise BrokenImage(
                    f"{path}: a mask with {len(image.getbands())} channels ({image.mode}): {AGAIN}"
                )
            labels = np.asarray(image)
    except BrokenImage:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BrokenImage.at(path, "cannot be decoded as a mask") from error
    if labels.dtype != np.uint8:
        if labels.size and (labels.max() > VOID or labels.min() < 0):
            raise BrokenImage(f"{path}: has the label {labels.max()}, above 255: {AGAIN}")
        labels = labels.astype(np.uint8)
    return labels


def shift_zero(labels: np.ndarray) -> np.ndarray:
    """Make 0 void and 1 the first class, as ``reduce_zero_label`` says."""
    # In uint8 the void 255 would become 254.
    return np.where((labels == 0) | (labels == VOID), VOID, labels - 1).astype(np.uint8)


@TRANSFORMS.register_module()
class LoadMask(LoadAnnotations):
    """mmsegmentation's ``LoadAnnotations``, which names the file that is no mask of the image.

    It is read by OpenCV or Pillow, from the local disk, whatever ``imdecode_backend`` and
    ``backend_args`` say. ``reduce_zero_label`` and ``label_map`` come with the sample, and so may
    ``num_classes``.

    Raises:
        FileNotFoundError: no such file.
        BrokenImage: as :func:`read_mask`; or it is of another size than its image, or has labels
            that are no class.
    """

    def _load_seg_map(self, results: dict) -> None:
        path = results["seg_map_path"]
        labels = read_mask(path)
        stated = results.get("ori_shape", labels.shape)
        if labels.shape != tuple(stated):
            raise BrokenImage.at(path, f"is {by(labels.shape[::-1])}, its image {by(stated[::-1])}")
        if self.reduce_zero_label not in (None, results["reduce_zero_label"]):
            raise ValueError(
                f"reduce_zero_label={self.reduce_zero_label} of LoadMask, and "
                f"{results['reduce_zero_label']} of its data set: set it there alone"
            )
        renamed = shift_zero(LEVELS) if results["reduce_zero_label"] else LEVELS
        if label_map := results.get("label_map"):
            after = LEVELS.copy()
            after[list(label_map)] = list(label_map.values())
            renamed = after[renamed]
        labels = cv2.LUT(labels, renamed)
        classes = results.get("num_classes")
        if classes is not None:
            present = np.flatnonzero(cv2.calcHist([labels], [0], None, [VOID], [0, VOID]))
            highest = int(present.max(initial=0))
            if highest >= classes:
                raise BrokenImage(
                    f"{path}: has the label {highest + bool(results['reduce_zero_label'])}, there "
                    f"are {classes} classes: correct it, or metainfo.classes"
                )
        results["gt_seg_map"] = labels
        results["seg_fields"].append("gt_seg_map")


def by(size: tuple[int, ...]) -> str:
    """A size in words."""
    return f"{size[0]}x{size[1]}"
