"""MiniWorld's files: what goes where in the layouts of ImageNet, ImageNet-C, COCO and ADE20K."""

import functools
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mae_bench.datasets.miniworld import scenes as scenes
from mae_bench.datasets.miniworld.scene_annotations import coco_annotation, label_map
from mae_bench.datasets.miniworld.scene_corruptions import CORRUPTIONS, SEVERITIES, corrupt

VERSION = 2
"""Raise it when the same settings give other pictures; the settings themselves are recorded."""

CLASS_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CLASS_FOLDERS = tuple(f"digit_{digit}" for digit in range(scenes.NUM_CLASSES))
SEGMENTATION_CLASSES = ("background", *CLASS_NAMES)
"""Classes of the label maps once 0 is dropped (``reduce_zero_label=True``)."""

TRAIN_IMAGES = 10_000
VAL_IMAGES = 1_000
CORRUPTED_IMAGES = 200
TRAIN_LISTS = (100, 500, 1_000)
TRAIN_SCENES = 1_000
VAL_SCENES = 200

# Pixels. Training pictures have room for a random crop to the validation size.
TRAIN_SIZE = 36
VAL_SIZE = 32
DIGIT_SIDE = (16, 22)
SCENE_SIZE = 32
SCENE_DIGIT_SIDE = (16, 22)
SCENE_DIGITS = (1, 2)

JPEG_QUALITY = 90
CORRUPTED_JPEG_QUALITY = 95
"""Higher, so that the file adds little to the corruption."""

ADE20K_FOLDERS = {"train": "training", "val": "validation"}


@dataclass(frozen=True)
class MiniWorldSize:
    """How many pictures to make.

    Attributes:
        train_images, val_images: classification pictures, the classes in turn.
        corrupted_images: how many of the validation pictures get corrupted copies.
        train_lists: lengths of the few-label lists; each list starts with the shorter ones.
        train_scenes, val_scenes: pictures of the detection and segmentation sets.

    Raises:
        ValueError: a count of pictures that cannot hold every class equally often, or more pictures
            in a part than in the whole.
    """

    train_images: int = TRAIN_IMAGES
    val_images: int = VAL_IMAGES
    corrupted_images: int = CORRUPTED_IMAGES
    train_lists: tuple[int, ...] = TRAIN_LISTS
    train_scenes: int = TRAIN_SCENES
    val_scenes: int = VAL_SCENES

    def __post_init__(self) -> None:
        limits = [
            ("train_images", self.train_images, None),
            ("val_images", self.val_images, None),
            ("corrupted_images", self.corrupted_images, self.val_images),
            *(("train_lists", length, self.train_images) for length in self.train_lists),
        ]
        for name, value, limit in limits:
            if value < 1 or value % scenes.NUM_CLASSES:
                raise ValueError(f"{name}: {value} is not a positive multiple of the 10 classes")
            if limit is not None and value > limit:
                raise ValueError(f"{name}: {value} pictures of {limit} that there are")
        if self.train_scenes < 1 or self.val_scenes < 1:
            raise ValueError(
                f"train_scenes={self.train_scenes} and val_scenes={self.val_scenes} must be "
                "at least 1"
            )


@dataclass(frozen=True)
class Job:
    """A range of pictures to write, the unit that processes share.

    Attributes:
        root: folder that holds the four layouts.
        seed, size: of the world.
        kind: ``"pictures"`` of one digit (ImageNet, ImageNet-C) or ``"scenes"`` (COCO, ADE20K).
        split: ``"train"`` or ``"val"``.
        start, stop: first picture and the one after the last.
    """

    root: Path
    seed: int
    size: MiniWorldSize
    kind: str
    split: str
    start: int
    stop: int


def make_folders(root: Path) -> None:
    """Make every folder that ``run`` writes to, under an empty ``root``."""
    folders = ["imagenet/meta", "coco/annotations"]
    folders += [f"imagenet/{split}/{name}" for split in scenes.SPLITS for name in CLASS_FOLDERS]
    folders += [
        f"imagenet-c/{corruption}/{severity}/{name}"
        for corruption in CORRUPTIONS
        for severity in SEVERITIES
        for name in CLASS_FOLDERS
    ]
    for split, ade20k in ADE20K_FOLDERS.items():
        folders += [f"coco/{split}2017", f"ade20k/images/{ade20k}", f"ade20k/annotations/{ade20k}"]
    for folder in folders:
        (root / folder).mkdir(parents=True)


def run(job: Job) -> list[dict[str, Any]]:
    """Write the pictures of one job; the annotations of scenes come back."""
    if job.kind == "scenes":
        return [a for index in range(job.start, job.stop) for a in _write_scene(job, index)]
    for index in range(job.start, job.stop):
        _write_picture(job, index)
    return []


# One reading of the sources for each process.
_sources = functools.cache(scenes.load_sources)


def _generator(job: Job, index: int) -> np.random.Generator:
    """Randomness of one picture, whoever makes it and in whatever order."""
    stream = ("pictures", "scenes").index(job.kind) * 2 + scenes.SPLITS.index(job.split)
    return np.random.default_rng([job.seed, stream, index])


