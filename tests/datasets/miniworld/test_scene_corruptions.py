"""MiniWorld's corruptions against what their names promise."""

import cv2
import numpy as np
import pytest

from mae_bench.datasets.miniworld.scene_corruptions import (
    CONSTANTS,
    CORRUPTIONS,
    SEVERITIES,
    corrupt,
)
from mae_bench.datasets.miniworld.scenes import SceneComposer, load_sources

GREY = np.full((64, 64, 3), 128, np.uint8)


@pytest.fixture(scope="module")
def pictures():
    composer = SceneComposer(load_sources("val"), np.random.default_rng(0))
    return [composer.compose(32, [label], (18, 26))[0] for label in range(10)]


def test_names_are_those_of_imagenet_c():
    imagenet_c = {
        *("gaussian_noise", "shot_noise", "impulse_noise"),
        *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
        *("snow", "frost", "fog", "brightness"),
        *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    }
    assert len(CORRUPTIONS) == 6
    assert set(CORRUPTIONS) <= imagenet_c
    assert all(len(constants) == len(SEVERITIES) == 5 for constants in CONSTANTS.values())


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_damage_grows_with_severity(corruption, pictures):
    damage = [
        np.mean(
            [
                np.abs(corrupt(p, corruption, severity, f"{i}.JPEG").astype(float) - p).mean()
                for i, p in enumerate(pictures)
            ]
        )
        for severity in SEVERITIES
    ]
    assert damage[0] > 1  # of 255
    assert all(low < high for low, high in zip(damage, damage[1:], strict=False)), damage


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_same_name_same_copy(corruption, pictures):
    first, again = (corrupt(pictures[0], corruption, 3, "a.JPEG") for _ in range(2))
    assert first.dtype == np.uint8
    assert first.shape == pictures[0].shape
    np.testing.assert_array_equal(first, again)
    other = corrupt(pictures[0], corruption, 3, "b.JPEG")
    assert (first != other).any() == corruption.endswith("noise")


@pytest.mark.parametrize("severity", SEVERITIES)
def test_gaussian_noise_has_its_deviation(severity):
    noise = corrupt(GREY, "gaussian_noise", severity, "a") / 255 - 128 / 255
    # Half of the range in standard deviations on either side: clipping takes little away.
    assert noise.std() == pytest.approx(CONSTANTS["gaussian_noise"][severity - 1], rel=0.08)
    assert abs(noise.mean()) < 0.01


@pytest.mark.parametrize("severity", SEVERITIES)
def test_impulse_noise_hits_its_share(severity):
    noisy = corrupt(GREY, "impulse_noise", severity, "a")
    assert set(np.unique(noisy)) == {0, 128, 255}
    share = CONSTANTS["impulse_noise"][severity - 1]
    assert (noisy != 128).mean() == pytest.approx(share, abs=0.01)
    assert (noisy == 0).mean() == pytest.approx(share / 2, abs=0.01)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_defocus_blur_spreads_a_point_over_a_disk(severity):
    point = np.zeros((15, 15, 3), np.uint8)
    point[7, 7] = 255
    spread = corrupt(point, "defocus_blur", severity, "a").astype(float)
    assert spread.sum() == pytest.approx(3 * 255, rel=0.15)  # rounding to whole levels
    y, x = np.nonzero(spread[..., 0])
    radius = CONSTANTS["defocus_blur"][severity - 1]
    assert np.hypot(y - 7, x - 7).max() <= radius + 0.5
    np.testing.assert_array_equal(corrupt(GREY, "defocus_blur", severity, "a"), GREY)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_brightness_shifts_the_value_channel(severity):
    dark = np.full((4, 4, 3), 51, np.uint8)  # 0.2
    expected = round((0.2 + CONSTANTS["brightness"][severity - 1]) * 255)
    assert np.abs(corrupt(dark, "brightness", severity, "a").astype(int) - expected).max() <= 1


@pytest.mark.parametrize("severity", SEVERITIES)
def test_contrast_keeps_the_mean(severity):
    halves = np.full((4, 4, 3), 55, np.uint8)
    halves[:2] = 155
    distance = 50 * CONSTANTS["contrast"][severity - 1]
    low_contrast = corrupt(halves, "contrast", severity, "a").astype(float)
    assert np.abs(low_contrast[:2] - (105 + distance)).max() <= 0.5
    assert np.abs(low_contrast[2:] - (105 - distance)).max() <= 0.5


def test_jpeg_compression_is_that_of_another_encoder(pictures):
    quality = int(CONSTANTS["jpeg_compression"][2])
    _, file = cv2.imencode(".jpg", pictures[0][..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    expected = cv2.imdecode(file, cv2.IMREAD_COLOR)[..., ::-1].astype(int)
    found = corrupt(pictures[0], "jpeg_compression", 3, "a")
    assert np.abs(found - expected).mean() < 1


def test_errors():
    with pytest.raises(ValueError, match="corruption='fog' is not one of gaussian_noise"):
        corrupt(GREY, "fog", 1, "a")
    for severity in (0, 6):
        with pytest.raises(ValueError, match=f"severity={severity} is not one of 1 to 5"):
            corrupt(GREY, "contrast", severity, "a")
