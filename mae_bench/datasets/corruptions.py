"""ImageNet-C's corruptions made from clean images, for when its files are not at hand.

The corruptions are those of the ``imagecorruptions`` package, which re-implements Hendrycks and
Dietterich (2019) without ImageMagick. They are not the distributed files: other random numbers,
and small differences in motion blur, snow and zoom blur. What is measured on them must say so.
"""

import io
import math
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.resources import as_file, files
from typing import Any

import cv2
import imagecorruptions
import numpy as np
from imagecorruptions import corruptions as package
from PIL import Image
from scipy.ndimage import gaussian_filter1d

from .corruption_loops import (
    add_shifted,
    add_zoomed,
    displaced,
    shift_hsv,
    shuffle_pixels,
    symmetric,
)
from .corruption_noise import add_fog, add_normal, count_photons, plasma
from .imagenet_variants import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES

# ImageNet-C is stored as JPEG of this quality (hendrycks/robustness, create_c/make_imagenet_c.py).
STORAGE_QUALITY = 85
# Those that draw from a generator of their own and so need the seed as an argument.
TAKES_SEED = ("impulse_noise", "glass_blur")
FROST = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg", "frost6.jpg")
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
    options: dict[str, Any] = {"seed": seed} if corruption in TAKES_SEED else {}
    state = np.random.get_state()  # the package draws from NumPy's global generator
    np.random.seed(seed)
    try:
        if corruption in FASTER:
            corrupted = FASTER[corruption](image, severity, **options)
        else:
            corrupted = imagecorruptions.corrupt(
                image, severity=severity, corruption_name=corruption, **options
            )
    finally:
        np.random.set_state(state)
    return corrupted if storage_quality is None else _through_jpeg(corrupted, storage_quality)


def compile_loops(side: int) -> None:
    """Compile the loops, and read the pictures of frost for images of a side, 6 MB.

    Worker processes that are forked afterwards need not do it again, each of them for itself.
    """
    image = np.zeros((side, side, 3), np.uint8)
    for number in range(len(FROST)):
        _frost_picture(number, side, side)
    for corruption in FASTER:
        corrupt(image, corruption, 1, "", storage_quality=None)


def _through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def _to_bytes(values: np.ndarray) -> np.ndarray:
    """From 0 to 1, which is clipped, to uint8; in place, as a new array costs more than the sum."""
    np.clip(values, 0, 1, out=values)
    values *= 255
    return values.astype(np.uint8)


def _zoom_blur(image: np.ndarray, severity: int) -> np.ndarray:
    """The package's zoom blur, byte for byte, without SciPy's general resampling.

    That takes 70 ms for 224 pixels, half of all 15 corruptions together.
    """
    factors = np.arange(*ZOOMS[severity - 1])
    scaled = (image / 255.0).astype(np.float32)
    total = np.zeros_like(scaled)
    for factor in factors:
        add_zoomed(total, *_middle(scaled, float(factor)))
    total += scaled
    total /= len(factors) + 1
    return _to_bytes(total)


def _middle(image: np.ndarray, factor: float) -> tuple[np.ndarray, int, int]:
    """The middle of an image, and the rows and columns that it has zoomed: no fewer than all."""
    height, width = image.shape[:2]
    rows, columns = (int(np.ceil(side / factor)) for side in (height, width))
    top, left = (height - rows) // 2, (width - columns) // 2
    part = image[top : top + rows, left : left + columns]
    return part, round(rows * factor), round(columns * factor)


def _key() -> np.ndarray:
    """State of NumPy's global generator, which has just been seeded."""
    return np.random.get_state(legacy=False)["state"]["key"]


def _gaussian_noise(image: np.ndarray, severity: int) -> np.ndarray:
    return add_normal(image, (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1], _key())


def _shot_noise(image: np.ndarray, severity: int) -> np.ndarray:
    most = (60, 25, 12, 5, 3)[severity - 1]
    counts = count_photons(image, np.arange(256) / 255.0 * most, _key())
    return _to_bytes(np.arange(most + 1) / most)[np.minimum(counts, most)]


