"""ViTDet's pyramid against torch's layers, put together here and in closed form."""

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from timm.layers import LayerNorm2d
from torch import nn

from mae_bench.models import SimpleFeaturePyramid, VisionTransformer
from mae_bench.registry import MODELS


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def norm_of_channels(x, weight, bias):
    """(x - mean) / sqrt(variance + 1e-6) over the channels of each place of (B, C, H, W)."""
    centred = x - x.mean(dim=1, keepdim=True)
    scaled = centred / (centred.square().mean(dim=1, keepdim=True) + 1e-6).sqrt()
    return scaled * weight[:, None, None] + bias[:, None, None]


def written_out(x, level):
    """The last four layers of a level, from their parameters alone."""
    first, norm1, second, norm2 = list(level)[-4:]
    x = torch.einsum("bchw,dc->bdhw", x, first.weight[:, :, 0, 0])
    x = norm_of_channels(x, norm1.weight, norm1.bias)
    x = F.conv2d(x, second.weight, padding=1)
    return norm_of_channels(x, norm2.weight, norm2.bias)


def doubled(x, convolution):
    """Kernel and stride are equal, so each place makes its own 2 x 2 patch."""
    b, _, h, w = x.shape
    patches = torch.einsum("bchw,cdij->bdhiwj", x, convolution.weight)
    return patches.reshape(b, -1, 2 * h, 2 * w) + convolution.bias[:, None, None]


def test_every_level_in_closed_form(randomise):
    pyramid = randomise(SimpleFeaturePyramid(16, 16, out_channels=12))
    x = noise(2, 16, 4, 6)
    p2, p3, p4, p5, p6 = pyramid([x])
    four, two, one, half = pyramid.levels
    finer = F.gelu(norm_of_channels(doubled(x, four[0]), four[1].weight, four[1].bias))
    finer = doubled(finer, four[3])
    assert finer.shape == (2, 4, 16, 24)
    torch.testing.assert_close(p2, written_out(finer, four), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(p3, written_out(doubled(x, two[0]), two), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(p4, written_out(x, one), rtol=1e-4, atol=1e-5)
    pooled = x.reshape(2, 16, 2, 2, 3, 2).amax(dim=(3, 5))
    torch.testing.assert_close(p5, written_out(pooled, half), rtol=1e-4, atol=1e-5)
    assert torch.equal(p6, p5[:, :, ::2, ::2])


def test_parameters_of_vitdet():
    """Counted by hand for ViT-B: D = 768, 256 channels, LayerNorm with weight and bias."""
    with torch.device("meta"):
        pyramid = SimpleFeaturePyramid(768, 16)

    def deconvolution(source, target):
        return source * target * 4 + target

    projections = sum(w * 256 + 256 * 256 * 9 + 4 * 256 for w in (192, 384, 768, 768))
    four = deconvolution(768, 384) + 2 * 384 + deconvolution(384, 192)
    expected = four + deconvolution(768, 384) + projections
    assert sum(p.numel() for p in pyramid.parameters()) == expected
    convolutions = [m for m in pyramid.modules() if type(m) is nn.Conv2d]
    assert len(convolutions) == 8 and all(c.bias is None for c in convolutions)


@pytest.mark.parametrize(
    ("patch_size", "strides", "num_outs"),
    [(16, (4, 8, 16, 32), 5), (16, (4, 8, 16, 32), 4), (4, (2, 4, 8), 5), (14, (7, 14, 28), 3)],
)
def test_strides_of_the_levels(patch_size, strides, num_outs):
    backbone = VisionTransformer(
        dict(embed_dim=16, depth=2, num_heads=2),
        (8 * patch_size, 12 * patch_size),
        patch_size,
        out_indices=(1,),
    )
    pyramid = MODELS.build(
        dict(
            type="SimpleFeaturePyramid",
            embed_dim=backbone.embed_dim,
            patch_size=patch_size,
            strides=strides,
            out_channels=8,
            num_outs=num_outs,
        )
    )
    levels = pyramid(backbone(noise(1, 3, 8 * patch_size, 12 * patch_size)))
    extra = [strides[-1] * 2**i for i in range(1, num_outs - len(strides) + 1)]
    assert [tuple(level.shape) for level in levels] == [
        (1, 8, -(-8 * patch_size // s), -(-12 * patch_size // s)) for s in (*strides, *extra)
    ]


def test_gradients_reach_the_map_through_every_level(randomise):
    pyramid = randomise(SimpleFeaturePyramid(16, 16, out_channels=8))
    for i in range(5):
        x = noise(1, 16, 4, 4).requires_grad_()
        (pyramid([x])[i] * noise(*pyramid([x])[i].shape, seed=1)).sum().backward()
        assert x.grad.abs().max() > 0


def test_heads_take_the_same_norm_through_mmcv(randomise):
    """ViTDet's heads have it too: a config says norm_cfg=dict(type=LayerNorm2d, eps=1e-6)."""
    module = ConvModule(8, 4, 1, norm_cfg=dict(type=LayerNorm2d, eps=1e-6), act_cfg=None)
    assert module.conv.bias is None
    randomise(module)
    x = noise(2, 8, 3, 5)
    convolved = F.conv2d(x, module.conv.weight)
    expected = norm_of_channels(convolved, module.norm.weight, module.norm.bias)
    torch.testing.assert_close(module(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(strides=(2,)), "16 pixels to stride 2: use 4, 8, 16 or 32"),
        (dict(strides=(64,)), "16 pixels to stride 64: use 4, 8, 16 or 32"),
        (dict(num_outs=3), "num_outs=3 is less than the 4 strides"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(ValueError, match=message):
        SimpleFeaturePyramid(16, 16, **options)


def test_only_one_map_is_taken():
    with pytest.raises(ValueError, match="2 maps for a pyramid of the last one"):
        SimpleFeaturePyramid(16, 16)([noise(1, 16, 2, 2)] * 2)


def test_an_image_smaller_than_the_coarsest_stride():
    pyramid = SimpleFeaturePyramid(16, 16, out_channels=12)
    with pytest.raises(ValueError, match="16x48 pixels has no place of stride 32"):
        pyramid([noise(1, 16, 1, 3)])
