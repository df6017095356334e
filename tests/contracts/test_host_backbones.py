"""Backbones of mmpretrain, mmdet and mmseg behind our contract, each beside its own class."""

from typing import Any

import pytest
import torch
from mmengine.registry import DefaultScope, init_default_scope
from mmpretrain.engine.optimizers import LearningRateDecayOptimWrapperConstructor
from mmpretrain.models import ImageClassifier
from mmpretrain.models.backbones import ConvNeXt, ResNet, SwinTransformer, VisionTransformer
from torch import Tensor, nn

from mae_bench.models.backbone import as_backbone
from mae_bench.openmmlab.host_backbone import HostBackbone
from mae_bench.registry import MODELS
from mae_bench.training.layer_decay import parameter_groups

from .backbone_cases import check_file, images

VIT = dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48)
ARGUMENTS: dict[str, dict[str, Any]] = {
    "mmpretrain.VisionTransformer": dict(arch=VIT, img_size=32, patch_size=4),
    "mmpretrain.ConvNeXt": dict(arch=dict(depths=[1, 1, 2, 1], channels=[8, 16, 24, 32])),
    "mmpretrain.SwinTransformer": dict(
        arch=dict(embed_dims=8, depths=[1, 1, 2, 1], num_heads=[1, 1, 2, 2]),
        img_size=64,
        window_size=2,
    ),
    "mmdet.ResNet": dict(depth=18, base_channels=8),
    "mmseg.MixVisionTransformer": dict(embed_dims=8, num_layers=[1, 1, 1, 1]),
    "mmseg.VisionTransformer": dict(
        embed_dims=24, num_layers=2, num_heads=2, img_size=32, patch_size=4
    ),
}
PYRAMIDS = {
    "mmpretrain.ConvNeXt": (8, 16, 24, 32),
    "mmpretrain.SwinTransformer": (8, 16, 32, 64),
    "mmdet.ResNet": (8, 16, 32, 64),
    "mmseg.MixVisionTransformer": (8, 16, 32, 64),
}


def build(host_class: str, **options: Any) -> HostBackbone:
    torch.manual_seed(0)
    return HostBackbone(host_class, **{**ARGUMENTS[host_class], **options}).eval()


def beside(backbone: HostBackbone, host_class: str, **options: Any) -> nn.Module:
    """The class itself, with the same weights under the same names."""
    host = MODELS.get(host_class)(**{**ARGUMENTS[host_class], **options})
    host.eval()
    state = backbone.state_dict()
    assert list(state) == list(host.state_dict())
    host.load_state_dict(state)
    return host


def assert_equal(found: Any, expected: Any) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("host_class", PYRAMIDS)
def test_maps_of_a_hierarchical_class(host_class):
    backbone = as_backbone(build(host_class, output="maps"))
    options: dict[str, Any] = dict(out_indices=(0, 1, 2, 3))
    if host_class == "mmpretrain.ConvNeXt":
        options["gap_before_final_norm"] = False
    host = beside(backbone, host_class, **options)
    x = images(2, 64, 96)
    assert_equal(backbone(x), host(x))
    assert backbone.map_channels == PYRAMIDS[host_class] == tuple(t.shape[1] for t in host(x))
    assert backbone.map_strides == (4, 8, 16, 32)
    assert (backbone.embed_dim, backbone.patch_size) == (PYRAMIDS[host_class][-1], 4)


@pytest.mark.parametrize("host_class", PYRAMIDS)
def test_pooled_feature_of_a_hierarchical_class(host_class):
    backbone = build(host_class, output="mean")
    host = beside(backbone, host_class)
    x = images(2, 64, 64)
    last = host(x)[-1]
    expected = last if last.ndim == 2 else last.mean(dim=(2, 3))
    assert_equal(backbone(x), [expected])
    assert backbone.embed_dim == PYRAMIDS[host_class][-1]
    # known all the same, as a config has to fit the pyramid behind it
    assert (backbone.map_channels, backbone.patch_size) == (PYRAMIDS[host_class], 4)


