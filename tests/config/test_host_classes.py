"""Backbone classes that know nothing of our contract in a config: wrapped, measured, compared."""

import sys
from pathlib import Path

import pytest
import torch
from mmdet.models.backbones import ResNet
from mmengine.registry import MODELS, init_default_scope

from mae_bench.config.load import load_config
from mae_bench.openmmlab.host_backbone import HostBackbone

ROOT = Path(__file__).parents[2]
FINETUNE = ROOT / "configs/cls/vit_mini_finetune_miniworld.py"
LINEAR = ROOT / "configs/cls/vit_mini_linear_miniworld.py"
DETECTION = ROOT / "configs/det/mask_rcnn_vit_mini_miniworld.py"
SEGMENTATION = ROOT / "configs/seg/upernet_vit_mini_miniworld.py"
STRANGERS = '''
import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import nn


class Stated(BaseModule):
    """Keeps the contract, or not, as its arguments say."""

    def __init__(self, channels=(8, 16, 24, 32), strides=(4, 8, 16, 32), says=None, flip=False,
                 pooled=True, output="maps", init_cfg=None):
        super().__init__(init_cfg)
        self.convs = nn.ModuleList(nn.Conv2d(3, c, s, s) for c, s in zip(channels, strides))
        self.map_channels, self.map_strides = (says or channels), strides
        self.embed_dim, self.num_layers, self.patch_size = channels[-1], 4, strides[0]
        self.output, self.flip, self.pooled = output, flip, pooled

    def layer_id(self, name):
        return int(name.split(".")[1]) + 1

    def forward(self, images):
        maps = [conv(images) for conv in self.convs]
        if self.output == "mean":
            return (maps[-1].mean((2, 3)) if self.pooled else maps[-1],)
        return tuple(maps[::-1] if self.flip else maps)


@MODELS.register_module(force=True)
class Stranger(nn.Module):
    """A module, and nothing else."""

    def __init__(self, width=8):
        super().__init__()
        widths = [3, width, 2 * width, 3 * width, 4 * width]
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 4 if a == 3 else 2, 4 if a == 3 else 2)
            for a, b in zip(widths, widths[1:])
        )

    def forward(self, images):
        maps = []
        for conv in self.convs:
            images = conv(images)
            maps.append(images)
        return maps
'''
RESNET = dict(type="mmdet.ResNet", depth=18, base_channels=8)
CONVNEXT = {
    "type": "mmpretrain.ConvNeXt",
    "arch.depths": [1, 1, 1, 1],
    "arch.channels": [8, 16, 24, 40],
}


def load(config, **backbone):
    return load_config(config, {f"model.backbone.{key}": v for key, v in backbone.items()})


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder on PYTHONPATH with classes of a user's own, and our configs."""
    (tmp_path / "strangers.py").write_text(STRANGERS)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "strangers", raising=False)
    return tmp_path


def test_by_option_in_classification():
    cfg = load(LINEAR, **CONVNEXT, output="mean")
    assert dict(cfg.model.backbone) == dict(
        type=HostBackbone,
        host_class="mmpretrain.ConvNeXt",
        arch=dict(depths=[1, 1, 1, 1], channels=[8, 16, 24, 40]),
        img_size=32,
        output="mean",
        frozen=True,
    )
    assert cfg.model.head.in_channels == 40
    init_default_scope(cfg.default_scope)
    assert MODELS.build(cfg.model).extract_feat(torch.zeros(2, 3, 32, 32))[0].shape == (2, 40)


@pytest.mark.parametrize("config", [DETECTION, SEGMENTATION])
@pytest.mark.parametrize("backbone", [RESNET, CONVNEXT], ids=["resnet", "convnext"])
def test_by_option_in_dense_tasks(config, backbone):
    cfg = load(config, **backbone)
    widths = [8, 16, 32, 64] if backbone is RESNET else [8, 16, 24, 40]
    if config is DETECTION:
        (neck,) = cfg.model.neck
        assert neck.in_channels == widths
        assert cfg.model.rpn_head.anchor_generator.strides[:4] == [4, 8, 16, 32]
    else:
        assert "neck" not in cfg.model
        assert cfg.model.decode_head.in_channels == widths
    init_default_scope(cfg.default_scope)
    maps = MODELS.build(cfg.model).eval().extract_feat(torch.zeros(1, 3, 64, 64))
    assert [m.shape[-1] for m in maps[:4]] == [16, 8, 4, 2]


def test_emptied_first():
    cfg = load(FINETUNE, **RESNET, _delete_=True)
    assert cfg.model.backbone == dict(
        type=HostBackbone, host_class="mmdet.ResNet", depth=18, base_channels=8, output="mean"
    )


def test_dicts_among_the_arguments_of_a_class():
    """Key by key, as those of our own classes; without a type, or with one."""
    stages = {
        f"extra.stage{i}": dict(
            num_modules=1,
            num_branches=i,
            block="BASIC",
            num_blocks=(1,) * i,
            num_channels=(8, 16, 24, 32)[:i],
        )
        for i in range(1, 5)
    }
    cfg = load(SEGMENTATION, type="mmseg.HRNet", **stages)
    assert cfg.model.decode_head.in_channels == [8, 16, 24, 32]
    nested = {"backbone_cfg.type": "mmseg.ResNet", "backbone_cfg.depth": 18}
    cfg = load(FINETUNE, type="mmseg.BiSeNetV1", **nested)
    assert cfg.model.backbone.backbone_cfg.depth == 18


