"""The adapter from one stride to a pyramid."""

import pytest
import torch
import torch.nn.functional as F
from mmseg.models.necks import Feature2Pyramid
from scipy import stats
from torch import nn

from mae_bench.models import FeaturePyramidAdapter, VisionTransformer


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("patch_size", "strides"),
    [(16, (4, 8, 16, 32)), (4, (2, 4, 8, 16)), (8, (8, 4)), (14, (14, 7)), (16, (64,))],
)
def test_every_level_has_its_stride(patch_size, strides):
    adapter = FeaturePyramidAdapter(8, patch_size, strides)
    height, width = 8 * patch_size, 12 * patch_size
    levels = adapter([noise(2, 8, 8, 12) for _ in strides])
    assert [tuple(level.shape) for level in levels] == [
        (2, 8, height // stride, width // stride) for stride in strides
    ]


def test_backbone_and_adapter_fit_together():
    backbone = VisionTransformer(
        dict(embed_dim=16, depth=4, num_heads=2), (64, 96), out_indices=(0, 1, 2, 3)
    )
    adapter = FeaturePyramidAdapter(backbone.embed_dim, backbone.patch_size)
    levels = adapter(backbone(noise(1, 3, 64, 96)))
    assert [tuple(level.shape[2:]) for level in levels] == [(16, 24), (8, 12), (4, 6), (2, 3)]


@pytest.mark.parametrize(
    ("norm_cfg", "norm"),
    [
        (dict(type="GN", num_groups=4), nn.GroupNorm(4, 8)),
        (None, nn.BatchNorm2d(8)),
        (dict(type="SyncBN"), nn.BatchNorm2d(8)),
    ],
)
def test_four_times_path_is_two_transposed_convolutions(norm_cfg, norm, randomise):
    peer = randomise(
        nn.Sequential(
            nn.ConvTranspose2d(8, 8, kernel_size=2, stride=2),
            norm,
            nn.GELU(),
            nn.ConvTranspose2d(8, 8, kernel_size=2, stride=2),
        )
    ).eval()
    adapter = FeaturePyramidAdapter(8, 16, (4,), norm_cfg).eval()
    adapter.levels[0].load_state_dict(peer.state_dict())
    one = noise(2, 8, 3, 5)
    torch.testing.assert_close(adapter([one])[0], peer(one))


def test_simple_paths(randomise):
    adapter = randomise(FeaturePyramidAdapter(4, 16, (8, 16, 32)))
    maps = [noise(2, 4, 4, 6, seed=i) for i in range(3)]
    doubled, same, halved = adapter(maps)
    convolution = adapter.levels[0]
    # Kernel and stride are equal, so each input pixel makes its own 2 x 2 patch.
    expected = torch.einsum("bchw,cdij->bdhiwj", maps[0], convolution.weight)
    expected = expected.reshape(2, 4, 8, 12) + convolution.bias[:, None, None]
    torch.testing.assert_close(doubled, expected)
    assert torch.equal(same, maps[1])
    assert torch.equal(halved, maps[2].reshape(2, 4, 2, 2, 3, 2).amax(dim=(3, 5)))


def test_agrees_with_mmsegmentation(randomise):
    peer = randomise(Feature2Pyramid(8, rescales=[4, 2, 1, 0.5], norm_cfg=dict(type="BN")))
    adapter = FeaturePyramidAdapter(8, 16)
    own = adapter.state_dict()
    # Same parameters in the same order under other names.
    assert [v.shape for v in own.values()] == [v.shape for v in peer.state_dict().values()]
    adapter.load_state_dict(dict(zip(own, peer.state_dict().values(), strict=True)))
    maps = [noise(2, 8, 4, 6, seed=i) for i in range(4)]
    for ours, theirs in zip(adapter(maps), peer(maps), strict=True):
        torch.testing.assert_close(ours, theirs)


FAN_IN = 4 * 128  # 2 x 2 x channels
# Truncated at two deviations of the normal before truncation, which is 0.8796 times narrower after.
LECUN = stats.truncnorm(-2, 2, scale=FAN_IN**-0.5 / 0.87962566)
PYTORCH = stats.uniform(-(FAN_IN**-0.5), 2 * FAN_IN**-0.5)


@pytest.mark.parametrize(("lecun_init", "expected"), [(True, LECUN), (False, PYTORCH)])
def test_initial_weights(lecun_init, expected):
    """Lecun normal in MIMDet (std 0.0180 at 768 channels), PyTorch's in BEiT (std 0.0104)."""
    torch.manual_seed(0)
    adapter = FeaturePyramidAdapter(128, 16, lecun_init=lecun_init)
    adapter.init_weights()
    convolutions = [m for m in adapter.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert len(convolutions) == 3
    weights = torch.cat([convolution.weight.flatten() for convolution in convolutions])
    assert stats.kstest(weights.detach()[::7], expected.cdf).pvalue > 0.01
    biases = torch.cat([convolution.bias for convolution in convolutions]).detach()
    if lecun_init:
        assert not biases.any()
    else:
        assert stats.kstest(biases, expected.cdf).pvalue > 0.01


def test_gradients_reach_every_tap(randomise):
    adapter = randomise(FeaturePyramidAdapter(8, 16))
    maps = [noise(1, 8, 4, 4, seed=i).requires_grad_() for i in range(4)]
    sum(F.gelu(level).sum() for level in adapter(maps)).backward()
    assert all(one.grad.abs().max() > 0 for one in maps)


@pytest.mark.parametrize(
    ("patch_size", "stride", "choices"),
    [(16, 2, "4, 8, or a multiple of 16"), (16, 24, "4, 8, or a multiple of 16"), (14, 4, "7, or")],
)
def test_impossible_stride_names_the_possible_ones(patch_size, stride, choices):
    message = f"patches of {patch_size} pixels to stride {stride}: use {choices}"
    with pytest.raises(ValueError, match=message):
        FeaturePyramidAdapter(8, patch_size, (stride,))


def test_number_of_maps_has_to_match():
    adapter = FeaturePyramidAdapter(8, 16, (8, 16))
    with pytest.raises(ValueError, match="3 maps for 2 pyramid levels"):
        adapter([noise(1, 8, 2, 2)] * 3)


def test_an_image_smaller_than_the_coarsest_stride():
    adapter = FeaturePyramidAdapter(8, 16)
    assert adapter([noise(1, 8, 2, 3)] * 4)[-1].shape == (1, 8, 1, 1)
    with pytest.raises(ValueError, match="16x48 pixels has no place of stride 32, .*smaller patch"):
        adapter([noise(1, 8, 1, 3)] * 4)
