"""Predictions as files that other programs read."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from ..datasets.masks import VOID
from ..files import write_atomic, write_json_atomic
from ..text import csv_value
from ..visualize.predictions import colour_of

TOP = 5


class ClassTable:
    """``predictions.csv``: image, then the best classes and their scores."""

    def __init__(self, folder: Path, meta: Mapping[str, Any]) -> None:
        self.path = folder / "predictions.csv"
        self.classes = meta["classes"]
        count = min(TOP, len(self.classes))
        columns = [f"{what}{i}" for i in range(1, count + 1) for what in ("class", "score")]
        self.rows: list[list[Any]] = [["image", *columns]]

    def add(self, number: int, name: str, sample: Any) -> None:
        """Note one image."""
        best = sample.pred_score.topk(min(TOP, len(self.classes)))
        row: list[Any] = [name]
        for score, label in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            row += [self.classes[label], f"{score:.6f}"]
        self.rows.append(row)

    def save(self) -> Path:
        """Write the file."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(map(csv_value, row) for row in self.rows)
        write_atomic(text.getvalue().encode(), self.path)
        return self.path


class Detections:
    """``detections.json`` in COCO's result format, and ``images.json``, which its ids refer to."""

    def __init__(self, folder: Path, meta: Mapping[str, Any]) -> None:
        self.folder = folder
        self.images: list[dict[str, Any]] = []
        self.found: list[dict[str, Any]] = []
        self.categories = [{"id": i, "name": name} for i, name in enumerate(meta["classes"], 1)]

    def add(self, number: int, name: str, sample: Any) -> None:
        """Note the objects of one image; ``number`` is its id."""
        height, width = sample.ori_shape
        self.images.append({"id": number, "file_name": name, "width": width, "height": height})
        objects = sample.pred_instances
        masks = objects.get("masks")
        boxes = getattr(objects.bboxes, "tensor", objects.bboxes).tolist()
        for i, (box, label) in enumerate(zip(boxes, objects.labels.tolist(), strict=True)):
            left, top, right, bottom = box
            entry = {
                "image_id": number,
                "category_id": label + 1,
                "bbox": [left, top, right - left, bottom - top],
                "score": float(objects.scores[i]),
            }
            if masks is not None:
                entry["segmentation"] = _encode(np.asarray(masks[i]))
            self.found.append(entry)

    def save(self) -> Path:
        """Write both files."""
        tables = {"images": self.images, "categories": self.categories}
        write_json_atomic(tables, self.folder / "images.json")
        path = self.folder / "detections.json"
        write_atomic(json.dumps(self.found).encode(), path)
        return path


def _encode(mask: np.ndarray) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode()}


class Masks:
    """``masks/<name>.png`` with the labels as the training masks have them, and ``classes.txt``."""

    def __init__(self, folder: Path, meta: Mapping[str, Any]) -> None:
        self.folder = folder
        self.classes = meta["classes"]
        self.first = int(bool(meta.get("reduce_zero_label")))
        palette = np.zeros((256, 3), np.uint8)
        for label in range(len(self.classes)):
            palette[label + self.first] = colour_of(meta, label)[::-1]
        palette[VOID] = 255
        self.palette = palette.ravel().tolist()

    def add(self, number: int, name: str, sample: Any) -> None:
        """Write the mask of one image."""
        labels = sample.pred_sem_seg.data.squeeze(0).numpy().astype(np.uint8)
        image = Image.fromarray(labels + self.first)
        image.putpalette(self.palette)
        content = io.BytesIO()
        image.save(content, "PNG")
        write_atomic(content.getvalue(), self.folder / "masks" / Path(name).with_suffix(".png"))

    def save(self) -> Path:
        """Write the names of the labels."""
        lines = [f"{i} {name}\n" for i, name in enumerate(self.classes, self.first)]
        write_atomic("".join(lines).encode(), self.folder / "classes.txt")
        return self.folder / "masks"


class Writer(Protocol):
    """What gathers predictions and writes them."""

    def __init__(self, folder: Path, meta: Mapping[str, Any]) -> None: ...

    def add(self, number: int, name: str, sample: Any) -> None:
        """Note one image; numbers start at 1."""

    def save(self) -> Path:
        """Write what was gathered; the file or folder to look at."""


WRITERS: dict[str, type[Writer]] = {"mmpretrain": ClassTable, "mmdet": Detections, "mmseg": Masks}
