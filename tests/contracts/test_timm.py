"""Every family of timm's models behind our contract: it works as it says, or says why not."""

import math

import pytest
import torch
from timm.models import list_models, list_modules

from mae_bench.models import TimmBackbone
from mae_bench.models.backbone import blank_features

from .backbone_cases import check_file

# Parts of names of small models, the smaller ones first.
SMALL = (
    "test_ atto femto pico nano zepto xxs xxtiny xx_small _xs x_small xtiny mini tiny _xt _ti lite0"
)
SMALL += " _b0 _s0 _t0 _a0 _m0 small _s12 18 050 025 _s _t _b1 base _m "
# Families without maps for FPN and UperNet, or without one pooled feature; and the reason given.
NO_MAPS = {
    "crossvit": "has 2 scales",
    "efficientvim": "has 3 scales",
    "efficientvit_msra": "has 3 scales",
    "levit": "has 3 scales",
    "nest": "has 3 scales",
    "pit": "has 3 scales",
    "sequencer": "has 2 scales",
    "shvit": "has 3 scales",
    "visformer": "has 3 scales",
    "volo": "has 2 scales",
}
NO_MEAN = {"pit": "Only token pooling"}
# Convolutions without padding leave up to four pixels of the finest map out.
NO_PADDING = {"inception_resnet_v2", "inception_v3", "inception_v4", "xception"}
# Bounds of activations that are infinite.
NO_FILE = {"gemma4_vit": "holds NaN or infinity"}
NO_LAYERS = {"csatv2", "metaformer"}


def smallest(family: str) -> str:
    def rank(name: str) -> tuple:
        return next(i for i, part in enumerate(SMALL.split(" ")) if part in name), len(name), name

    return min(list_models(module=family), key=rank)


FAMILIES = [family for family in list_modules() if list_models(module=family)]


def sides(backbone: TimmBackbone) -> tuple[int, int]:
    size = backbone.img_size
    return (size, size) if isinstance(size, int) else size


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_pooled_features(family, tmp_path):
    name = smallest(family)
    if family in NO_MEAN:
        with pytest.raises(ValueError, match=NO_MEAN[family]):
            TimmBackbone(name, output="mean")
        return
    backbone = TimmBackbone(name, output="mean")
    (feature,) = blank_features(backbone, *sides(backbone))
    assert feature.shape == (1, backbone.embed_dim)
    names = [n for n, _ in backbone.named_parameters()]
    if family in NO_LAYERS:
        with pytest.raises(ValueError, match="timm does not say which layers"):
            backbone.layer_id(names[0])
    else:
        layers = {backbone.layer_id(n) for n in names}
        assert layers <= set(range(backbone.num_layers + 2)) and len(layers) > 2
    if family in NO_FILE:
        with pytest.raises(ValueError, match=NO_FILE[family]):
            check_file(backbone, TimmBackbone(name, output="mean"), tmp_path / "c.safetensors")
    else:
        check_file(backbone, TimmBackbone(name, output="mean"), tmp_path / "c.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_maps(family):
    name = smallest(family)
    if family in NO_MAPS:
        with pytest.raises(ValueError, match=NO_MAPS[family]):
            TimmBackbone(name)
        return
    try:
        backbone = TimmBackbone(name)
    except ValueError as error:
        assert "out_indices belongs to" in str(error)
        backbone = TimmBackbone(name, out_indices=[0])
        last = backbone.num_layers - 1
        backbone = TimmBackbone(name, out_indices=[last // 2, last])
    height, width = sides(backbone)
    maps = blank_features(backbone, height, width)
    strides = backbone.map_strides or (backbone.patch_size,) * 2
    widths = backbone.map_channels or (backbone.embed_dim,) * 2
    expected = [
        (1, channels, math.ceil(height / stride), math.ceil(width / stride))
        for channels, stride in zip(widths, strides, strict=True)
    ]
    if family in NO_PADDING:
        sizes = [feature.shape[2:] for feature in maps]
        off = [max(h - a, w - b) for (_, _, h, w), (a, b) in zip(expected, sizes, strict=True)]
        assert max(off) <= 4 and min(off) >= 0
    else:
        assert [tuple(feature.shape) for feature in maps] == expected
    assert backbone.embed_dim == maps[-1].shape[1] and backbone.patch_size == strides[0]


def test_segment_anything():
    """Its neck is no block, its maps are those of the blocks, its feature the neck's."""
    options = dict(depth=2, embed_dim=32, num_heads=2, neck_chans=16, global_attn_indexes=(1,))
    maps = TimmBackbone("samvit_base_patch16", 64, out_indices=[0, 1], model_kwargs=options)
    assert (maps.num_layers, maps.embed_dim, maps.patch_size) == (2, 32, 16)
    assert [tuple(f.shape) for f in blank_features(maps, 64, 64)] == [(1, 32, 4, 4)] * 2
    assert not any("neck" in name for name, _ in maps.named_parameters())
    mean = TimmBackbone("samvit_base_patch16", 64, "mean", model_kwargs=options)
    assert mean.embed_dim == 16 == blank_features(mean, 64, 64)[0].shape[1]
    layers = {mean.layer_id(name) for name, _ in mean.named_parameters()}
    assert layers == {0, 1, 2, 3}
    assert {mean.layer_id(n) for n, _ in mean.named_parameters() if "neck" in n} == {3}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("levit_128s", "has 3 scales, FPN and UperNet need 4: it serves classification"),
        ("vgg11", None),
        ("pit_ti_224", "pit_ti_224 has 3 scales"),
    ],
)
def test_what_cannot_be_is_said(name, message):
    if message is None:
        with pytest.raises(ValueError, match="'drop_path_rate': it has no stochastic depth, set"):
            TimmBackbone(name, drop_path_rate=0.1)
        TimmBackbone(name)  # none was asked for
    else:
        with pytest.raises(ValueError, match=message):
            TimmBackbone(name)


def test_width_after_a_layer_between_pool_and_classes():
    backbone = TimmBackbone("mobilenetv3_small_050", output="mean")
    with torch.no_grad():
        assert backbone.eval()(torch.zeros(1, 3, 64, 64))[0].shape == (1, backbone.embed_dim)
    assert backbone.embed_dim == 1024
