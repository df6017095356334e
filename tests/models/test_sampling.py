"""Block-wise and grid-wise sampling: exact counts, shapes of the masks, BEiT's statistics."""

import numpy as np
import pytest
import torch
from mmpretrain.datasets import BEiTMaskGenerator

from mae_bench.models.masking import block_masking, grid_masking, random_masking, sample_masking


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def borders(mask: np.ndarray) -> np.ndarray:
    """Pairs of neighbours of which one is masked, for masks (B, rows, columns)."""
    across = (mask[:, 1:] != mask[:, :-1]).sum(axis=(1, 2))
    return across + (mask[:, :, 1:] != mask[:, :, :-1]).sum(axis=(1, 2))


@pytest.mark.parametrize("sampling", ["random", "block", "grid"])
@pytest.mark.parametrize(
    ("grid", "ratio"),
    [((14, 14), 0.75), ((14, 14), 0.5), ((16, 16), 0.75), ((8, 8), 0.9), ((5, 9), 0.4)]
    + [((2, 2), 0.5), ((2, 100), 0.75), ((30, 3), 0.8)],
)
def test_every_image_keeps_exactly_the_same_number(sampling, grid, ratio):
    masking = sample_masking(sampling, 6, grid, ratio, generator=generator())
    num_patches = grid[0] * grid[1]
    kept = int(num_patches * (1 - ratio))
    assert masking.visible.shape == (6, kept)
    for seen, hidden in zip(masking.visible.tolist(), masking.masked.tolist(), strict=True):
        assert sorted(seen + hidden) == list(range(num_patches))


@pytest.mark.parametrize("sampling", ["random", "block", "grid"])
def test_a_generator_decides_everything(sampling):
    first, again, other = (
        sample_masking(sampling, 4, (14, 14), 0.75, generator=generator(seed)).as_mask()
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({tuple(row) for row in first.tolist()}) > 1  # images differ


def test_random_sampling_draws_what_it_always_drew():
    torch.manual_seed(3)
    expected = random_masking(2, 16, 0.75)
    torch.manual_seed(3)
    actual = sample_masking("random", 2, (4, 4), 0.75)
    assert torch.equal(actual.visible, expected.visible)
    assert torch.equal(actual.masked, expected.masked)


@pytest.mark.parametrize("ratio", [0.4, 0.75])
def test_blocks_have_the_statistics_of_beit(ratio):
    """Against mmpretrain's port of BEiT's generator, which masks the same number by rejection.

    The length of the borders tells how large the blocks are. Places are not compared: the port
    never puts a block in the last row or column.
    """
    number, side = 400, 14
    np.random.seed(0)
    theirs = BEiTMaskGenerator(side, side * side - int(side * side * (1 - ratio)), 16)
    expected = np.stack([theirs.transform({})["mask"] for _ in range(number)]) > 0
    masking = block_masking(number, (side, side), ratio, generator=generator())
    actual = masking.as_mask().view(number, side, side).numpy() > 0
    assert (expected.sum(axis=(1, 2)) == actual.sum(axis=(1, 2))).all()
    long, short = borders(expected).mean(), borders(actual).mean()
    assert 0.85 < short / long < 1.15
    scattered = random_masking(number, side * side, ratio).as_mask().view(-1, side, side).numpy()
    assert short < 0.5 * borders(scattered > 0).mean()
    # Every place is possible, and blocks favour no side.
    often = actual.mean(axis=0)
    assert often.min() > 0.01
    for flipped in (often[::-1], often[:, ::-1], often.T):
        assert np.abs(often - flipped).max() < 0.15


def test_the_first_block_is_a_rectangle_of_beits_areas_and_aspects():
    """With 16 of 196 patches hidden, one block of exactly 16 or a cut of it is all there is."""
    masking = block_masking(200, (14, 14), 16 / 196, generator=generator())
    masks = masking.as_mask().view(-1, 14, 14)
    whole = 0
    for mask in masks:
        rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
        height = int(rows[-1] - rows[0]) + 1
        width = int(columns[-1] - columns[0]) + 1
        if height * width == 16:
            whole += 1
            assert 0.25 <= height / width <= 4
    assert whole > 30


@pytest.mark.parametrize("grid", [(1, 9), (9, 1)])
def test_blocks_need_two_rows_and_columns(grid):
    with pytest.raises(ValueError, match=rf"at least 2x2 patches, got {grid[0]}x{grid[1]}"):
        block_masking(2, grid, 0.5)


def test_grid_keeps_one_of_every_four():
    visible = 1 - grid_masking(16, (14, 14), 0.75, generator=generator()).as_mask()
    cells = visible.view(16, 7, 2, 7, 2)
    assert (cells.sum(dim=(2, 4)) == 1).all()
    # The same corner of all cells of an image, another one in other images.
    assert (cells.amax(dim=(1, 3)).sum(dim=(1, 2)) == 1).all()
    assert len({tuple(row) for row in visible.tolist()}) == 4


def test_grid_of_half_the_patches_is_a_chessboard():
    visible = (1 - grid_masking(3, (6, 6), 0.5, generator=generator()).as_mask()).view(3, 6, 6)
    assert (visible[:, 1:] != visible[:, :-1]).all()
    assert (visible[:, :, 1:] != visible[:, :, :-1]).all()


def test_unknown_sampling():
    with pytest.raises(ValueError, match="sampling='blocks' is not one of random, block, grid"):
        sample_masking("blocks", 1, (4, 4), 0.5)
