"""Another backbone in a shipped config by one override: what stays, what goes, what is fitted."""

import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from mae_bench.config.load import load_config
from mae_bench.models import FeaturePyramidAdapter, TimmBackbone

ROOT = Path(__file__).parents[2]
FINETUNE = ROOT / "configs/cls/vit_mini_finetune_miniworld.py"
ATTENTIVE = ROOT / "configs/cls/vit_mini_attentive_miniworld.py"
LINEAR = ROOT / "configs/cls/vit_mini_linear_miniworld.py"
DETECTION = ROOT / "configs/det/mask_rcnn_vit_mini_miniworld.py"
SEGMENTATION = ROOT / "configs/seg/upernet_vit_mini_miniworld.py"
TYPE = {"model.backbone.type": "mae_bench.TimmBackbone"}
VIT = {
    **TYPE,
    "model.backbone.name": "vit_tiny_patch16_224",
    "model.backbone.model_kwargs.patch_size": 4,
    "model.backbone.model_kwargs.embed_dim": 64,
    "model.backbone.model_kwargs.depth": 8,
    "model.backbone.model_kwargs.num_heads": 2,
}
SAM = {
    **TYPE,
    "model.backbone.name": "samvit_base_patch16",
    "model.backbone.model_kwargs": dict(
        patch_size=4, embed_dim=32, depth=2, num_heads=2, neck_chans=16, global_attn_indexes=(1,)
    ),
}
CONVNEXT = {
    **TYPE,
    "model.backbone.name": "convnext_tiny",
    "model.backbone.model_kwargs.depths": [1, 1, 1, 1],
    "model.backbone.model_kwargs.dims": [8, 16, 24, 40],
}


def build(cfg):
    init_default_scope(cfg.default_scope)
    return MODELS.build(cfg.model).eval()


def test_what_the_task_asks_for_stays_and_what_was_the_old_class_goes():
    cfg = load_config(LINEAR, {**VIT})
    backbone = dict(cfg.model.backbone)
    assert backbone.pop("type") is TimmBackbone
    assert backbone.pop("model_kwargs") == dict(patch_size=4, embed_dim=64, depth=8, num_heads=2)
    assert backbone == dict(
        name="vit_tiny_patch16_224", img_size=32, output="class_token", frozen=True
    )
    assert cfg.model.head.in_channels == 64
    assert cfg.overrides == VIT
    assert build(cfg).extract_feat(torch.zeros(2, 3, 32, 32))[0].shape == (2, 64)


@pytest.mark.parametrize("config", [DETECTION, SEGMENTATION])
def test_plain_vit_keeps_the_adapter(config):
    cfg = load_config(config, VIT)
    # The last block of four is the last of eight.
    assert cfg.model.backbone.out_indices == [7, 7, 7, 7]
    maps = build(cfg).extract_feat(torch.zeros(1, 3, 32, 32))
    assert [m.shape[-1] for m in maps] == [16, 8, 4, 2]
    necks = cfg.model.neck if config is DETECTION else [cfg.model.neck]
    assert necks[0].type is FeaturePyramidAdapter and necks[0].embed_dim == 64


def test_maps_and_pooled_features_of_two_widths():
    """SAM's neck is narrower than its blocks, whose maps are taken."""
    cfg = load_config(DETECTION, SAM)
    assert cfg.model.neck[0].embed_dim == 32 and cfg.model.neck[1].in_channels == [32] * 4
    assert build(cfg).extract_feat(torch.zeros(1, 3, 32, 32))[0].shape == (1, 64, 16, 16)
    assert load_config(FINETUNE, SAM).model.head.in_channels == 16


def test_hierarchical_backbone_goes_straight_to_fpn():
    cfg = load_config(DETECTION, CONVNEXT)
    assert [neck.type.__name__ for neck in cfg.model.neck] == ["FPN"]
    assert cfg.model.neck[0].in_channels == [8, 16, 24, 40]
    assert cfg.model.rpn_head.anchor_generator.strides == [4, 8, 16, 32]
    assert cfg.model.roi_head.bbox_roi_extractor.featmap_strides == [4, 8, 16, 32]
    assert cfg.model.roi_head.mask_roi_extractor.featmap_strides == [4, 8, 16, 32]
    maps = build(cfg).extract_feat(torch.zeros(1, 3, 32, 32))
    assert [tuple(m.shape[1:]) for m in maps] == [(64, s, s) for s in (8, 4, 2, 1)]


def test_hierarchical_backbone_goes_straight_to_upernet():
    cfg = load_config(SEGMENTATION, CONVNEXT)
    assert "neck" not in cfg.model
    assert cfg.model.decode_head.in_channels == [8, 16, 24, 40]
    assert cfg.model.auxiliary_head.in_channels == 24  # its in_index is 2
    model = build(cfg)
    logits = model.decode_head(model.extract_feat(torch.zeros(1, 3, 32, 32)))
    assert logits.shape == (1, 11, 8, 8)