def _picture_path(split: str, index: int) -> str:
    """Path below ``imagenet/<split>``; the classes take turns."""
    label = index % scenes.NUM_CLASSES
    if split == "train":
        name = f"{CLASS_FOLDERS[label]}_{index // scenes.NUM_CLASSES}"
    else:
        name = f"MiniWorld_val_{index + 1:08d}"
    return f"{CLASS_FOLDERS[label]}/{name}.JPEG"


def _write_picture(job: Job, index: int) -> None:
    composer = scenes.SceneComposer(_sources(job.split), _generator(job, index))
    side = TRAIN_SIZE if job.split == "train" else VAL_SIZE
    image, _ = composer.compose(side, [index % scenes.NUM_CLASSES], DIGIT_SIDE)
    jpeg = _jpeg(image, JPEG_QUALITY)
    path = _picture_path(job.split, index)
    (job.root / "imagenet" / job.split / path).write_bytes(jpeg)
    if job.split == "val" and index < job.size.corrupted_images:
        # As for ImageNet-C, what is corrupted is the picture that the file shows.
        _write_corrupted(job.root / "imagenet-c", path, np.asarray(Image.open(io.BytesIO(jpeg))))


def _write_corrupted(folder: Path, path: str, image: np.ndarray) -> None:
    for corruption in CORRUPTIONS:
        for severity in SEVERITIES:
            corrupted = corrupt(image, corruption, severity, Path(path).name)
            jpeg = _jpeg(corrupted, CORRUPTED_JPEG_QUALITY)
            (folder / corruption / str(severity) / path).write_bytes(jpeg)


def _write_scene(job: Job, index: int) -> list[dict[str, Any]]:
    rng = _generator(job, index)
    composer = scenes.SceneComposer(_sources(job.split), rng)
    count = rng.integers(SCENE_DIGITS[0], SCENE_DIGITS[1] + 1)
    labels = rng.integers(scenes.NUM_CLASSES, size=count).tolist()
    image, objects = composer.compose(SCENE_SIZE, labels, SCENE_DIGIT_SIDE)
    jpeg = _jpeg(image, JPEG_QUALITY)
    image_id = _image_id(job.split, job.size, index)
    (job.root / "coco" / f"{job.split}2017" / f"{image_id:012d}.jpg").write_bytes(jpeg)
    ade20k, name = ADE20K_FOLDERS[job.split], f"ADE_{job.split}_{index + 1:08d}"
    (job.root / "ade20k" / "images" / ade20k / f"{name}.jpg").write_bytes(jpeg)
    Image.fromarray(label_map(SCENE_SIZE, objects)).save(
        job.root / "ade20k" / "annotations" / ade20k / f"{name}.png"
    )
    return [{"image_id": image_id, **coco_annotation(thing)} for thing in objects]


def _image_id(split: str, size: MiniWorldSize, index: int) -> int:
    """COCO's image ids start at 1 and, as in COCO, do not repeat between the splits."""
    return index + 1 + (size.train_scenes if split == "val" else 0)


def write_lists(root: Path, size: MiniWorldSize) -> None:
    """Annotation files of ImageNet: ``path label`` in each line."""
    lines = {
        split: [f"{_picture_path(split, i)} {i % scenes.NUM_CLASSES}\n" for i in range(count)]
        for split, count in (("train", size.train_images), ("val", size.val_images))
    }
    # The classes take turns, so the beginning of the list is balanced and the lists are nested.
    lines |= {f"train_{length}": lines["train"][:length] for length in size.train_lists}
    for name, content in lines.items():
        write_text(root / "imagenet" / "meta" / f"{name}.txt", "".join(content))


def write_coco_json(
    root: Path, split: str, size: MiniWorldSize, annotations: list[dict[str, Any]]
) -> None:
    """COCO's instance file of a split; ``annotations`` in the order of the images, without ids."""
    count = size.train_scenes if split == "train" else size.val_scenes
    ids = [_image_id(split, size, index) for index in range(count)]
    content = {
        "info": {"description": f"MiniWorld {split}, version {VERSION}", "version": str(VERSION)},
        "licenses": [
            {"id": 1, "name": "of the composed pictures: see MiniWorld's dataset card", "url": ""}
        ],
        "images": [
            {
                "id": image_id,
                "file_name": f"{image_id:012d}.jpg",
                "width": SCENE_SIZE,
                "height": SCENE_SIZE,
                "license": 1,
            }
            for image_id in ids
        ],
        # pycocotools takes a match with annotation 0 for no match, so ids start at 1.
        "annotations": [{"id": i, **annotation} for i, annotation in enumerate(annotations, 1)],
        "categories": [
            {"id": i, "name": name, "supercategory": "digit"}
            for i, name in enumerate(CLASS_NAMES, 1)
        ],
    }
    text = json.dumps(content, separators=(",", ":"))
    write_text(root / "coco" / "annotations" / f"instances_{split}2017.json", text)


def _jpeg(image: np.ndarray, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def write_text(path: Path, text: str) -> None:
    """Write with the same bytes on every system."""
    path.write_text(text, encoding="utf-8", newline="\n")
