"""BEiT's resizing of relative position tables, against coordinates by hand and SciPy's splines."""

import numpy as np
import pytest
import torch
from scipy.interpolate import RectBivariateSpline
from scipy.optimize import brentq

from mae_bench.checkpoint.geometric import geometric_offsets, resize_geometrically
from mae_bench.models.position import relative_position_rows


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_offsets_by_hand():
    """From 4 to 5 patches a side: 1 + q + q^2 = 4, so q = (sqrt(13) - 1) / 2 = 1.3028."""
    places = geometric_offsets(4, 5)
    q = (13**0.5 - 1) / 2
    assert places == pytest.approx([-4, -1 - q, -1, 0, 1, 1 + q, 4], abs=1e-5)


@pytest.mark.parametrize(("source", "target"), [(14, 32), (14, 40), (32, 40), (14, 20)])
def test_last_offset_comes_to_lie_on_the_new_last(source, target):
    """The sizes of ADE20K: the ratio is the root of sum q^i = target - 1."""
    ratio = brentq(lambda q: sum(q**i for i in range(source - 1)) - (target - 1), 1.001, 2)
    places = geometric_offsets(source, target)
    assert places[source - 1] == 0 and places[source] == 1
    assert places[-1] == pytest.approx(target - 1, abs=1e-3)
    steps = np.diff(places[source:])
    assert steps[1:] / steps[:-1] == pytest.approx(np.full(source - 3, ratio), abs=1e-5)


def test_ratio_is_bounded():
    assert geometric_offsets(3, 9)[-1] == pytest.approx(1 + 1.5, abs=1e-5)
    assert geometric_offsets(8, 4)[-1] == pytest.approx(sum(1.01**i for i in range(7)), abs=1e-4)


CASES = [
    ((4, 4), (5, 5)),
    ((14, 14), (32, 32)),
    ((4, 4), (4, 6)),
    ((5, 3), (6, 7)),
    ((5, 5), (3, 3)),
]


@pytest.mark.parametrize(("source", "target"), CASES)
@pytest.mark.parametrize("class_token", [False, True])
def test_values_are_those_of_scipys_splines(source, target, class_token):
    table = noise(relative_position_rows(source, class_token), 2)
    resized = resize_geometrically(table, source, target, class_token)
    assert resized.shape == (relative_position_rows(target, class_token), 2)
    sides = [2 * side - 1 for side in source]
    new_sides = [2 * side - 1 for side in target]
    patches = new_sides[0] * new_sides[1]
    places = [geometric_offsets(s, t) for s, t in zip(source, target, strict=True)]
    wanted = [np.arange(1 - t, t) for t in target]
    for head in range(2):
        plane = table[: sides[0] * sides[1], head].reshape(sides).double().numpy()
        actual = resized[:patches, head].reshape(new_sides).numpy()
        # Beyond the last place SciPy keeps the value there, as its removed interp2d did.
        spline = RectBivariateSpline(*places, plane)
        assert actual == pytest.approx(spline(*wanted), abs=1e-5)
    assert torch.equal(resized[patches:], table[sides[0] * sides[1] :])


@pytest.mark.parametrize("source", [(1, 1), (2, 2), (2, 4)])
def test_tables_of_tiny_grids_and_constants(source):
    """Too few offsets for a cubic spline; a constant stays one in any case."""
    rows = relative_position_rows(source, class_token=False)
    constant = resize_geometrically(torch.full((rows, 1), 0.7), source, (5, 6), False)
    torch.testing.assert_close(constant, torch.full((9 * 11, 1), 0.7))


def test_same_grid_is_the_same_tensor():
    table = noise(relative_position_rows((3, 4), True), 2)
    assert resize_geometrically(table, (3, 4), (3, 4), True) is table