def _impulse_noise(image: np.ndarray, severity: int, seed: int) -> np.ndarray:
    """``skimage.util.random_noise`` of salt and pepper, without floating point."""
    generator = np.random.default_rng(seed)
    drawn = generator.random(image.shape)
    hit = drawn <= (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
    salt = (generator.random(out=drawn) <= 0.5).astype(np.uint8)
    # Through 0 to 1 and back, which takes 1 from some values.
    kept = cv2.LUT(image, _to_bytes(np.arange(256) / 255.0))
    return np.where(hit, 255 * salt, kept)


def _contrast(image: np.ndarray, severity: int) -> np.ndarray:
    """What becomes of each of the 256 values, by channel."""
    share = (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1]
    means = (image / 255.0).mean(axis=(0, 1))
    values = np.arange(256)[:, np.newaxis] / 255.0
    return cv2.LUT(image, _to_bytes((values - means) * share + means)[np.newaxis])


def _fog(image: np.ndarray, severity: int) -> np.ndarray:
    strength, decay = ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))[severity - 1]
    side = 1 << (max(image.shape) - 1).bit_length()
    return add_fog(image, plasma(side, decay, _key()), strength)


def _brightness(image: np.ndarray, severity: int) -> np.ndarray:
    return shift_hsv(image, 1.0, 0.0, (0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1])


def _saturate(image: np.ndarray, severity: int) -> np.ndarray:
    scale, offset = ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2))[severity - 1]
    return shift_hsv(image, scale, offset, 0.0)


def _defocus_blur(image: np.ndarray, severity: int) -> np.ndarray:
    """All channels in one call, so that OpenCV transforms the kernel once."""
    radius, alias_blur = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))[severity - 1]
    blurred = cv2.filter2D(image / 255.0, -1, package.disk(radius, alias_blur))
    return _to_bytes(blurred)


def _gaussian(image: np.ndarray, sigmas: Sequence[float], mode: str, truncate: float) -> np.ndarray:
    """``skimage.filters.gaussian`` without a buffer for each line.

    Args:
        image: (H, W) or (H, W, 3) float64.
        sigmas: down and across, pixels.
        mode: of ``numpy.pad``.
        truncate: standard deviations.
    """
    channels = image.shape[2] if image.ndim == 3 else 1
    smooth = image
    for axis, sigma in enumerate(sigmas):
        reach = int(truncate * sigma + 0.5)
        impulse = np.zeros(2 * reach + 1)
        impulse[reach] = 1
        weights = gaussian_filter1d(impulse, sigma, mode="constant", truncate=truncate)
        padding = [(0, 0)] * image.ndim
        padding[axis] = (reach, reach)
        padded = np.pad(smooth, padding, mode)  # type: ignore[call-overload]
        step = (1, 0) if axis == 0 else (0, channels)
        smooth = symmetric(padded.reshape(len(padded), -1), weights, *step).reshape(image.shape)
    return smooth


def _glass_blur(image: np.ndarray, severity: int, seed: int) -> np.ndarray:
    settings = ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))
    sigma, reach, rounds = settings[severity - 1]
    blurred = (_gaussian(image / 255.0, (sigma, sigma), "edge", 4.0) * 255).astype(np.uint8)
    shuffle_pixels(blurred, reach, rounds, seed)
    return _to_bytes(_gaussian(blurred / 255.0, (sigma, sigma), "edge", 4.0))


def _along_a_line(image: np.ndarray, radius: int, sigma: float, angle: float) -> np.ndarray:
    """The package's ``_motion_blur``: (H, W) or (H, W, 3) float64, edges continued."""
    height, width = image.shape[:2]
    channels = image.size // (height * width)
    taps = 2 * radius + 1
    kernel = package.getMotionBlurKernel(taps, sigma)
    down, right = taps * np.sin(np.deg2rad(angle)), taps * np.cos(np.deg2rad(angle))
    length = math.hypot(down, right)
    steps = [
        (-math.ceil(i * down / length - 0.5), -math.ceil(i * right / length - 0.5))
        for i in range(taps)
    ]
    beyond = [abs(dy) >= height or abs(dx) >= width for dy, dx in steps]
    used = beyond.index(True) if any(beyond) else taps
    dy, dx = np.array(steps[:used]).T
    padding = ((taps, taps), (taps, taps), (0, 0))[: image.ndim]
    padded = np.pad(image, padding, "edge").reshape(height + 2 * taps, -1)
    total = add_shifted(height, padded, kernel[:used], taps - dy, (taps - dx) * channels)
    return total.reshape(image.shape)