@pytest.mark.parametrize(
    ("output", "out_type"),
    [("mean", "avg_featmap"), ("class_token", "cls_token"), ("tokens", "raw"), ("maps", "featmap")],
)
def test_plain_vit_of_mmpretrain(output, out_type):
    name = "mmpretrain.VisionTransformer"
    options = dict(out_indices=[0, 1]) if output == "maps" else {}
    backbone = build(name, output=output, **options)
    host = beside(backbone, name, out_type=out_type, **options)
    x = images()
    assert_equal(backbone(x), host(x))
    assert (backbone.embed_dim, backbone.patch_size, backbone.num_layers) == (24, 4, 2)
    assert backbone.map_strides is None and backbone.grid == (8, 8)


def test_plain_vit_of_mmseg():
    backbone = build("mmseg.VisionTransformer", output="maps", out_indices=[0, 1])
    host = beside(backbone, "mmseg.VisionTransformer", out_indices=[0, 1])
    x = images(1, 32, 64)
    assert_equal(backbone(x), host(x))
    assert (backbone.embed_dim, backbone.patch_size, backbone.num_layers) == (24, 4, 2)


@pytest.mark.parametrize("output", [None, "class_token", "mean", "maps"])
def test_classes_for_masked_pretraining_see_whole_images(output):
    """Their own default hides patches, and gives the mask and its order besides."""
    name = "mmpretrain.VisionTransformer"
    options: dict[str, Any] = dict(out_indices=[0, 1]) if output == "maps" else {}
    vit = build(name, output=output, **options)
    masked = HostBackbone("mmpretrain.MAEViT", **ARGUMENTS[name], output=output, **options).eval()
    x = images()
    if output is None:  # MAEViT's own default
        expected: Any = beside(vit, name, out_type="raw")(x)
    else:
        expected = vit(x)
    masked.load_state_dict(vit.state_dict())
    assert_equal(masked(x), expected)
    assert masked.embed_dim == vit.embed_dim == 24


def test_the_size_is_given_as_the_class_wants_it():
    """TinyViT takes a pair only."""
    assert HostBackbone("mmpretrain.TinyViT", output="mean", img_size=64).embed_dim == 320


def test_stride_where_the_first_convolutions_are_several():
    """XCiT embeds patches of 16 pixels by four convolutions, each with a stride of 2."""
    options: dict[str, Any] = dict(embed_dims=24, depth=2, cls_attn_layers=1, num_heads=2)
    backbone = HostBackbone("mmpretrain.XCiT", output="class_token", **options)
    assert backbone.patch_size == 16
    maps = HostBackbone("mmpretrain.XCiT", output="maps", out_indices=[1], **options)
    assert [m.shape[-1] for m in maps.eval()(images(1, 64, 64))] == [4]


def test_parts_come_from_the_library_of_the_class():
    """UNet's upsampling is mmseg's, also where mmpretrain runs the task."""
    init_default_scope("mmpretrain")
    backbone = HostBackbone("mmseg.UNet", output="mean", base_channels=4)
    assert backbone.embed_dim == 4
    assert DefaultScope.get_current_instance().scope_name == "mmpretrain"


def test_segment_anything_resizes_its_own_positions():
    """They are a map, no table of one row for each place."""
    options: dict[str, Any] = dict(arch=VIT | dict(global_attn_indexes=[1]), patch_size=4)
    backbone = HostBackbone("mmpretrain.ViTSAM", output="mean", img_size=32, **options).eval()
    assert backbone.grid is None and backbone.net.pos_embed.shape == (1, 8, 8, 24)
    assert backbone(images(1, 64, 32))[0].shape == (1, backbone.embed_dim)
    larger = HostBackbone("mmpretrain.ViTSAM", output="mean", img_size=64, **options)
    larger.load_state_dict(backbone.state_dict())


def test_a_second_token_with_a_position_leaves_no_table_to_resize(tmp_path):
    name = "mmpretrain.DistilledVisionTransformer"
    options: dict[str, Any] = dict(arch=VIT, img_size=32, patch_size=4, output="mean")
    backbone = HostBackbone(name, **options)
    assert backbone.net.pos_embed.shape == (1, 2 + 8 * 8, 24) and backbone.grid is None
    check_file(backbone, HostBackbone(name, **options), tmp_path / "c.safetensors")


