"""A small COCO set and what a detector finds on it, for metrics of either kind."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask as rle

SIDE = 200
NAMES = ("cat", "dog", "emu")
IDS = (3, 7, 9)


def encode(box: list[float]) -> dict[str, Any]:
    """The pixels of a box (x, y, w, h) as a compressed mask."""
    x, y, w, h = (round(max(value, 0)) for value in box)
    pixels = np.zeros((SIDE, SIDE), np.uint8, order="F")
    pixels[y : y + h, x : x + w] = 1
    encoded = rle.encode(pixels)
    return dict(size=encoded["size"], counts=encoded["counts"].decode())


def make(seed: int = 0) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Annotations, and the data samples of a detector that finds most of them and 130 others."""
    generator = np.random.default_rng(seed)
    images = [dict(id=i, width=SIDE, height=SIDE, file_name=f"{i}.jpg") for i in range(1, 7)]
    annotations: list[dict[str, Any]] = []
    samples = []
    for image in images:
        boxes, labels, objects = [], [], []
        for _ in range(int(generator.integers(2, 7)) if image["id"] < 6 else 0):
            w, h = (int(side) for side in generator.integers(4, 150, 2))
            x, y = (int(generator.integers(0, SIDE - side)) for side in (w, h))
            label = int(generator.integers(3))
            objects.append((label, [x, y, w, h]))
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image["id"],
                    category_id=IDS[label],
                    bbox=[x, y, w, h],
                    area=w * h,
                    segmentation=encode([x, y, w, h]),
                    iscrowd=0,
                )
            )
            for _ in range(int(generator.integers(0, 4))):
                moved = np.array([x, y, w, h]) + generator.normal(0, 0.06 * w, 4)
                boxes.append([*moved[:2], *np.maximum(moved[2:], 1)])
                labels.append(label)
        if image["id"] == 1:  # more than 100
            for _ in range(130):
                boxes.append([*generator.uniform(0, 100, 2), *generator.uniform(2, 90, 2)])
                labels.append(0)
        xywh = np.array(boxes, dtype=np.float32).reshape(-1, 4)
        samples.append(
            dict(
                img_id=image["id"],
                ori_shape=(SIDE, SIDE),
                instances=[
                    dict(
                        bbox=[x, y, x + w, y + h],
                        bbox_label=label,
                        ignore_flag=0,
                        mask=encode([x, y, w, h]),
                    )
                    for label, (x, y, w, h) in objects
                ],
                pred_instances=dict(
                    bboxes=torch.from_numpy(
                        np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
                    ),
                    scores=torch.from_numpy(generator.random(len(boxes))),
                    labels=torch.tensor(labels, dtype=torch.long),
                    masks=[encode(list(box)) for box in xywh],
                ),
            )
        )
    categories = [dict(id=i, name=name) for i, name in zip(IDS, NAMES, strict=True)]
    return dict(images=images, annotations=annotations, categories=categories), samples


def write(folder: Path, tables: dict[str, Any]) -> str:
    """Write annotations, and return the file."""
    file = folder / "truth.json"
    file.write_text(json.dumps(tables))
    return str(file)
