"""Classification from an exported checkpoint to the record, two steps each, on tiny data."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import load_file

from mae_bench.checkpoint.format import CheckpointMetadata
from mae_bench.checkpoint.whole_model import export_model
from mae_bench.config.load import load_config
from mae_bench.models import VisionTransformer
from mae_bench.results.record import Record, read_record
from mae_bench.training.hooks.saving import load_checkpoint_file
from mae_bench.training.runner import TrainRunner
from mae_bench.training.start import find_start

from ..datasets.official_lists import (
    CLASSES,
    write_inaturalist,
    write_places205,
    write_places365,
)
from ..recipes import load_recipe
from ..shrink import PATCH, SIDE, SMALLER_KEYS, shrink
from .conftest import FEW_LABELS, ROOT, SHRINK

CONFIGS = ROOT / "configs/cls"
MINI = CONFIGS / "vit_mini_finetune_miniworld.py"
MINI_ARCH = dict(embed_dim=96, depth=4, num_heads=4)


def export(path: Path, arch: dict[str, int]) -> None:
    """An encoder as pre-training leaves it: all tokens after the final norm."""
    architecture = dict(arch=arch, img_size=SIDE, patch_size=PATCH)
    torch.manual_seed(5)
    model = torch.nn.Module()
    model.backbone = VisionTransformer(**architecture, output="tokens")
    metadata = CheckpointMetadata(
        architecture=architecture,
        img_size=SIDE,
        patch_size=PATCH,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        method="mae",
        data="noise",
    )
    export_model(model, path, metadata)


def changed_tensors(before: str, after: str) -> set[str]:
    old, new = load_file(before), load_file(after)
    return {name for name in old if name in new and not torch.equal(old[name], new[name])}


LAST_MLP = {"blocks.3.mlp.fc1.weight", "blocks.3.mlp.fc2.weight", "blocks.3.norm2.weight"}


@pytest.mark.parametrize("blocks", [0, 0.5, 1, 4])
def test_partial_fine_tuning(run_tool, blocks):
    export(Path("mae.safetensors"), MINI_ARCH)
    options = [*SHRINK, *FEW_LABELS, f"model.backbone.trainable_blocks={blocks}"]
    command = ["--work-dir", "work", "--checkpoint", "mae.safetensors", "--cfg-options"]
    ended = run_tool("train.py", MINI, *command, *options)
    assert ended.code == 0, ended.stderr
    record = read_record("work/record.json")
    assert record.status == "completed" and "accuracy/top1" in record.metrics
    assert record.run_card["iterations"] == 2
    assert record.overrides["model.backbone.trainable_blocks"] == blocks

    changed = changed_tensors("mae.safetensors", "work/checkpoint.safetensors")
    blocks_changed = {name.split(".")[1] for name in changed if name.startswith("blocks.")}
    if blocks == 0:
        assert changed == set()
    elif blocks == 0.5:
        assert changed >= LAST_MLP
        assert not any("attn" in name or "norm1" in name for name in changed)
        assert blocks_changed == {"3"}
    elif blocks == 1:
        assert blocks_changed == {"3"} and "blocks.3.attn.qkv.weight" in changed
        assert not any(name.startswith("patch_embed") for name in changed)
    else:
        assert blocks_changed == {"0", "1", "2", "3"}
        assert {"cls_token", "pos_embed", "patch_embed.proj.weight"} <= changed


def train(cfg: Config, checkpoint: str | None) -> Record:
    """Two steps of a real config at reduced size; its record."""
    for part in ("model", "train_dataloader", "val_dataloader"):
        shrink(cfg[part])
    cfg.work_dir = "work"
    cfg.total_batch_size = None
    cfg.train_dataloader.dataset.indices = 4
    cfg.train_cfg.max_epochs = 1
    cfg.param_scheduler[0].update(warmup=0.5)
    runner = TrainRunner.from_cfg(cfg, find_start(cfg, checkpoint))
    runner.train()
    record = read_record("work/record.json")
    assert record.status == "completed"
    assert {"accuracy/top1", "accuracy/top5"} <= set(record.metrics)
    assert record.run_card["iterations"] == 2
    tensors = load_file("work/checkpoint.safetensors")
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    return record


@pytest.fixture
def imagenet(workplace) -> Path:
    """MiniWorld where the configs look for ImageNet, and a checkpoint of the reduced size."""
    Path("data/imagenet").symlink_to(Path("data/miniworld/imagenet").resolve())
    export(Path("mae.safetensors"), SMALLER_KEYS["arch"])
    return workplace


@pytest.mark.parametrize(
    "name",
    [
        "vit_base_finetune_in1k",
        pytest.param("vit_large_finetune_table9_in1k", marks=pytest.mark.slow),
        pytest.param("vit_huge_448_finetune_in1k", marks=pytest.mark.slow),
        "vit_base_linear_in1k",
        pytest.param("vit_large_linear_sgd_in1k", marks=pytest.mark.slow),
    ],
)
def test_recipe_on_imagenet(name, imagenet):
    record = train(load_recipe(f"cls/{name}"), "mae.safetensors")
    assert "blocks.0.norm1.weight" in record.checkpoint["report"]["loaded"]
    changed = changed_tensors("mae.safetensors", "work/checkpoint.safetensors")
    assert ("blocks.1.attn.qkv.weight" in changed) == ("linear" not in name)


@pytest.mark.parametrize("blocks", [0.5, 1, 2])
def test_partial_recipe_on_imagenet(blocks, imagenet):
    cfg = load_config(CONFIGS / "vit_large_partial_in1k.py")
    cfg.model.backbone.trainable_blocks = blocks
    train(cfg, "mae.safetensors")
    changed = changed_tensors("mae.safetensors", "work/checkpoint.safetensors")
    assert "blocks.1.mlp.fc1.weight" in changed
    assert ("blocks.1.attn.qkv.weight" in changed) == (blocks > 0.5)
    assert ("blocks.0.attn.qkv.weight" in changed) == (blocks == 2)


def test_scratch_with_moving_average(imagenet):
    cfg = load_config(CONFIGS / "vit_base_scratch_in1k.py")
    cfg.auto_scale_lr.enable = False  # of a batch of two the peak would be below min_lr
    record = train(cfg, None)
    assert "accuracy/top1_without_ema" in record.metrics
    plain = load_checkpoint_file("work/epoch_1.pth")["ema_state_dict"]
    exported = load_file("work/checkpoint.safetensors")
    # MMEngine's checkpoint keeps the plain weights under this name, ours is of the average.
    moved = plain["module.backbone.blocks.0.mlp.fc1.weight"]
    assert not torch.equal(moved, exported["blocks.0.mlp.fc1.weight"])


@pytest.mark.parametrize(
    ("name", "write", "folder", "classes"),
    [
        ("vit_base_finetune_inat2018", write_inaturalist, "inat2018", CLASSES),
        ("vit_base_finetune_places205", write_places205, "places205", 205),
        ("vit_base_finetune_places365", write_places365, "places365", CLASSES),
    ],
)
def test_transfer_recipe(name, write, folder, classes, imagenet):
    write(Path("data", folder))
    cfg = load_config(CONFIGS / f"{name}.py")
    for part in (cfg.model.head, cfg.model.data_preprocessor):
        part.num_classes = classes
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.num_classes = classes
    record = train(cfg, "mae.safetensors")
    assert record.data_counts["train"] == 4
    assert record.data_counts["val"] == (6 if folder == "places365" else 12)
