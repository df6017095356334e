"""What the decoder predicts for each patch: pixels, or what a :class:`Target` makes of it."""

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from ..registry import MODELS

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
    # torch.var does the same in one pass, and is several times slower on a CPU.
    squares = (patches - mean).square().sum(dim=-1, keepdim=True)
    return mean, (squares / (patches.shape[-1] - 1) + VARIANCE_EPS).sqrt()


def normalise_patches(patches: Tensor) -> Tensor:
    """Normalised-pixel target: every patch with its own mean and deviation. Shape is kept."""
    values = patches.shape[-1]
    # Layer normalisation is that in one pass, but for its variance, which is the biased one.
    bias = (values - 1) / values
    scale = patches.new_full((values,), bias**0.5)
    return F.layer_norm(patches, (values,), scale, eps=VARIANCE_EPS * bias)


class Target(BaseModule):
    """What a masked autoencoder predicts for a patch, and how the prediction is scored.

    Attributes:
        out_dim: values the decoder puts out for a patch.
        of_images: whether the target is made of whole images in [0, 1], (B, 3, H, W) -> (B, N),
            and not of normalised patches, (B, n, p * p * C) -> (B, n, out_dim).
    """

    out_dim: int
    of_images = False

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Mean squared error of float32 (B, n, out_dim), a scalar."""
        return F.mse_loss(prediction, target)

    def to_pixels(self, prediction: Tensor, patches: Tensor) -> Tensor:
        """Images of a prediction: float32 (B, n, out_dim) -> (B, n, p * p * C).

        Args:
            prediction: what the decoder put out.
            patches: the true patches (B, n, p * p * C), for what the prediction leaves open.
        """
        raise NotImplementedError


class PixelTarget(Target):
    """Pixels of the normalised image, or each patch normalised by its own mean and deviation.

    Source: MAE, section 3 and Table 1d.
    """

    def __init__(self, values: int, normalise: bool) -> None:
        super().__init__()
        self.out_dim = values
        self.normalise = normalise

    def forward(self, patches: Tensor) -> Tensor:
        """(B, n, p * p * C) float32, shape kept."""
        return normalise_patches(patches) if self.normalise else patches

    def to_pixels(self, prediction: Tensor, patches: Tensor) -> Tensor:
        """Normalised pixels lack mean and deviation: those of the true patch, as in the paper."""
        if not self.normalise:
            return prediction
        mean, std = patch_statistics(patches)
        return prediction * std + mean


class PatchMoments:
    """Mean and covariance of a stream of patches, in float64.

    Args:
        values: numbers in a patch.
        device: where the sums are kept.
    """

    def __init__(self, values: int, device: torch.device | str = "cpu") -> None:
        self.count = torch.zeros((), dtype=torch.float64, device=device)
        self.total = torch.zeros(values, dtype=torch.float64, device=device)
        self.products = torch.zeros(values, values, dtype=torch.float64, device=device)

    def add(self, patches: Tensor) -> None:
        """Count in patches (..., values)."""
        rows = patches.detach().flatten(0, -2).double()
        self.count += len(rows)
        self.total += rows.sum(dim=0)
        self.products += rows.T @ rows

    def principal_components(self, number: int) -> tuple[Tensor, Tensor]:
        """Mean (values,) and the directions of largest variance (number, values), in float32.

        Raises:
            ValueError: fewer patches than values, which leaves directions undetermined.
        """
        if self.count < len(self.total):
            raise ValueError(
                f"{int(self.count)} patches are too few for the principal components of patches "
                f"of {len(self.total)} values: fit on more images"
            )
        mean = self.total / self.count
        covariance = self.products / self.count - mean.outer(mean)
        directions = torch.linalg.eigh(covariance).eigenvectors  # columns, smallest variance first
        return mean.float(), directions.T.flip(0)[:number].float()


@MODELS.register_module()
class PCATarget(Target):
    """The largest principal-component coefficients of a patch of the normalised image.

    The basis is fitted once, before training, by the hook ``FitPCATarget``; it is part of the
    state, so every checkpoint holds it.

    Args:
        values: numbers in a patch; :class:`MAE` fills it in.
        coefficients: how many are predicted.

    Raises:
        ValueError: more coefficients than values.

    Source: MAE, section 4.1 and Table 1d (96 coefficients). Their scale in the loss is UNKNOWN:
    here they are plain projections, neither whitened nor weighted.
    """

    def __init__(self, values: int, coefficients: int = 96) -> None:
        super().__init__()
        if not 0 < coefficients <= values:
            raise ValueError(f"coefficients={coefficients} must lie in 1..{values}, values a patch")
        self.out_dim = coefficients
        self.register_buffer("mean", torch.zeros(values))
        self.register_buffer("basis", torch.zeros(coefficients, values))
        self.known_fitted = False

    @property
    def fitted(self) -> bool:
        """Whether there is a basis, fitted or loaded."""
        # Asked at every step: looking at the tensor each time would wait for the device.
        self.known_fitted = self.known_fitted or bool(self.basis.any())
        return self.known_fitted

    def set_basis(self, mean: Tensor, basis: Tensor) -> None:
        """Use the mean (values,) and the orthonormal rows (coefficients, values)."""
        self.mean.copy_(mean)
        self.basis.copy_(basis)

    def forward(self, patches: Tensor) -> Tensor:
        """(B, n, values) -> (B, n, coefficients).

        Raises:
            ValueError: there is no basis yet.
        """
        if not self.fitted:
            raise ValueError(
                "PCATarget has no basis: add dict(type=FitPCATarget) to custom_hooks, or load a "
                "checkpoint that has one"
            )
        with torch.autocast(patches.device.type, enabled=False):
            return (patches - self.mean) @ self.basis.T

    def to_pixels(self, prediction: Tensor, patches: Tensor) -> Tensor:
        """What these coefficients are in pixels, the other directions at their mean."""
        return prediction @ self.basis + self.mean


def build_target(config: dict[str, Any] | None, values: int, norm_pix: bool) -> Target:
    """A target from its config; pixels where that is None.

    Args:
        config: of a registered :class:`Target`, or None.
        values: numbers in a patch.
        norm_pix: of pixels.
    """
    if config is None:
        return PixelTarget(values, norm_pix)
    return MODELS.build(config, default_args=dict(values=values))
