"""BEiT's way to resize a relative position table: small offsets keep their spacing."""

from itertools import accumulate

import numpy as np
import torch
from scipy.interpolate import make_interp_spline
from torch import Tensor

from ..models.position import Grid, relative_position_rows

RATIO_BOUNDS = (1.01, 1.5)
RATIO_PRECISION = 1e-6


def geometric_offsets(source: int, target: int) -> np.ndarray:
    """Where the offsets -(s - 1) .. s - 1 of a table lie among those of the new one.

    Offset 0 stays, offset 1 too, and the steps beyond grow by one ratio, so that the last offset
    comes to lie on the new last one as far as a ratio between 1.01 and 1.5 allows.

    Args:
        source: side s of the grid the table was made for.
        target: side of the grid wanted.

    Returns:
        (2s - 1,) places, rising, in patches of the new grid.
    """
    if source == target:
        return np.arange(1 - source, source, dtype=np.float64)
    low, high = RATIO_BOUNDS
    ratio = low
    while high - low > RATIO_PRECISION:
        ratio = (low + high) / 2
        if sum(ratio**i for i in range(source - 1)) > target - 1:
            high = ratio
        else:
            low = ratio
    right = np.array(list(accumulate(ratio**i for i in range(source - 1))), dtype=np.float64)
    return np.concatenate([-right[::-1], [0.0], right])


def spline_weights(source: int, target: int) -> Tensor:
    """Cubic spline through the values at :func:`geometric_offsets`, as a matrix.

    Returns:
        (2 * target - 1, 2 * source - 1), float64: weights of the old values for each new offset.
        Beyond the last place the spline keeps its value there.
    """
    places = geometric_offsets(source, target)
    spline = make_interp_spline(places, np.eye(len(places)), k=min(3, len(places) - 1))
    wanted = np.arange(1 - target, target, dtype=np.float64)
    return torch.from_numpy(spline(wanted.clip(places[0], places[-1])))


def resize_geometrically(table: Tensor, source: Grid, target: Grid, class_token: bool) -> Tensor:
    """Resize a relative position table as BEiT does when it goes to another input size.

    Args:
        table: (rows of ``source``, heads).
        source: grid (H, W) the table was made for.
        target: grid wanted, any aspect ratio; each axis has its own ratio.
        class_token: whether the last three rows, which are kept, belong to a class token.

    Returns:
        (rows of ``target``, heads); the same tensor when the grids are equal.

    Source: BEiT (Bao et al. 2022), the official segmentation code, whose interpolating function
    SciPy removed in 1.14.
    """
    if source == target:
        return table
    offsets = table[: relative_position_rows(source, class_token=False)]
    plane = offsets.reshape(2 * source[0] - 1, 2 * source[1] - 1, -1).double()
    rows, columns = (spline_weights(s, t) for s, t in zip(source, target, strict=True))
    resized = torch.einsum("ys,xt,sth->yxh", rows, columns, plane.cpu()).flatten(0, 1)
    return torch.cat([resized.to(table), table[len(offsets) :]])