@pytest.mark.parametrize("host_class", ["mmpretrain.VisionTransformer", "mmpretrain.ConvNeXt"])
def test_without_an_output_it_is_the_class_itself(host_class):
    backbone = build(host_class)
    x = images()
    assert_equal(backbone(x), beside(backbone, host_class)(x))
    assert backbone.num_classes if hasattr(backbone, "num_classes") else True
    assert backbone.out_indices == backbone.net.out_indices  # for who reads it


class Model(nn.Module):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(4, 4)


@pytest.mark.parametrize(
    ("host", "arguments"),
    [
        (VisionTransformer, ARGUMENTS["mmpretrain.VisionTransformer"]),
        (ConvNeXt, ARGUMENTS["mmpretrain.ConvNeXt"]),
        (ConvNeXt, dict(arch=dict(depths=[1, 1, 12, 1], channels=[8, 16, 24, 32]))),
        (SwinTransformer, ARGUMENTS["mmpretrain.SwinTransformer"]),
        (ResNet, dict(depth=50, base_channels=4, stem_channels=4)),
    ],
)
def test_layer_decay_is_mmpretrains(host, arguments):
    decay = 0.5
    theirs: list[dict[str, Any]] = []
    optimizer = dict(type="SGD", lr=1.0, weight_decay=0.0)
    constructor = LearningRateDecayOptimWrapperConstructor(
        dict(type="OptimWrapper", optimizer=optimizer), dict(layer_decay_rate=decay)
    )
    head = dict(type="LinearClsHead", num_classes=2, in_channels=4)
    classifier = ImageClassifier(dict(type=host, **arguments), head=head)
    constructor.add_params(theirs, classifier, optimizer_cfg=optimizer)
    expected = {group["param_name"]: group["lr_scale"] for group in theirs}
    backbone = HostBackbone(f"mmpretrain.{host.__name__}", **arguments)
    groups = parameter_groups(Model(backbone), 1.0, 0.0, decay)
    scales = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    model = Model(backbone)
    model.head = nn.Identity()
    found = {n.replace(".net.", "."): scales[id(p)] for n, p in model.named_parameters()}
    assert found == {name: expected[name] for name in found}
    assert len(set(found.values())) > 2


def test_layers_by_a_stated_rule():
    backbone = build("mmdet.ResNet", layers=r"layer(\d+)\.(\d+)\.")
    assert backbone.num_layers == 8
    layers = {name: backbone.layer_id(name) for name, _ in backbone.named_parameters()}
    assert layers["net.conv1.weight"] == layers["net.bn1.bias"] == 0
    assert layers["net.layer1.0.conv1.weight"] == 1 and layers["net.layer4.1.bn2.bias"] == 8
    vit = build("mmseg.VisionTransformer", layers=r"layers\.(\d+)\.", final_norm=True)
    found = {name: vit.layer_id(name) for name, _ in vit.named_parameters()}
    assert found["net.cls_token"] == found["net.patch_embed.projection.weight"] == 0
    assert found["net.layers.1.ln1.weight"] == 2 and found["net.ln1.weight"] == 3


def test_frozen_stages_and_norms_are_those_of_the_class():
    backbone = build("mmdet.ResNet", frozen_stages=1, norm_eval=True).train()
    trained = {name for name, p in backbone.named_parameters() if p.requires_grad}
    assert trained and not any(
        n.startswith(("net.conv1", "net.bn1", "net.layer1")) for n in trained
    )
    norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert not any(m.training for m in norms)
    assert backbone.net.layer2.training
    frozen = build("mmdet.ResNet", frozen=True).train()
    assert not any(p.requires_grad for p in frozen.parameters()) and not frozen.net.training


def test_own_initialisation_comes_first(tmp_path):
    """The class's, in which the last norms of a ResNet are zero, then a file."""
    backbone = build("mmdet.ResNet", zero_init_residual=True)
    backbone.init_weights()
    state = backbone.state_dict()
    assert not state["layer1.0.bn2.weight"].any() and state["layer1.0.bn1.weight"].all()
    loaded = {key: torch.full_like(value, 2) for key, value in state.items()}
    torch.save({"state_dict": {f"backbone.{k}": v for k, v in loaded.items()}}, tmp_path / "f.pth")
    initialiser = dict(type="mae_bench.PretrainedBackbone", checkpoint=str(tmp_path / "f.pth"))
    filled = build("mmdet.ResNet", init_cfg=initialiser)
    filled.init_weights()
    for key, value in filled.state_dict().items():
        assert torch.equal(value, loaded[key]), key


