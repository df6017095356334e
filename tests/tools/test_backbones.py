"""Backbones by config: a class outside the package and models of timm, in every task."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mae_bench.models import TimmBackbone
from mae_bench.results.record import read_record

from .conftest import FEW_LABELS, ROOT, SHRINK

EXAMPLE = ROOT / "docs/examples/my_backbone.py"
FINETUNE = ROOT / "configs/cls/vit_mini_finetune_miniworld.py"
LINEAR = ROOT / "configs/cls/vit_mini_linear_miniworld.py"
ROBUSTNESS = ROOT / "configs/cls/vit_mini_robustness_miniworld.py"
DETECTION = ROOT / "configs/det/mask_rcnn_vit_mini_miniworld.py"
SEGMENTATION = ROOT / "configs/seg/upernet_vit_mini_miniworld.py"
METRICS = {
    FINETUNE: "accuracy/top1",
    LINEAR: "accuracy/top1",
    DETECTION: "coco/bbox_mAP",
    SEGMENTATION: "mIoU",
}
MINE = ["model.backbone.type=my_backbone.MyBackbone"]
TIMM = "model.backbone.type=mae_bench.TimmBackbone"
VIT = [
    TIMM,
    "model.backbone.name=vit_small_patch14_reg4_dinov2",
    "model.backbone.model_kwargs.patch_size=4",
    "model.backbone.model_kwargs.embed_dim=32",
    "model.backbone.model_kwargs.depth=2",
    "model.backbone.model_kwargs.num_heads=2",
]
SWIN = [
    TIMM,
    "model.backbone.name=swin_tiny_patch4_window7_224",
    "model.backbone.model_kwargs.patch_size=2",
    "model.backbone.model_kwargs.window_size=2",
    "model.backbone.model_kwargs.embed_dim=8",
    "model.backbone.model_kwargs.depths=[1,1,1,1]",
    "model.backbone.model_kwargs.num_heads=[1,1,2,2]",
]
ROPE = [
    TIMM,
    "model.backbone.name=eva02_tiny_patch14_224",
    "model.backbone.model_kwargs.patch_size=4",
    "model.backbone.model_kwargs.embed_dim=32",
    "model.backbone.model_kwargs.depth=2",
    "model.backbone.model_kwargs.num_heads=2",
]
PATCHES_OF_8 = [
    *ROPE[:1],
    "model.backbone.name=vit_tiny_patch16_224",
    "model.backbone.model_kwargs.patch_size=8",
    *ROPE[3:],
]
CONVNEXT = [
    TIMM,
    "model.backbone.name=convnext_tiny",
    "model.backbone.model_kwargs.patch_size=2",  # MiniWorld's pictures are small
    "model.backbone.model_kwargs.depths=[1,1,1,1]",
    "model.backbone.model_kwargs.dims=[8,16,24,40]",
]
SAM = [
    TIMM,
    "model.backbone.name=samvit_base_patch16",
    *ROPE[2:],
    "model.backbone.model_kwargs.neck_chans=16",
    "model.backbone.model_kwargs.global_attn_indexes=[1]",
]
RESNET = [
    TIMM,
    "model.backbone.name=resnet18",
    "model.backbone.model_kwargs.channels=[8,16,24,40]",
]
HOST_CONVNEXT = [
    "model.backbone.type=mmpretrain.ConvNeXt",
    "model.backbone.arch.depths=[1,1,1,1]",
    "model.backbone.arch.channels=[8,16,24,40]",
]
HOST_MIT = [
    "model.backbone.type=mmseg.MixVisionTransformer",
    "model.backbone.embed_dims=8",
    "optim_wrapper.paramwise_cfg.layer_decay=1.0",
]
MEAN = "model.backbone.output=mean"


def small(config: Path) -> list[str]:
    return [*SHRINK, *FEW_LABELS] if config in (FINETUNE, LINEAR) else SHRINK


def train(run_tool, config: Path, work_dir: str, options: list[str], *arguments: str) -> dict:
    ended = run_tool(
        "train.py",
        config,
        "--work-dir",
        work_dir,
        *arguments,
        "--cfg-options",
        *small(config),
        *options,
    )
    assert ended.code == 0, ended.stderr
    record = read_record(Path(work_dir, "record.json"))
    assert METRICS[config] in record.metrics
    return json.loads(Path(work_dir, "record.json").read_text())


@pytest.fixture
def my_folder(tmp_path_factory, monkeypatch) -> Path:
    """A folder outside the package with the example of the docs in it, as PYTHONPATH has it."""
    folder = tmp_path_factory.mktemp("mine")
    shutil.copy(EXAMPLE, folder)
    monkeypatch.syspath_prepend(folder)
    return folder


def test_class_outside_the_package_in_every_task(run_tool, my_folder):
    train(run_tool, FINETUNE, "fine", MINE)
    checkpoint = "fine/checkpoint.safetensors"
    assert "blocks.3.weight" in load_file(checkpoint)
    out = ["--out", "robust/record.json", "--work-dir", "robust"]
    ended = run_tool("test.py", ROBUSTNESS, checkpoint, *out, "--cfg-options", *MINE)
    assert ended.code == 0, ended.stderr
    assert read_record("robust/record.json").metrics
    for config, options in ((LINEAR, [MEAN]), (DETECTION, []), (SEGMENTATION, [])):
        name = config.parent.name
        record = train(run_tool, config, name, [*MINE, *options], "--checkpoint", checkpoint)
        report = record["checkpoint"]["report"]
        assert report["share"] == 1.0 and "blocks.3.weight" in report["loaded"]
        assert any(key.startswith("head.") for key in report["dropped"])


def test_class_outside_the_package_in_a_config_outside_it(run_tool, my_folder):
    (my_folder / "configs").symlink_to(ROOT / "configs")
    config = my_folder / "mine.py"
    config.write_text(
        "from mmengine.config import read_base\n\n"
        "from my_backbone import MyBackbone\n\n"
        "with read_base():\n"
        "    from .configs.cls.vit_mini_finetune_miniworld import *\n\n"
        'model["backbone"] = dict(type=MyBackbone, patch_size=4, embed_dim=48, output="mean")\n'
        'model["head"].update(in_channels=48)\n'
    )
    METRICS[config] = "accuracy/top1"
    train(run_tool, config, "work", FEW_LABELS)
    assert load_file("work/checkpoint.safetensors")["stem.weight"].shape == (48, 3, 4, 4)


@pytest.mark.parametrize("options", [VIT, SWIN], ids=["plain", "hierarchical"])
@pytest.mark.parametrize("config", METRICS, ids=lambda path: path.parent.name)
def test_timm_model_in_every_task(run_tool, config, options):
    if config is LINEAR and options is SWIN:
        options = [*options, MEAN]
    record = train(run_tool, config, "work", options)
    assert record["run_card"]["iterations"] == 2
    width = 32 if VIT[1] in options else 8
    tensors = load_file("work/checkpoint.safetensors")
    assert tensors["patch_embed.proj.weight"].shape[0] == width


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "stem"),
    [
        (ROPE, "patch_embed.proj.weight"),
        (PATCHES_OF_8, "patch_embed.proj.weight"),
        (CONVNEXT, "stem.0.weight"),
        (RESNET, "conv1.weight"),
        (SAM, "patch_embed.proj.weight"),
    ],
    ids=["rotary", "patches of 8", "convnext", "resnet", "segment anything"],
)
@pytest.mark.parametrize("config", [FINETUNE, DETECTION, SEGMENTATION], ids=lambda p: p.parent.name)
def test_other_families_of_timm_in_every_task(run_tool, config, options, stem):
    record = train(run_tool, config, "work", options)
    assert record["run_card"]["iterations"] == 2
    # What it leaves behind starts another run of the same backbone.
    exported = load_file("work/checkpoint.safetensors")
    assert stem in exported
    record = train(
        run_tool, config, "again", options, "--checkpoint", "work/checkpoint.safetensors"
    )
    assert record["checkpoint"]["report"]["share"] == 1.0
    assert "tensors loaded (100.0% of" in record["run_card"]["checkpoint"]


def test_timm_weights_start_a_task_and_are_reported(run_tool):
    kwargs = dict(patch_size=4, embed_dim=32, depth=2, num_heads=2)
    source = TimmBackbone("vit_small_patch14_reg4_dinov2", 64, "tokens", model_kwargs=kwargs)
    save_file({**source.state_dict(), "head.weight": torch.ones(3, 32)}, "timm.safetensors")
    record = train(run_tool, SEGMENTATION, "work", VIT, "--checkpoint", "timm.safetensors")
    report = record["checkpoint"]["report"]
    assert report["share"] == 1.0 and report["initialised"] == []
    assert [entry["name"] for entry in report["resized"]] == ["pos_embed"]
    assert set(report["dropped"]) == {"norm.weight", "norm.bias", "head.fc.weight"}


@pytest.mark.slow
def test_class_of_mmpretrain_from_classification_to_detection(run_tool):
    """What one task leaves, and a file of mmpretrain's own, start another."""
    train(run_tool, FINETUNE, "fine", HOST_CONVNEXT)
    exported = load_file("fine/checkpoint.safetensors")
    assert exported["downsample_layers.0.0.weight"].shape == (8, 3, 4, 4)
    state = {f"backbone.{k}": v for k, v in exported.items() if not k.startswith("head.")}
    torch.save({"state_dict": state, "meta": {}}, "theirs.pth")
    for checkpoint in ("fine/checkpoint.safetensors", "theirs.pth"):
        name = Path(checkpoint).stem
        record = train(run_tool, DETECTION, name, HOST_CONVNEXT, "--checkpoint", checkpoint)
        report = record["checkpoint"]["report"]
        assert "downsample_layers.0.0.weight" in report["loaded"]
        assert record["checkpoint"]["report"]["resized"] == []


@pytest.mark.slow
@pytest.mark.parametrize("config", METRICS, ids=lambda path: path.parent.name)
def test_class_of_mmsegmentation_in_every_task(run_tool, config):
    options = [*HOST_MIT, MEAN] if config is LINEAR else HOST_MIT
    record = train(run_tool, config, "work", options)
    assert record["run_card"]["iterations"] == 2


def test_a_class_without_layers_is_told_to_do_without_layer_decay(run_tool):
    ended = run_tool("train.py", SEGMENTATION, "--cfg-options", *SHRINK, *HOST_MIT[:2])
    assert ended.code == 2
    message = "mmseg.MixVisionTransformer does not number its layers: set layer_decay to 1"
    assert message in ended.stderr
