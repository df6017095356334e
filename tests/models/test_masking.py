"""Random masking: counts, partition, uniformity, given noise."""

import pytest
import torch

from mae_bench.models.masking import Masking, random_masking


@pytest.mark.parametrize(
    ("num_patches", "ratio", "visible"),
    [(196, 0.75, 49), (256, 0.75, 64), (196, 0.5, 98), (196, 0.4, 117), (10, 0.85, 1)],
)
def test_visible_and_masked_partition_the_patches(num_patches, ratio, visible):
    masking = random_masking(3, num_patches, ratio)
    assert masking.visible.shape == (3, visible)
    assert masking.masked.shape == (3, num_patches - visible)
    assert masking.visible.dtype == masking.masked.dtype == torch.int64
    for seen, hidden in zip(masking.visible.tolist(), masking.masked.tolist(), strict=True):
        assert sorted(seen + hidden) == list(range(num_patches))


def test_images_are_masked_independently():
    torch.manual_seed(0)
    masking = random_masking(8, 196, 0.75)
    assert len({tuple(sorted(row)) for row in masking.visible.tolist()}) == 8


def test_masking_is_uniform_over_patches_and_pairs():
    torch.manual_seed(0)
    batch, n, visible = 8000, 16, 4
    seen = 1 - random_masking(batch, n, 0.75).as_mask()
    pairs = seen.T @ seen  # (n, n): how often two patches are visible together
    single, pair = visible / n, visible * (visible - 1) / (n * (n - 1))

    def deviations(counts, probability):
        return (counts - batch * probability) / (batch * probability * (1 - probability)) ** 0.5

    assert deviations(pairs.diagonal(), single).abs().max() < 4.5
    assert deviations(pairs[~torch.eye(n, dtype=torch.bool)], pair).abs().max() < 4.5


def test_the_lowest_noise_stays_visible():
    noise = torch.tensor([[0.4, 0.1, 0.9, 0.2], [0.0, 0.3, 0.2, 0.1]])
    masking = random_masking(2, 4, 0.5, noise=noise)
    assert masking.visible.tolist() == [[1, 3], [0, 3]]
    assert masking.masked.tolist() == [[0, 2], [2, 1]]


def test_as_mask_is_one_where_masked():
    masking = Masking(torch.tensor([[2, 0], [1, 3]]), torch.tensor([[1, 3], [0, 2]]))
    mask = masking.as_mask()
    assert mask.tolist() == [[0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0]]
    assert mask.dtype == torch.float32


@pytest.mark.parametrize("ratio", [0.0, 0.95, 1.0])
def test_a_split_with_an_empty_part_is_an_error(ratio):
    with pytest.raises(ValueError, match=rf"mask_ratio={ratio} leaves \d+ of 16 patches visible"):
        random_masking(2, 16, ratio)
