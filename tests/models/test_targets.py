"""Patches and the normalised-pixel target, by hand."""

import pytest
import torch

from mae_bench.models.targets import normalise_patches, patch_statistics
from mae_bench.models.vit import patchify, unpatchify


def test_patchify_orders_pixels_by_row_column_channel():
    channels, height, width, p = 3, 4, 6, 2
    image = torch.arange(channels * height * width).reshape(1, channels, height, width)
    expected = [
        [
            int(image[0, channel, row + i, column + j])
            for i in range(p)
            for j in range(p)
            for channel in range(channels)
        ]
        for row in range(0, height, p)
        for column in range(0, width, p)
    ]
    assert patchify(image, p).tolist() == [expected]


@pytest.mark.parametrize(("size", "p"), [((32, 32), 16), ((28, 42), 14), ((8, 24), 4)])
def test_unpatchify_undoes_patchify(size, p):
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    patches = patchify(images, p)
    assert patches.shape == (2, size[0] // p * (size[1] // p), p * p * 3)
    assert torch.equal(unpatchify(patches, (size[0] // p, size[1] // p), p), images)


@pytest.mark.parametrize("size", [(30, 32), (32, 30), (8, 32)])
def test_patch_size_has_to_divide_the_input(size):
    with pytest.raises(ValueError, match=rf"{size[0]}x{size[1]} pixels.*16x16 patches.*multiple"):
        patchify(torch.zeros(1, 3, *size), 16)


def test_variance_is_unbiased_with_one_millionth_added():
    patches = torch.tensor([[[1.0, 2.0, 3.0, 6.0]]])  # squared deviations 4 + 1 + 0 + 9, over 3
    mean, std = patch_statistics(patches)
    assert mean.item() == 3.0
    assert std.item() == pytest.approx((14 / 3 + 1e-6) ** 0.5, rel=1e-6)
    expected = [(value - 3) / (14 / 3 + 1e-6) ** 0.5 for value in (1, 2, 3, 6)]
    assert normalise_patches(patches).flatten().tolist() == pytest.approx(expected, rel=1e-6)


def test_epsilon_is_added_to_the_variance_not_to_the_deviation():
    patches = torch.tensor([[0.0, 0.002]])  # unbiased variance 2e-6
    assert patch_statistics(patches)[1].item() == pytest.approx(3e-6**0.5, rel=1e-5)
    assert normalise_patches(torch.full((1, 12), 0.25)).tolist() == [[0.0] * 12]


def test_every_patch_has_its_own_statistics_over_all_channels():
    patches = torch.stack([torch.arange(12.0), 5 * torch.arange(12.0) - 7])[None]
    target = normalise_patches(patches)
    assert target.shape == (1, 2, 12)
    torch.testing.assert_close(target[0, 0], target[0, 1], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(target.mean(-1), torch.zeros(1, 2), rtol=0, atol=1e-6)
    torch.testing.assert_close(target.square().sum(-1), torch.full((1, 2), 11.0))
