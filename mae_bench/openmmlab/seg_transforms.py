"""mmseg's transforms of training images with the same draws and pixels, in less time."""

import cv2
import numpy as np
from mmcv.transforms.utils import cache_randomness
from mmseg.datasets.transforms import PhotoMetricDistortion, RandomCrop

from ..datasets.loading import in_order
from ..registry import TRANSFORMS

MAX_TRIES = 10  # mmseg's, of a crop that one class fills
HUES = 180  # of OpenCV's 8-bit HSV
LEVELS = np.arange(256, dtype=np.uint8)


@TRANSFORMS.register_module()
class FastRandomCrop(RandomCrop):
    """mmseg's ``RandomCrop``, whose share of the largest class is a histogram's, not a sort's."""

    @cache_randomness
    def crop_bbox(self, results: dict) -> tuple[int, int, int, int]:
        """Draw a window (top, bottom, left, right) that no class fills beyond ``cat_max_ratio``."""
        height, width = results["img"].shape[:2]
        for _ in range(MAX_TRIES + 1):
            top = np.random.randint(max(height - self.crop_size[0], 0) + 1)
            left = np.random.randint(max(width - self.crop_size[1], 0) + 1)
            box = (top, top + self.crop_size[0], left, left + self.crop_size[1])
            if self.cat_max_ratio >= 1:
                break
            labels = self.crop(results["gt_seg_map"], box)
            counts = cv2.calcHist([labels], [0], None, [256], [0, 256]).ravel()
            if self.ignore_index < len(counts):
                counts[self.ignore_index] = 0
            if np.count_nonzero(counts) > 1 and counts.max() / counts.sum() < self.cat_max_ratio:
                break
        return box


@TRANSFORMS.register_module()
class FastPhotoMetricDistortion(PhotoMetricDistortion):
    """mmseg's ``PhotoMetricDistortion``, each of whose steps looks its 256 values up."""

    def transform(self, results: dict) -> dict:
        """Distort ``img`` (H, W, 3) uint8 BGR."""
        results["img"] = in_order(results["img"])
        return super().transform(results)

    def convert(self, img: np.ndarray, alpha: float = 1, beta: float = 0) -> np.ndarray:
        """``alpha * img + beta``, within 0 and 255, rounded down; ``img`` of any shape, uint8."""
        return cv2.LUT(img, super().convert(LEVELS, alpha, beta))

    def saturation(self, img: np.ndarray) -> np.ndarray:
        """Half of the time scale the saturation of an image (H, W, 3) BGR."""
        if not np.random.randint(2):
            return img
        alpha = np.random.uniform(self.saturation_lower, self.saturation_upper)
        return _look_up_hsv(img, 1, super().convert(LEVELS, alpha))

    def hue(self, img: np.ndarray) -> np.ndarray:
        """Half of the time turn the hue of an image (H, W, 3) BGR."""
        if not np.random.randint(2):
            return img
        shift = np.random.randint(-self.hue_delta, self.hue_delta)
        return _look_up_hsv(img, 0, (LEVELS.astype(int) + shift) % HUES)


def _look_up_hsv(img: np.ndarray, channel: int, values: np.ndarray) -> np.ndarray:
    hsv = cv2.cvtColor(img, cv2.COLOR_BGR2HSV)
    looked_up = cv2.LUT(cv2.extractChannel(hsv, channel), values.astype(np.uint8))
    cv2.insertChannel(looked_up, hsv, channel)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
