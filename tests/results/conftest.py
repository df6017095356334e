"""Records and a finished work dir, made by hand."""

import copy
import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mae_bench.results.record import Record, write_record
from mae_bench.results.table_file import load_suite, write_suite

RECORD = Record(
    task="finetune",
    initialisation="MAE",
    metrics={"accuracy/top1": 61.5},
    config_file="configs/cls/a.py",
    config_sha256="ab" * 32,
    overrides={"randomness.seed": 0},
    seed=0,
    checkpoint={
        "file": "w.safetensors",
        "sha256": "cd" * 32,
        "report": {"loaded": 50},
        "metadata": {"method": "mae", "data": "imagenet-1k", "epochs": 1600},
    },
    run_card={"effective_batch": 64, "iterations": 100},
    data_counts={"train": 640},
    versions={"torch": "2.0"},
    git_revision=None,
    device="cpu <16 cores>",
    started="2024-01-01T10:00:00+00:00",
    finished="2024-01-01T10:01:05+00:00",
    duration_seconds=65.0,
    peak_memory_mib=512.5,
)


def png() -> bytes:
    """The smallest picture: one grey pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + chunk(b"IDAT", zlib.compress(b"\0\x80"))
        + chunk(b"IEND", b"")
    )


@pytest.fixture
def record() -> Record:
    """A record with every field filled."""
    return RECORD


@pytest.fixture
def coco_run(record) -> Callable[..., Record]:
    """A COCO run of the published recipe of ViT-B from MAE; the arguments replace fields."""

    def make(box: float, mask: float = 0.449, row: str = "MAE", **changes: object) -> Record:
        card = {"iterations": 184_375, "effective_batch": 64, "trained_blocks": 12.0}
        columns = ("APbox ViT-B", "APmask ViT-B")
        fields = {
            "task": "mask_rcnn",
            "metrics": {"coco/bbox_mAP": box, "coco/segm_mAP": mask},
            "config_file": "configs/det/b.py",
            "checkpoint": copy.deepcopy(RECORD.checkpoint),
            "run_card": card,
            "data_counts": {"train": 117_266, "val": 5_000},
            "model": {
                "backbone": "VisionTransformer",
                "embed_dim": 768,
                "num_layers": 12,
                "patch_size": 16,
                "img_size": 1024,
                "classes": 80,
            },
            "cells": [dict(table="Table 4", row=row, column=column) for column in columns],
        }
        return replace(record, **(fields | changes))

    return make


SUITE = """
name: A <small> suite
heading: initialisation
baseline: random
tasks:
  finetune: {config: fine.py}
  detection: {config: det.py}
columns:
  top-1: {quantity: top-1 accuracy, task: finetune, metric: accuracy/top1}
  box AP: {quantity: box AP, task: detection, metric: coco/bbox_mAP, scale: 100}
rows:
  random: {}
  MAE: {start: {pretrain: pre.py}}
"""


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    """A finished suite: pre-training, fine-tuning and detection, of MAE and of random."""
    (tmp_path / "suite.yaml").write_text(SUITE)
    write_suite(load_suite(tmp_path / "suite.yaml"), tmp_path)

    def job(name: str, metrics: dict[str, float]) -> Path:
        seed, initialisation, task = name.split("/")
        folder = tmp_path / name
        column = {"finetune": "top-1", "detection": "box AP"}.get(task)
        claim = dict(table="A <small> suite", row=initialisation, column=column)
        changed = replace(
            RECORD,
            task=task,
            initialisation=initialisation,
            metrics=metrics,
            seed=int(seed.removeprefix("seed")),
            checkpoint=RECORD.checkpoint
            if initialisation == "MAE" and task != "pretrain"
            else None,
            cells=[claim] if column else [],
        )
        write_record(changed, folder / "record.json")
        (folder / "job.json").write_text("{}")
        return folder

    def scalars(folder: Path, lines: list[dict], start: str = "20240101_100000") -> Path:
        path = folder / start / "vis_data" / "scalars.json"
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path.parent

    def train(step: int, loss: float) -> dict:
        return {"lr": 0.1, "loss": loss, "epoch": 1, "iter": step, "step": step}

    pretrain = job("seed0/MAE/pretrain", {"loss": 0.4})
    scalars(pretrain, [train(1, 1.0), train(2, 0.4)])
    (pretrain / "reconstructions.png").write_bytes(png())
    for initialisation, top1, box in (("random", 50.0, 0.1), ("MAE", 61.5, 0.25)):
        folder = job(f"seed0/{initialisation}/finetune", {"accuracy/top1": top1})
        scalars(folder, [train(1, 2.0), train(2, 1.5), {"accuracy/top1": top1, "step": 1}])
        folder = job(f"seed0/{initialisation}/detection", {"coco/bbox_mAP": box})
        pictures = scalars(folder, [train(1, 3.0), {"coco/bbox_mAP": box, "step": 1}]) / "vis_image"
        pictures.mkdir()
        # drawn in the middle of training, and at its end after 100 iterations
        for name in ("val_img_53.png", "val_img_100.png", "val_img_103.png"):
            (pictures / name).write_bytes(png())
    return tmp_path