def _motion_blur(image: np.ndarray, severity: int) -> np.ndarray:
    radius, sigma = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[severity - 1]
    blurred = _along_a_line(image.astype(np.float64), radius, sigma, np.random.uniform(-45, 45))
    return np.clip(blurred, 0, 255).astype(np.uint8)


def _snow(image: np.ndarray, severity: int) -> np.ndarray:
    mean, std, zoom, least, radius, sigma, share = (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    )[severity - 1]
    scaled = image.astype(np.float32) / 255.0
    height, width = image.shape[:2]
    layer = np.random.normal(mean, std, (height, width))
    middle, *larger = _middle(layer[..., np.newaxis], zoom)
    layer = np.zeros((*larger, 1))
    add_zoomed(layer, middle, *larger)
    layer = np.clip(np.where(layer < least, 0, layer), 0, 1)[..., 0]
    layer = _along_a_line(layer, radius, sigma, np.random.uniform(-135, -45))
    layer = (np.round(layer * 255).astype(np.uint8) / 255.0)[:height, :width, np.newaxis]
    pale = cv2.cvtColor(scaled, cv2.COLOR_RGB2GRAY)[..., np.newaxis] * 1.5 + 0.5
    scaled = share * scaled + (1 - share) * np.maximum(scaled, pale)
    return _to_bytes(scaled + layer + np.rot90(layer, k=2))


@lru_cache(maxsize=len(FROST))
def _frost_picture(number: int, height: int, width: int) -> np.ndarray:
    """A picture of frost, larger than an image of that size; reading one takes 10 ms."""
    with as_file(files(imagecorruptions) / "frost" / FROST[number]) as path:
        frost: Any = cv2.imread(str(path))
    rows, columns = frost.shape[:2]
    scale = 1.1 * max(1, height / rows, width / columns)
    size = (int(np.ceil(columns * scale)), int(np.ceil(rows * scale)))
    larger = cv2.resize(frost, size, interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(larger[..., ::-1])


def _frost(image: np.ndarray, severity: int) -> np.ndarray:
    own, other = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))[severity - 1]
    height, width = image.shape[:2]
    frost = _frost_picture(np.random.randint(len(FROST)), height, width)
    top = np.random.randint(0, frost.shape[0] - height)
    left = np.random.randint(0, frost.shape[1] - width)
    frost = frost[top : top + height, left : left + width]
    return np.clip(own * image + other * frost, 0, 255).astype(np.uint8)


def _elastic_transform(image: np.ndarray, severity: int) -> np.ndarray:
    alpha = 250 * (0.05, 0.065, 0.085, 0.1, 0.12)[severity - 1]
    shape = image.shape[:2]
    far = shape[0] * 0.005

    def displacement() -> np.ndarray:
        drawn = np.random.uniform(-far, far, size=shape)
        smooth = _gaussian(drawn, (shape[0] * 0.01, shape[1] * 0.01), "symmetric", 3.0)
        return (smooth * alpha).astype(np.float32)

    right, down = displacement(), displacement()
    return _to_bytes(displaced(image.astype(np.float32) / 255.0, down, right))


# The package's byte for byte, in less time.
FASTER: dict[str, Callable[..., np.ndarray]] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "contrast": _contrast,
    "fog": _fog,
    "zoom_blur": _zoom_blur,
    "brightness": _brightness,
    "saturate": _saturate,
    "defocus_blur": _defocus_blur,
    "glass_blur": _glass_blur,
    "motion_blur": _motion_blur,
    "snow": _snow,
    "frost": _frost,
    "elastic_transform": _elastic_transform,
}
