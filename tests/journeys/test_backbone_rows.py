"""A suite whose rows are backbones of four libraries: each number stands in its own row."""

import subprocess
import sys
from csv import DictReader
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors import safe_open

from mae_bench.datasets.miniworld.world import MiniWorldSize, build
from mae_bench.results.record import read_record

REPOSITORY = Path(__file__).resolve().parents[2]
SHORT = {
    "train_cfg.max_epochs": 1,
    "param_scheduler": [],
    "train_dataloader.batch_size": 4,
    "val_dataloader.batch_size": 4,
}
DENSE = {**SHORT, "train_dataloader.dataset.indices": 8}
BACKBONE = "model.backbone"
ROWS: dict[str, dict[str, Any]] = {
    "ViT": {},
    "ConvNeXt": {
        f"{BACKBONE}.type": "mmpretrain.ConvNeXt",
        f"{BACKBONE}.arch": {"depths": [1, 1, 1, 1], "channels": [8, 16, 24, 40]},
    },
    "MiT": {
        f"{BACKBONE}.type": "mmseg.MixVisionTransformer",
        f"{BACKBONE}.embed_dims": 8,
        "optim_wrapper.paramwise_cfg.layer_decay": 1.0,
    },
    "ResNet": {
        f"{BACKBONE}.type": "mmdet.ResNet",
        f"{BACKBONE}.depth": 18,
        f"{BACKBONE}.base_channels": 8,
        f"{BACKBONE}.layers": r"layer(\d+)\.(\d+)",
    },
    "Swin": {
        f"{BACKBONE}.type": "mae_bench.TimmBackbone",
        f"{BACKBONE}.name": "swin_tiny_patch4_window7_224",
        f"{BACKBONE}.model_kwargs": {
            "patch_size": 2,
            "window_size": 2,
            "embed_dim": 8,
            "depths": [1, 1, 1, 1],
            "num_heads": [1, 1, 2, 2],
        },
    },
}
# A tensor that only this row's backbone has.
STEMS = {
    "ViT": "blocks.3.attn.qkv.weight",
    "ConvNeXt": "downsample_layers.0.0.weight",
    "MiT": "layers.0.0.projection.weight",
    "ResNet": "layer4.1.bn2.weight",
    "Swin": "layers.3.downsample.reduction.weight",
}
METRICS = {
    "top-1": ("top-1 accuracy", "finetune", "accuracy/top1"),
    "box AP": ("box AP", "detection", "coco/bbox_mAP"),
    "mIoU": ("mean IoU", "segmentation", "mIoU"),
    "error": ("corruption error", "robustness", "imagenet_c/mean_error"),
}
SUITE = {
    "name": "Backbones",
    "heading": "backbone",
    "tasks": {
        "finetune": {
            "config": "configs/cls/vit_mini_finetune_miniworld.py",
            "overrides": {**SHORT, "train_dataloader.dataset.ann_file": "meta/train_10.txt"},
        },
        "detection": {
            "config": "configs/det/mask_rcnn_vit_mini_miniworld.py",
            "overrides": DENSE,
        },
        "segmentation": {
            "config": "configs/seg/upernet_vit_mini_miniworld.py",
            "overrides": DENSE,
        },
        "robustness": {
            "config": "configs/cls/vit_mini_robustness_miniworld.py",
            "test": "finetune",
        },
    },
    "columns": {
        name: {"quantity": quantity, "task": task, "metric": metric}
        for name, (quantity, task, metric) in METRICS.items()
    },
    "rows": {
        name: {"overrides": overrides} if overrides else {} for name, overrides in ROWS.items()
    },
}


def command(name: str, *arguments: str) -> str:
    line = [sys.executable, str(REPOSITORY / "tools" / f"{name}.py"), *arguments]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_rows_of_backbones_of_four_libraries(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    Path("configs").symlink_to(REPOSITORY / "configs")
    Path("tools").symlink_to(REPOSITORY / "tools")
    size = MiniWorldSize(20, 10, 10, train_lists=(10,), train_scenes=10, val_scenes=4)
    build(Path("data/miniworld"), processes=1, size=size)
    Path("suite.yaml").write_text(yaml.safe_dump(SUITE, sort_keys=False))
    command("run_suite", "suite.yaml", "--work-dir", "work")
    lines = list(DictReader(command("report", "work", "--format", "csv").splitlines()))
    assert [(line["row"], line["column"]) for line in lines] == [
        (row, column) for row in ROWS for column in METRICS
    ]
    for line in lines:
        run = Path("work", line["runs"])
        record = read_record(run / "record.json")
        _, task, metric = METRICS[line["column"]]
        assert f"/{task}" in line["runs"] and line["seeds"] == "1"
        assert float(line["measured"]) == record.metrics[metric]
        # what stands in the row was measured with its backbone
        for key, value in ROWS[line["row"]].items():
            if key.startswith(BACKBONE) or task != "robustness":  # which has no optimizer
                assert record.overrides[key] == value
        weights = Path(record.checkpoint["file"]) if task == "robustness" else None
        with safe_open(weights or run / "checkpoint.safetensors", "pt") as file:
            names = set(file.keys())
        assert [row for row, name in STEMS.items() if name in names] == [line["row"]]
