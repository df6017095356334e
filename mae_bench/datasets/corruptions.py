"""ImageNet-C's corruptions made from clean images, for when its files are not at hand.

The corruptions are those of the ``imagecorruptions`` package, which re-implements Hendrycks and
Dietterich (2019) without ImageMagick. They are not the distributed files: other random numbers,
and small differences in motion blur, snow and zoom blur. What is measured on them must say so.
"""

import io
import zlib
from typing import Any

import imagecorruptions
import numpy as np
from numba import njit
from PIL import Image

from .imagenet_variants import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES

# ImageNet-C is stored as JPEG of this quality (hendrycks/robustness, create_c/make_imagenet_c.py).
STORAGE_QUALITY = 85
# Those that draw from a generator of their own and so need the seed as an argument.
TAKES_SEED = ("impulse_noise", "glass_blur")
# Zoom factors by severity: first, end (not reached), step.
ZOOMS = ((1, 1.11, 0.01), (1, 1.16, 0.01), (1, 1.21, 0.02), (1, 1.26, 0.02), (1, 1.31, 0.03))


def corrupt(
    image: np.ndarray,
    corruption: str,
    severity: int,
    file_name: str,
    storage_quality: int | None = STORAGE_QUALITY,
) -> np.ndarray:
    """Corrupted copy of an image, the same whenever and wherever it is made.

    Args:
        image: (H, W, 3) uint8 RGB, at least 32 pixels a side; ImageNet-C has 224.
        corruption: one of ImageNet-C's 15, or of its 4 extra ones.
        severity: 1 (weak) to 5 (strong).
        file_name: name of the image; with the corruption and the severity it seeds the noise.
        storage_quality: the copy goes through a JPEG file of this quality, as the distributed
            images did; None leaves that out.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: an unknown corruption or severity.
    """
    if corruption not in CORRUPTIONS + EXTRA_CORRUPTIONS:
        known = ", ".join(CORRUPTIONS + EXTRA_CORRUPTIONS)
        raise ValueError(f"corruption={corruption!r} is not one of {known}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity={severity!r} is not one of 1 to {len(SEVERITIES)}")
    # Python's own hash() differs from one process to the next.
    seed = zlib.crc32(f"{corruption}/{severity}/{file_name}".encode())
    if corruption == "zoom_blur":
        corrupted = _zoom_blur(image, severity)
    else:
        options: dict[str, Any] = {"seed": seed} if corruption in TAKES_SEED else {}
        state = np.random.get_state()  # the package draws from NumPy's global generator
        np.random.seed(seed)
        try:
            corrupted = imagecorruptions.corrupt(
                image, severity=severity, corruption_name=corruption, **options
            )
        finally:
            np.random.set_state(state)
    return corrupted if storage_quality is None else _through_jpeg(corrupted, storage_quality)


def compile_loops() -> None:
    """Compile the two compiled loops, glass blur's and zoom blur's.

    Worker processes that are forked afterwards need not do it again, each of them for itself.
    """
    image = np.zeros((32, 32, 3), np.uint8)
    for corruption in ("glass_blur", "zoom_blur"):
        for severity in SEVERITIES:  # the constants' types differ, and each is compiled by itself
            corrupt(image, corruption, severity, "", storage_quality=None)


def _through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def _zoom_blur(image: np.ndarray, severity: int) -> np.ndarray:
    """The package's zoom blur, byte for byte, without SciPy's general resampling.

    That takes 70 ms for 224 pixels, half of all 15 corruptions together.
    """
    factors = np.arange(*ZOOMS[severity - 1])
    scaled = (image / 255.0).astype(np.float32)
    total = np.zeros_like(scaled)
    height, width = image.shape[:2]
    for factor in factors:
        # The middle of the image, which zoomed by the factor covers the whole.
        rows, columns = (int(np.ceil(side / factor)) for side in (height, width))
        top, left = (height - rows) // 2, (width - columns) // 2
        _add_zoomed(
            total,
            scaled[top : top + rows, left : left + columns],
            (rows - 1) / (round(rows * factor) - 1),
            (columns - 1) / (round(columns * factor) - 1),
        )
    mean = (scaled + total) / (len(factors) + 1)
    return (np.clip(mean, 0, 1) * 255).astype(np.uint8)


@njit
def _add_zoomed(total: np.ndarray, part: np.ndarray, step_y: float, step_x: float) -> None:
    """Add to ``total`` (H, W, 3) the linear interpolation of ``part`` at steps of its pixels.

    The sums are in the order of scipy.ndimage.zoom, in double precision, as it has them.
    """
    last_y, last_x = part.shape[0] - 1, part.shape[1] - 1
    for y in range(total.shape[0]):
        at_y = y * step_y
        if at_y > last_y:  # by a rounding error: outside, where SciPy has zero
            continue
        y0 = int(at_y)
        y1 = min(y0 + 1, last_y)
        for x in range(total.shape[1]):
            at_x = x * step_x
            if at_x > last_x:
                continue
            x0 = int(at_x)
            x1 = min(x0 + 1, last_x)
            down, right = at_y - y0, at_x - x0
            for channel in range(3):
                value = np.float64(part[y0, x0, channel]) * (1 - down) * (1 - right)
                value += np.float64(part[y0, x1, channel]) * (1 - down) * right
                value += np.float64(part[y1, x0, channel]) * down * (1 - right)
                value += np.float64(part[y1, x1, channel]) * down * right
                total[y, x, channel] += np.float32(value)
