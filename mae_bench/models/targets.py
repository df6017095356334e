"""What the decoder predicts for each patch."""

from torch import Tensor

VARIANCE_EPS = 1e-6


def patch_statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over all values of a patch, channels together.

    Args:
        patches: (..., n) pixel values.

    Returns:
        mean and std, each (..., 1); the variance is unbiased (n - 1) and 1e-6 is added to it
        before the root.

    Source: MAE, section 3 ("Reconstruction target"); estimator and epsilon from the official code.
    """
    mean = patches.mean(dim=-1, keepdim=True)
    variance = patches.var(dim=-1, keepdim=True)
    return mean, (variance + VARIANCE_EPS).sqrt()


def normalise_patches(patches: Tensor) -> Tensor:
    """Normalised-pixel target: every patch with its own mean and deviation. Shape is kept."""
    mean, std = patch_statistics(patches)
    return (patches - mean) / std
