"""Corruption error: the robustness figure of ImageNet-C."""

# Top-1 error of AlexNet on each corruption, mean over the five severities (Hendrycks and
# Dietterich 2019; the figures as published with AugMix). By name: an order cannot be mixed up.
ALEXNET_ERRORS = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}

# AlexNet's top-1 error on the clean validation set: that of torchvision's weights, which are those
# behind the errors above (hendrycks/robustness, issue 38). torchvision states 56.522 % correct.
ALEXNET_CLEAN_ERROR = 0.43478
CLEAN = "the clean images"
SEVERITIES = {1, 2, 3, 4, 5}


def mean_corruption_error(errors: dict[str, float]) -> float:
    """mCE: the mean of the 15 corruptions' errors, each over AlexNet's.

    Args:
        errors: top-1 error rate in 0..1 (mean over severities 1 to 5) by corruption name. Others
            than the 15, such as the four extra corruptions of the set, do not count.

    Returns:
        percent; AlexNet has 100.

    Raises:
        ValueError: one of the 15 is missing, or an error is no rate.

    Source: Hendrycks and Dietterich 2019; MAE Table 13 reports this figure.
    """
    _check_errors(errors)
    ratios = [errors[name] / alexnet for name, alexnet in ALEXNET_ERRORS.items()]
    return 100 * sum(ratios) / len(ratios)


def relative_mean_corruption_error(errors: dict[str, float], clean_error: float) -> float:
    """Relative mCE: the mean of the rises of the error above the clean one, each over AlexNet's.

    Args:
        errors: as for :func:`mean_corruption_error`.
        clean_error: top-1 error rate in 0..1 on ImageNet's validation set.

    Returns:
        percent; AlexNet has 100.

    Raises:
        ValueError: one of the 15 is missing, or an error is no rate.

    Source: Hendrycks and Dietterich 2019, Section 4.2; AlexNet's clean error from torchvision.
    """
    _check_errors({**errors, CLEAN: clean_error})
    ratios = [
        (errors[name] - clean_error) / (alexnet - ALEXNET_CLEAN_ERROR)
        for name, alexnet in ALEXNET_ERRORS.items()
    ]
    return 100 * sum(ratios) / len(ratios)


def _check_errors(errors: dict[str, float]) -> None:
    missing = sorted(set(ALEXNET_ERRORS) - set(errors))
    if missing:
        raise ValueError(
            f"mCE needs all 15 corruptions; missing: {', '.join(missing)}. Use the mean of the "
            "errors that are there, and say that it is not an mCE"
        )
    for name in [*ALEXNET_ERRORS, *([CLEAN] if CLEAN in errors else [])]:
        if not 0 <= errors[name] <= 1:
            raise ValueError(f"error of {name} is {errors[name]}, not a rate in 0..1")


def corruption_metrics(
    errors: dict[str, dict[int, float]], clean_error: float | None = None
) -> dict[str, float]:
    """Every figure of ImageNet-C.

    Args:
        errors: corruption -> severity -> top-1 error rate in 0..1.
        clean_error: of ImageNet's validation set, where it was measured.

    Returns:
        in percent: ``error/<corruption>/<severity>``; ``error/<corruption>``, the mean over the
        five severities, where all are there; ``mean_error``, the plain mean over those of the 15
        corruptions, where there are any; ``mCE`` and ``relative_mCE`` where all 15 are there.
    """
    metrics = {}
    means = {}
    for corruption, severities in errors.items():
        for severity, error in severities.items():
            metrics[f"error/{corruption}/{severity}"] = 100 * error
        if set(severities) == SEVERITIES:
            means[corruption] = sum(severities.values()) / len(severities)
            metrics[f"error/{corruption}"] = 100 * means[corruption]
    scored = [error for corruption, error in means.items() if corruption in ALEXNET_ERRORS]
    if scored:
        metrics["mean_error"] = 100 * sum(scored) / len(scored)
    if len(scored) == len(ALEXNET_ERRORS):
        metrics["mCE"] = mean_corruption_error(means)
        if clean_error is not None:
            metrics["relative_mCE"] = relative_mean_corruption_error(means, clean_error)
    return metrics
