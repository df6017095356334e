"""Small right data sets of all three tasks, to be made odd; no files of others."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

COLOURS = {"cat": (220, 40, 40), "dog": (40, 200, 60), "bird": (50, 80, 230)}
NAMES = tuple(COLOURS)
IDS = {"cat": 7, "dog": 30, "bird": 90}
WIDTH, HEIGHT, SIDE = 48, 40, 14


def scene(index: int, width: int = WIDTH, height: int = HEIGHT) -> tuple[np.ndarray, list]:
    """A noisy grey image (H, W, 3) with two squares; and (name, left, top) of each."""
    rng = np.random.default_rng(index)
    image = rng.integers(90, 130, (height, width, 3), dtype=np.uint8)
    places = [(2, height - SIDE - 3), (width - SIDE - 4, 1)]
    objects = []
    for i, (left, top) in enumerate(places):
        name = NAMES[(index + i) % len(NAMES)]
        image[top : top + SIDE, left : left + SIDE] = COLOURS[name]
        objects.append((name, left, top))
    return image, objects


def box_polygon(left: float, top: float, width: float, height: float) -> list[list[float]]:
    right, bottom = left + width, top + height
    return [[left, top, right, top, right, bottom, left, bottom]]


class CocoFolder:
    """``annotations/{train,val}.json``, images in ``train`` and ``val``: changed, then saved."""

    def __init__(self, root: Path, train: int = 6, val: int = 4, suffix: str = ".png") -> None:
        self.root = root
        self.suffix = suffix
        self.train = self._split("train", 0, train)
        self.val = self._split("val", 100, val)

    def _split(self, split: str, first: int, count: int) -> dict[str, Any]:
        (self.root / split).mkdir(parents=True)
        images, annotations = [], []
        for index in range(first, first + count):
            pixels, objects = scene(index)
            name = f"{index}{self.suffix}"
            Image.fromarray(pixels).save(self.root / split / name)
            images.append(dict(id=index + 1, file_name=name, width=WIDTH, height=HEIGHT))
            for kind, left, top in objects:
                annotations.append(
                    dict(
                        id=1 + len(annotations),
                        image_id=index + 1,
                        category_id=IDS[kind],
                        bbox=[left, top, SIDE, SIDE],
                        area=SIDE * SIDE,
                        segmentation=box_polygon(left, top, SIDE, SIDE),
                        iscrowd=0,
                    )
                )
        categories = [dict(id=IDS[name], name=name) for name in NAMES]
        return dict(images=images, annotations=annotations, categories=categories)

    def save(self) -> Path:
        (self.root / "annotations").mkdir(exist_ok=True)
        for split in ("train", "val"):
            text = json.dumps(getattr(self, split))
            (self.root / f"annotations/{split}.json").write_text(text)
        return self.root


def mask_of(objects: list, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """Labels: 0 background, then the names in their order."""
    mask = np.zeros(shape, np.uint8)
    for name, left, top in objects:
        mask[top : top + SIDE, left : left + SIDE] = 1 + NAMES.index(name)
    return mask


def mask_folder(root: Path, train: int = 6, val: int = 4, suffix: str = ".png") -> Path:
    """``images/{train,val}``, ``masks/{train,val}`` and ``classes.txt``."""
    for split, first, count in (("train", 0, train), ("val", 100, val)):
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True)
        for index in range(first, first + count):
            pixels, objects = scene(index)
            Image.fromarray(pixels).save(root / f"images/{split}/{index}{suffix}")
            Image.fromarray(mask_of(objects)).save(root / f"masks/{split}/{index}.png")
    (root / "classes.txt").write_text("background\n" + "".join(f"{n}\n" for n in NAMES))
    return root


def class_image(name: str, index: int) -> np.ndarray:
    rng = np.random.default_rng([index, NAMES.index(name)])
    noise = rng.integers(-20, 20, (36, 40, 3))
    return np.clip(np.array(COLOURS[name]) + noise, 0, 255).astype(np.uint8)


def class_folder(root: Path, train: int = 4, val: int = 2, suffix: str = ".png") -> Path:
    """``{train,val}/{bird,cat,dog}``."""
    for split, first, count in (("train", 0, train), ("val", 100, val)):
        for name in NAMES:
            (root / split / name).mkdir(parents=True)
            for index in range(first, first + count):
                image = Image.fromarray(class_image(name, index))
                image.save(root / split / name / f"{name}{index}{suffix}")
    return root
