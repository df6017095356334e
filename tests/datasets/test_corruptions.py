"""Corruptions made on the fly, against the package they come from."""

import io
import zlib
from itertools import product

import imagecorruptions
import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from mae_bench.datasets.corruptions import FASTER, corrupt
from mae_bench.datasets.imagenet_variants import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES

# Draws nothing: equal to the package without any agreement on random numbers.
DETERMINISTIC = (
    "defocus_blur",
    "zoom_blur",
    "brightness",
    "contrast",
    "pixelate",
    "jpeg_compression",
    "gaussian_blur",
    "saturate",
)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.asarray(Image.fromarray(astronaut()).resize((224, 224)))


def test_names_are_the_package_s():
    assert list(CORRUPTIONS) == imagecorruptions.get_corruption_names("common")
    assert list(EXTRA_CORRUPTIONS) == imagecorruptions.get_corruption_names("validation")


@pytest.mark.parametrize("corruption", DETERMINISTIC)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_byte_for_byte_the_package_s(image, corruption, severity):
    expected = imagecorruptions.corrupt(image, severity, corruption)
    assert np.array_equal(corrupt(image, corruption, severity, "a", None), expected)


@pytest.mark.parametrize("corruption", FASTER)
def test_what_is_made_faster_is_the_package_s_with_the_same_seed(image, corruption):
    """Other shapes, noise, few colours, none: to the byte, with every severity."""
    chance = np.random.default_rng(0)
    noise = chance.integers(0, 256, (150, 204, 3), dtype=np.uint8)
    pictures = [image, np.ascontiguousarray(image[:150, 20:]), noise, noise // 85 * 85]
    pictures += [np.zeros((32, 45, 3), np.uint8), np.full((64, 33, 3), 255, np.uint8)]
    pictures += [noise[:33, :35].copy()]  # an odd number of values
    for severity, (number, picture) in product(SEVERITIES, enumerate(pictures)):
        seed = zlib.crc32(f"{corruption}/{severity}/{number}".encode())
        np.random.seed(seed)
        options = {"seed": seed} if corruption in ("glass_blur", "impulse_noise") else {}
        expected = imagecorruptions.corrupt(picture, severity, corruption, **options)
        found = corrupt(picture, corruption, severity, str(number), None)
        assert np.array_equal(found, expected), (severity, number)


@pytest.mark.parametrize(
    "corruption", sorted({*CORRUPTIONS, *EXTRA_CORRUPTIONS} - {*DETERMINISTIC})
)
def test_random_ones_depend_on_the_name_and_on_nothing_else(image, corruption):
    np.random.seed(0)
    first = corrupt(image, corruption, 3, "ILSVRC2012_val_00000001.JPEG")
    np.random.seed(1)
    expected_next = np.random.RandomState(1).rand()
    again = corrupt(image, corruption, 3, "ILSVRC2012_val_00000001.JPEG")
    # The caller's random numbers are as if nothing had been drawn.
    assert np.random.rand() == expected_next
    assert np.array_equal(first, again)
    other = corrupt(image, corruption, 3, "ILSVRC2012_val_00000002.JPEG")
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("corruption", CORRUPTIONS + EXTRA_CORRUPTIONS)
def test_a_changed_picture_of_the_same_shape(image, corruption):
    corrupted = corrupt(image, corruption, 5, "a")
    assert corrupted.dtype == np.uint8 and corrupted.shape == image.shape
    distance = np.abs(corrupted.astype(int) - image)
    # Another picture, and still one of the same thing.
    assert distance.mean() > 3
    correlation = np.corrcoef(corrupted.ravel(), image.ravel())[0, 1]
    assert correlation > 0.2


def test_stored_as_jpeg_of_quality_85(image):
    buffer = io.BytesIO()
    expected = imagecorruptions.corrupt(image, 2, "contrast")
    Image.fromarray(expected).save(buffer, "JPEG", quality=85)
    assert np.array_equal(corrupt(image, "contrast", 2, "a"), np.asarray(Image.open(buffer)))


@pytest.mark.parametrize(
    ("corruption", "severity", "message"),
    [("rain", 1, "'rain' is not one of gaussian_noise"), ("fog", 6, "severity=6")],
)
def test_wrong_arguments(image, corruption, severity, message):
    with pytest.raises(ValueError, match=message):
        corrupt(image, corruption, severity, "a")
