"""MiniWorld's image corruptions, in the kinds and the folder layout of ImageNet-C.

The names are those of Hendrycks & Dietterich (2019), section 4.1. The severity constants are
MiniWorld's own choice for pictures of about 24 pixels, not theirs, so error rates on MiniWorld must
never be put beside those on ImageNet-C.
"""

import io
import zlib
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

SEVERITIES = (1, 2, 3, 4, 5)

# One constant for each severity; the unit is in the docstring of the corruption.
CONSTANTS: dict[str, tuple[float, ...]] = {
    "gaussian_noise": (0.05, 0.09, 0.14, 0.20, 0.28),
    "impulse_noise": (0.02, 0.05, 0.09, 0.15, 0.23),
    "defocus_blur": (0.7, 1.0, 1.4, 1.9, 2.5),
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
    "contrast": (0.6, 0.45, 0.33, 0.24, 0.16),
    "jpeg_compression": (50, 35, 25, 18, 12),
}
CORRUPTIONS = tuple(CONSTANTS)


def corrupt(image: np.ndarray, corruption: str, severity: int, file_name: str) -> np.ndarray:
    """Corrupted copy of a picture.

    Args:
        image: (H, W, 3) uint8 RGB.
        corruption: one of ``CORRUPTIONS``.
        severity: 1 (weak) to 5 (strong).
        file_name: name of the picture; with the corruption and the severity it seeds the noise, so
            that a copy is the same whenever and wherever it is made.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: an unknown corruption or severity.
    """
    if corruption not in CONSTANTS:
        raise ValueError(f"corruption={corruption!r} is not one of {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity={severity!r} is not one of 1 to {len(SEVERITIES)}")
    # Python's own hash() differs from one process to the next.
    rng = np.random.default_rng(zlib.crc32(f"{corruption}/{severity}/{file_name}".encode()))
    constant = CONSTANTS[corruption][severity - 1]
    corrupted = _FUNCTIONS[corruption](image.astype(np.float32) / 255, constant, rng)
    return np.round(np.clip(corrupted, 0, 1) * 255).astype(np.uint8)


# Below, pictures are (H, W, 3) float32 RGB in 0..1 and may leave that range.


def _gaussian_noise(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Normal noise on every value; ``sigma`` is a share of the full range."""
    return image + rng.normal(scale=sigma, size=image.shape)


def _impulse_noise(image: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Salt and pepper: that ``share`` of the values, in any channel, becomes 0 or 1."""
    hit = rng.random(image.shape) < share
    return np.where(hit, rng.integers(2, size=image.shape), image)


def _defocus_blur(image: np.ndarray, radius: float, rng: np.random.Generator) -> np.ndarray:
    """Average over a disk with a soft rim; ``radius`` in pixels."""
    reach = int(np.ceil(radius))
    offsets = np.arange(-reach, reach + 1)
    distance = np.hypot(offsets[:, None], offsets)
    disk = np.clip(radius + 0.5 - distance, 0, 1)
    return cv2.filter2D(image, -1, disk / disk.sum(), borderType=cv2.BORDER_REFLECT_101)


def _brightness(image: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """``amount`` (full range 1) added to the value channel of HSV."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 2] = np.clip(hsv[..., 2] + amount, 0, 1)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def _contrast(image: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    """Distance from each channel's mean times ``factor``."""
    mean = image.mean(axis=(0, 1))
    return mean + (image - mean) * factor


def _jpeg_compression(image: np.ndarray, quality: float, rng: np.random.Generator) -> np.ndarray:
    """Through a JPEG file of that ``quality`` (1 to 100)."""
    buffer = io.BytesIO()
    Image.fromarray(np.round(image * 255).astype(np.uint8)).save(
        buffer, "JPEG", quality=int(quality)
    )
    return np.asarray(Image.open(buffer), dtype=np.float32) / 255


_FUNCTIONS: dict[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    "gaussian_noise": _gaussian_noise,
    "impulse_noise": _impulse_noise,
    "defocus_blur": _defocus_blur,
    "brightness": _brightness,
    "contrast": _contrast,
    "jpeg_compression": _jpeg_compression,
}
