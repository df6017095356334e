"""Corruption error: worked cases for the figure and for the way to it."""

import random

import pytest
from torchvision.models import AlexNet_Weights

from mae_bench.evaluation.corruption_error import (
    ALEXNET_CLEAN_ERROR,
    ALEXNET_ERRORS,
    corruption_metrics,
    mean_corruption_error,
    relative_mean_corruption_error,
)

# In whole percents, against slips of the pen: a value under another name would stand out here.
ALEXNET_ROUNDED = {
    "gaussian_noise": 89,
    "shot_noise": 89,
    "impulse_noise": 92,
    "defocus_blur": 82,
    "glass_blur": 83,
    "motion_blur": 79,
    "zoom_blur": 80,
    "snow": 87,
    "frost": 83,
    "fog": 82,
    "brightness": 56,
    "contrast": 85,
    "elastic_transform": 65,
    "pixelate": 72,
    "jpeg_compression": 61,
}


def test_denominators():
    assert {name: round(100 * error) for name, error in ALEXNET_ERRORS.items()} == ALEXNET_ROUNDED
    # Mean of the published list, worked out from its source.
    assert sum(ALEXNET_ERRORS.values()) / 15 == pytest.approx(0.788993, abs=1e-6)


def test_alexnet_has_100():
    assert mean_corruption_error(dict(ALEXNET_ERRORS)) == pytest.approx(100)


def test_half_of_the_errors_is_50():
    halved = {name: error / 2 for name, error in ALEXNET_ERRORS.items()}
    assert mean_corruption_error(halved) == pytest.approx(50)


def test_by_hand():
    # Every error 0.5 but fog, which is 0: 0.5 / AlexNet for the other fourteen, to six places.
    errors = dict.fromkeys(ALEXNET_ERRORS, 0.5) | {"fog": 0.0}
    ratios = [
        *(0.564062, 0.558991, 0.541923, 0.609845, 0.605131, 0.636174, 0.626284),
        *(0.576824, 0.604908, 0.885595, 0.586026, 0.773927, 0.696534, 0.824402),
    ]
    assert mean_corruption_error(errors) == pytest.approx(100 * sum(ratios) / 15, abs=1e-4)


def test_order_does_not_matter():
    errors = {name: 0.01 * i for i, name in enumerate(ALEXNET_ERRORS)}
    names = list(errors)
    random.Random(0).shuffle(names)
    shuffled = {name: errors[name] for name in names}
    assert list(shuffled) != list(errors)
    assert mean_corruption_error(shuffled) == mean_corruption_error(errors)


def test_extra_corruptions_do_not_count():
    extra = {"speckle_noise": 0.9, "gaussian_blur": 0.9, "spatter": 0.9, "saturate": 0.9}
    assert mean_corruption_error(ALEXNET_ERRORS | extra) == pytest.approx(100)


@pytest.mark.parametrize("name", ["fog", "jpeg_compression"])
def test_a_missing_corruption_is_an_error(name):
    errors = {key: value for key, value in ALEXNET_ERRORS.items() if key != name}
    with pytest.raises(ValueError, match=f"missing: {name}"):
        mean_corruption_error(errors)


@pytest.mark.parametrize("rate", [-0.1, 55.0, float("nan")])
def test_a_rate_is_a_rate(rate):
    with pytest.raises(ValueError, match="error of snow"):
        mean_corruption_error(ALEXNET_ERRORS | {"snow": rate})


def test_severities_are_averaged_and_then_corruptions():
    errors = {
        # (25 + 100) / 5 = 25
        "fog": {1: 0.25, 2: 1.0, 3: 0.0, 4: 0.0, 5: 0.0},
        "snow": {1: 0.0, 2: 0.0, 3: 0.0, 4: 0.0, 5: 1.0},
        # lacks severities: no mean of its own and no part of the other
        "frost": {3: 1 / 3},
    }
    assert corruption_metrics(errors) == {
        "error/fog/1": pytest.approx(25),
        "error/fog/2": 100,
        **{f"error/fog/{severity}": 0 for severity in (3, 4, 5)},
        "error/fog": pytest.approx(25),
        **{f"error/snow/{severity}": 0 for severity in range(1, 5)},
        "error/snow/5": 100,
        "error/snow": pytest.approx(20),
        "error/frost/3": pytest.approx(100 / 3),
        "mean_error": pytest.approx(22.5),
    }


def test_mce_where_all_corruptions_are_there():
    by_severity = {severity: float(severity <= 2) for severity in range(1, 6)}
    metrics = corruption_metrics(dict.fromkeys([*ALEXNET_ERRORS, "spatter"], by_severity))
    expected = 100 * sum(0.4 / error for error in ALEXNET_ERRORS.values()) / 15
    assert metrics["mCE"] == pytest.approx(expected)
    assert metrics["mean_error"] == pytest.approx(40)
    assert metrics["error/spatter"] == pytest.approx(40)


def test_relative_alexnet_has_100():
    assert relative_mean_corruption_error(dict(ALEXNET_ERRORS), ALEXNET_CLEAN_ERROR) == (
        pytest.approx(100)
    )


def test_relative_without_a_rise_is_0():
    assert relative_mean_corruption_error(dict.fromkeys(ALEXNET_ERRORS, 0.2), 0.2) == 0


def test_alexnet_s_clean_error_is_torchvision_s():
    accuracy = AlexNet_Weights.IMAGENET1K_V1.meta["_metrics"]["ImageNet-1K"]["acc@1"]
    assert pytest.approx(1 - accuracy / 100) == ALEXNET_CLEAN_ERROR


def test_relative_needs_a_clean_rate():
    with pytest.raises(ValueError, match="error of the clean images is 43.5"):
        relative_mean_corruption_error(dict(ALEXNET_ERRORS), 43.5)