@pytest.mark.parametrize("name", ["linear_vit_base_ade20k", "patch_classifier_vit_base_imagenet_s"])
def test_linear_layers_on_patches_take_the_last_map(name):
    cfg = load_config(ROOT / f"configs/seg/{name}.py", CONVNEXT)
    assert cfg.model.decode_head.in_channels == 40
    model = build(cfg)
    images = torch.zeros(1, 3, 64, 64)
    assert model.decode_head(model.extract_feat(images)).shape[2:] == (2, 2)  # of stride 32


@pytest.mark.parametrize(
    "backbone",
    [
        {**CONVNEXT, "model.head.queries": 8},
        {"model.backbone.type": "mmpretrain.ResNet", "model.backbone.depth": 18},
    ],
    ids=["timm", "mmpretrain"],
)
def test_attentive_probe_of_another_backbone(backbone):
    model = build(load_config(ATTENTIVE, backbone))
    images = torch.zeros(2, 3, 32, 32)
    assert model.head(model.extract_feat(images)).shape == (2, 10)
    assert not any(p.requires_grad for p in model.backbone.parameters())


def test_attentive_probe_of_pooled_features_is_refused():
    pooled = {"model.backbone.type": "mmpretrain.ResNet", "model.backbone.output": "mean"}
    with pytest.raises(ValueError, match=r"gives \(1, 512\) where the head takes maps"):
        load_config(ATTENTIVE, {**pooled, "model.backbone.depth": 18})


def test_pyramid_of_other_patches_keeps_its_factors():
    """Patches of 14 where there were 4: x2, x1, /2, /4 as before."""
    changes = {**VIT, "model.backbone.model_kwargs.patch_size": 14}
    cfg = load_config(DETECTION, changes)
    assert cfg.model.neck[0].strides == [7, 14, 28, 56]
    assert cfg.model.rpn_head.anchor_generator.strides == [7, 14, 28, 56]
    # 50 pixels are padded to four patches.
    maps = build(cfg).extract_feat(torch.zeros(1, 3, 50, 50))
    assert [m.shape[-1] for m in maps] == [8, 4, 2, 1]


def test_taps_move_to_the_same_relative_depth_unless_given():
    blocks = {"model.backbone.out_indices": [0, 1, 2, 3]}
    assert load_config(SEGMENTATION, {**VIT, **blocks}).model.backbone.out_indices == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("config", "overrides", "message"),
    [
        (FINETUNE, {"model.backbone.type": "mae_bench.TimBackbone"}, "no class 'mae_bench.Tim"),
        (FINETUNE, {"model.backbone.type": "absent.Mine"}, "PYTHONPATH"),
        (FINETUNE, {**VIT, "model.backbone.arch": "tiny"}, "has no key 'arch'"),
        (FINETUNE, {**VIT, "model.backbone.nam": "x"}, "did you mean 'name'"),
    ],
)
def test_refused(config, overrides, message):
    with pytest.raises(ValueError, match=message):
        load_config(config, overrides)


def test_random_state_is_left_alone():
    before = torch.get_rng_state()
    load_config(FINETUNE, VIT)
    assert torch.equal(torch.get_rng_state(), before)


def test_class_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs/examples")
    monkeypatch.delitem(sys.modules, "my_backbone", raising=False)
    mine = {"model.backbone.type": "my_backbone.MyBackbone"}
    cfg = load_config(SEGMENTATION, mine)
    assert cfg.model.backbone.patch_size == 4  # the task's: its class takes it
    assert cfg.model.neck.embed_dim == 64
    assert build(cfg).extract_feat(torch.zeros(1, 3, 32, 32))[0].shape == (1, 64, 16, 16)


# The models of the other two come whole from timm and mmpretrain.
TRANSFER = sorted(
    path
    for task in ("cls", "det", "seg")
    for path in (ROOT / "configs" / task).glob("*.py")
    if path.stem not in ("timm_robustness_in1k", "mmpretrain_robustness_in1k")
)


@pytest.mark.slow
@pytest.mark.parametrize("config", TRANSFER, ids=lambda path: path.stem)
def test_plain_vit_in_every_shipped_config(config):
    cfg = load_config(config, {**TYPE, "model.backbone.name": "vit_tiny_patch16_224"})
    init_default_scope(cfg.default_scope)
    with torch.device("meta"):  # shapes without values
        model = MODELS.build(cfg.model)
    assert isinstance(model.backbone, TimmBackbone)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (LINEAR, "no class token"),
        (ROOT / "configs/det/vitdet_mask_rcnn_vit_base_coco.py", "plain ViT"),
    ],
)
def test_what_only_a_plain_vit_has_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        build(load_config(config, {**TYPE, "model.backbone.name": "resnet18"}))