def test_building_draws_what_the_class_alone_draws():
    """Measuring it leaves the state of the random numbers alone."""
    torch.manual_seed(3)
    ConvNeXt(**ARGUMENTS["mmpretrain.ConvNeXt"])
    expected = torch.rand(3)
    torch.manual_seed(3)
    backbone = HostBackbone("mmpretrain.ConvNeXt", **ARGUMENTS["mmpretrain.ConvNeXt"])
    assert backbone.map_channels
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("host_class", "options", "message"),
    [
        ("mmdet.ResNet", dict(depth=19), "mmdet.ResNet with these arguments: .*invalid depth 19"),
        ("mmdet.ResNet", dict(dept=18), "unexpected keyword argument 'dept'"),
        ("mmpretrain.ConvNeXt", dict(arch="atom"), "Unavailable arch"),
        ("mmdet.ResNet", dict(in_channels=1), "for a blank image of 224x224 pixels: .*channels"),
        ("mmdet.ResNet", dict(output="class_token"), r"no output='class_token'.*\(1, 64, 7, 7\)"),
        ("mmdet.ResNet", dict(output="tokens"), "mmdet.ResNet has no output='tokens'"),
        ("mmpretrain.VisionTransformer", dict(output="maps"), "has no 4 scales .* out_indices"),
        ("mmpretrain.ConvNeXt", dict(output="map"), "output='map' is not one of maps, class_tok"),
        ("mmdet.ResNet", dict(layers="block"), "layers='block' is found in no parameter of mmdet"),
    ],
)
def test_refusals(host_class, options, message):
    with pytest.raises(ValueError, match=message) as raised:
        build(host_class, **options)
    assert "\n" not in str(raised.value)


def test_images_too_small_for_the_class_are_refused():
    name = "mmpretrain.SwinTransformer"
    backbone = build(name, output="maps")
    message = rf"{name}: an input of \(16, 32\) pixels: The input shape .* smaller than the window"
    with pytest.raises(ValueError, match=message) as raised:
        backbone(images(1, 16, 32))
    assert "\n" not in str(raised.value)


def test_images_of_another_size_than_the_class_is_made_for_are_refused():
    """BEiT's relative positions are of one grid."""
    backbone = HostBackbone("mmpretrain.BEiTViT", arch=VIT, img_size=32, patch_size=4)
    message = r"BEiTViT: an input of \(64, 64\) pixels: .* size of tensor .*one size only"
    with pytest.raises(ValueError, match=message) as raised:
        backbone(images(1, 64, 64))
    assert "\n" not in str(raised.value)


def test_unknown_class_and_unknown_layers():
    with pytest.raises(ValueError, match="nobody knows the class 'mmdet.ResNot'"):
        HostBackbone("mmdet.ResNot")
    backbone = build("mmdet.ResNet")
    with pytest.raises(ValueError, match="mmdet.ResNet does not number its layers: set layer_dec"):
        parameter_groups(Model(backbone), 1.0, 0.0, 0.5)


class CoarsestFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 4, 4)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        return [nn.functional.avg_pool2d(x, k) for k in (8, 4, 2, 1)]


class WithIndices(CoarsestFirst):
    """As autoencoders give the order of their patches beside the tokens."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x).flatten(2).mean(dim=2)
        return x, x.argsort(dim=1)


def test_whole_numbers_are_no_features():
    MODELS.register_module(name="WithIndices", module=WithIndices, force=True)
    message = "WithIndices for a blank image .*: it gives torch.int64 where features are wanted"
    with pytest.raises(ValueError, match=message):
        HostBackbone("mae_bench.WithIndices", output="mean")


def test_coarsest_first_is_refused():
    MODELS.register_module(name="CoarsestFirst", module=CoarsestFirst, force=True)
    with pytest.raises(ValueError, match=r"maps of strides \[32, 16, 8, 4\].*the finest first"):
        HostBackbone("mae_bench.CoarsestFirst", output="maps")