def test_plain_vit_keeps_the_adapter_and_its_repeated_taps():
    vit = dict(type="mmseg.VisionTransformer", embed_dims=24, num_layers=8, num_heads=2)
    cfg = load(DETECTION, **vit, patch_size=4)
    assert cfg.model.backbone.out_indices == [7, 7, 7, 7]
    init_default_scope(cfg.default_scope)
    maps = MODELS.build(cfg.model).eval().extract_feat(torch.zeros(1, 3, 32, 32))
    assert [m.shape[-1] for m in maps[:4]] == [16, 8, 4, 2]


FILE = """
from mmengine.config import read_base
{first}
with read_base():
    from .configs.{recipe} import *

model["backbone"] = dict({backbone})
{rest}
"""


def write(folder, recipe, backbone, rest="", first="") -> Path:
    path = folder / "mine.py"
    path.write_text(FILE.format(recipe=recipe, backbone=backbone, rest=rest, first=first))
    return path


FINE = "cls.vit_mini_finetune_miniworld"
DENSE = "det.mask_rcnn_vit_mini_miniworld"
WIDTH = 'model["head"].update(in_channels={})'


@pytest.mark.parametrize(
    ("first", "kind", "name"),
    [
        ("", '"mmdet.ResNet"', "mmdet.ResNet"),
        ("from mmdet.models.backbones import ResNet", "ResNet", "mmdet.ResNet"),
        ("", '"mmdet.models.backbones.ResNet"', "mmdet.ResNet"),
    ],
)
def test_in_a_file(folder, first, kind, name):
    backbone = f"type={kind}, depth=18, base_channels=8"
    cfg = load_config(write(folder, FINE, backbone, WIDTH.format(64), first))
    assert (cfg.model.backbone.host_class, cfg.model.backbone.output) == (name, "mean")
    built = MODELS.build(cfg.model.backbone)
    assert isinstance(built.net, ResNet) and built.embed_dim == 64
    with pytest.raises(ValueError, match=r"model.head.in_channels=96 contradicts .*: give 64"):
        load_config(write(folder, FINE, backbone, "", first))


def test_registered_name_by_custom_imports(folder):
    rest = WIDTH.format(16) + '\ncustom_imports = dict(imports=["strangers"])'
    cfg = load_config(write(folder, FINE, 'type="Stranger", width=4', rest))
    assert cfg.model.backbone.host_class == "strangers.Stranger"
    imports = {"custom_imports.imports": ["strangers"]}
    options = {"model.backbone.type": "Stranger", "model.backbone.width": 4}
    assert load_config(FINETUNE, imports | options).model.head.in_channels == 16


def test_mmpretrains_own_choice_of_features_is_left_to_it(folder):
    arch = "dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48)"
    backbone = f'type="mmpretrain.VisionTransformer", img_size=32, patch_size=4, arch={arch}'
    cfg = load_config(write(folder, FINE, backbone, WIDTH.format(24)))
    assert "output" not in cfg.model.backbone
    assert MODELS.build(cfg.model.backbone).net.out_type == "cls_token"


@pytest.mark.parametrize(
    ("recipe", "rest", "message"),
    [
        (DENSE, "", r"model.neck.0: FeaturePyramidAdapter is for plain ViTs, and HostBackbone has"),
        (
            DENSE,
            'model["neck"] = [dict(type="mmdet.FPN", in_channels=[8, 16, 32, 64], out_channels=8,'
            " num_outs=5)]",
            r"anchor_generator.strides=\[2, 4, 8, 16.*\] contradicts .*: give \[4, 8, 16, 32",
        ),
        (
            "seg.upernet_vit_mini_miniworld",
            'del model["neck"]',
            r"decode_head.in_channels=.* contradicts .* give \[8, 16, 32, 64\]",
        ),
    ],
)
def test_what_a_file_states_is_compared_with_what_was_measured(folder, recipe, rest, message):
    backbone = 'type="mmdet.ResNet", depth=18, base_channels=8'
    with pytest.raises(ValueError, match=message) as raised:
        load_config(write(folder, recipe, backbone, rest))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        (DETECTION, dict(says=(8, 16, 24, 48)), r"says strides .* widths \[8, 16, 24, 48\], and g"),
        (DETECTION, dict(flip=True), "says strides .* and gives maps"),
        (DETECTION, dict(strides=(32, 16, 8, 4)), "maps of strides .*: give the finest first"),
        (FINETUNE, dict(pooled=False), r"gives \(1, 32, 7, 7\) where the head takes features"),
    ],
)
def test_a_contract_that_is_not_kept(folder, config, options, message):
    with pytest.raises(ValueError, match=message) as raised:
        load(config, type="strangers.Stated", **options)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("config", [DETECTION, SEGMENTATION])
def test_a_class_without_a_pyramid_is_told_what_it_serves(config):
    with pytest.raises(ValueError, match="mmseg.BiSeNetV2. has no 4 scales .* classific") as raised:
        load(config, type="mmseg.BiSeNetV2")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(type="mmpretrain.ConvNeXt", arhc="tiny"), "no key 'arhc'; did you mean 'arch'"),
        (dict(type="mmpretrain.ConvNeXt", arch="atom"), "cannot be built: .* Unavailable arch"),
        (dict(type="mmdet.FPN"), "cannot be built: mmdet.FPN with these arguments: .* missing 3"),
        (dict(type="mmdet.ResNet", depth=19), "mmdet.ResNet with these arguments: 'invalid depth"),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match=message) as raised:
        load(FINETUNE, **options)
    assert "\n" not in str(raised.value)
