"""PCA targets against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from mae_bench.models.targets import PatchMoments, PCATarget

VALUES, KEPT = 12, 5


@pytest.fixture
def patches() -> torch.Tensor:
    """(40, 6, 12), correlated, with variances far apart and a mean that is not zero."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(VALUES, VALUES, generator=generator) * 0.7 ** torch.arange(VALUES)[:, None]
    return torch.randn(40, 6, VALUES, generator=generator) @ mixing + 3


def fitted(patches: torch.Tensor) -> PCATarget:
    moments = PatchMoments(VALUES)
    for batch in patches.split(7):  # a stream: pieces of unequal size
        moments.add(batch)
    target = PCATarget(VALUES, KEPT)
    target.set_basis(*moments.principal_components(KEPT))
    return target


def test_coefficients_agree_with_scikit_learn(patches):
    rows = patches.flatten(0, 1).numpy()
    reference = PCA(KEPT, svd_solver="full").fit(rows.astype(np.float64))
    target = fitted(patches)
    coefficients = target(patches).flatten(0, 1).numpy()
    expected = reference.transform(rows)
    signs = np.sign((coefficients * expected).sum(axis=0))  # of eigenvectors are arbitrary
    np.testing.assert_allclose(coefficients * signs, expected, rtol=1e-4, atol=1e-4)
    pixels = target.to_pixels(target(patches), patches).flatten(0, 1).numpy()
    np.testing.assert_allclose(pixels, reference.inverse_transform(expected), rtol=1e-4, atol=1e-4)


def test_basis_is_part_of_the_state(patches):
    target, other = fitted(patches), PCATarget(VALUES, KEPT)
    assert not other.fitted
    other.load_state_dict(target.state_dict(), strict=True)
    assert other.fitted
    assert torch.equal(other(patches), target(patches))


def test_without_a_basis_there_is_no_target(patches):
    with pytest.raises(ValueError, match="PCATarget has no basis: add dict"):
        PCATarget(VALUES, KEPT)(patches)


def test_too_few_patches_and_too_many_coefficients(patches):
    moments = PatchMoments(VALUES)
    moments.add(patches[0])
    with pytest.raises(ValueError, match=r"6 patches are too few .* of 12 values"):
        moments.principal_components(KEPT)
    with pytest.raises(ValueError, match=r"coefficients=13 must lie in 1..12"):
        PCATarget(VALUES, 13)
