"""Small data sets in the official formats of iNaturalist and Places."""

import json
import random
from pathlib import Path

import torch
from torchvision.io import write_jpeg

CLASSES = 6  # top-5 accuracy needs that many


def write_image(path: Path) -> None:
    """A picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_jpeg(torch.randint(0, 256, (3, 40, 48), dtype=torch.uint8), str(path))


def inaturalist_tables(split: str, count: int = 12) -> tuple[dict, dict[str, int]]:
    """What the JSON of a split holds, its entries shuffled, and label by file name."""
    categories = [{"id": i, "name": f"{i:04}", "genus": "x"} for i in range(CLASSES)]
    images, annotations, labels = [], [], {}
    for i in range(count):
        label = (5 * i + 1) % CLASSES
        name = f"train_val2018/Aves/{label}/{split}{i}.jpg"
        number = 7000 - 13 * i
        images.append({"id": number, "file_name": name, "width": 48, "height": 40})
        annotations.append({"id": 90 + i, "image_id": number, "category_id": label})
        labels[name] = label
    for rows in (images, annotations, categories):
        random.Random(3).shuffle(rows)
    return dict(images=images, annotations=annotations, categories=categories), labels


def write_inaturalist(root: Path) -> dict[str, int]:
    """A root with ``train2018.json`` and ``val2018.json``; labels of the training images."""
    found = {}
    for split in ("train", "val"):
        tables, labels = inaturalist_tables(split)
        for name in labels:
            write_image(root / name)
        (root / f"{split}2018.json").write_text(json.dumps(tables))
        found[split] = labels
    return found["train"]


def write_places365(root: Path) -> dict[str, int]:
    """A root with its lists; labels of the training images."""
    categories = [f"/{name[0]}/{name}" for name in ("bar", "attic", "cave", "dam", "den", "gym")]
    labels = {f"{categories[i % CLASSES]}/{i:08}.jpg": i % CLASSES for i in range(12)}
    val = {f"Places365_val_{i:08}.jpg": (i + 2) % CLASSES for i in range(6)}
    for name in labels:
        write_image(root / "data_256" / name.lstrip("/"))
    for name in val:
        write_image(root / "val_256" / name)
    for file, table in (
        ("categories_places365.txt", {name: i for i, name in enumerate(categories)}),
        ("places365_train_standard.txt", labels),
        ("places365_val.txt", val),
    ):
        lines = [f"{name} {label}\n" for name, label in table.items()]
        random.Random(3).shuffle(lines)
        (root / file).write_text("".join(lines))
    return labels


def write_places205(root: Path) -> dict[str, int]:
    """A root with its lists; labels of the training images."""
    folder = root / "trainvalsplit_places205"
    folder.mkdir(parents=True)
    for split in ("train", "val"):
        labels = {f"a/abbey/{split}_{i:03}.jpg": (17 * i) % 205 for i in range(12)}
        for name in labels:
            write_image(root / "data/vision/torralba/deeplearning/images256" / name)
        lines = "".join(f"{name} {label}\n" for name, label in labels.items())
        (folder / f"{split}_places205.csv").write_text(lines)
    return {f"a/abbey/train_{i:03}.jpg": (17 * i) % 205 for i in range(12)}
