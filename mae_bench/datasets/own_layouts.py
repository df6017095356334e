"""Layouts in which people keep their data: where is what, and what are the classes?"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from .archives import find_archives
from .coco_file import CocoFile, read_coco
from .folders import class_folders, list_images
from .hold_out import EVERY
from .image_folders import ImageFolders
from .label_file import read_label_file
from .masks import VOID, read_mask

TRAIN = ("train", "training", "train2017")
VAL = ("val", "valid", "validation", "val2017", "test", "testing")
IMAGES = ("images", "image", "imgs", "img", "img_dir", "JPEGImages", "data")
MASKS = ("masks", "mask", "labels", "annotations", "ann_dir", "SegmentationClass", "gt")
LISTS = (".csv", ".txt")
CLASS_LISTS = ("classes.txt", "labels.txt", "labelmap.txt", "class_names.txt")
OTHER_TABLES = ("caption", "keypoint", "panoptic", "image_info", "stuff")


Part = dict[str, Any]  # settings of one data set


def _parts(train: Part, val: Part | None) -> dict[str, Any]:
    """Settings of both parts; of one alone, with every fifth image held out."""
    if val is not None:
        return {"train": dict(train), "val": dict(val)}
    return {
        "train": {**train, "hold_out": dict(every=EVERY, validate=False)},
        "val": {**train, "hold_out": dict(every=EVERY, validate=True)},
    }


def _check_validation(root: Path) -> None:
    """Raise FileNotFoundError where images to validate with are there, but not what is in them.

    To hold out others instead would evaluate a model on images that it may have been trained on.
    """
    for place in (f"{above}{name}" for name in VAL[:4] for above in ("", "images/", "img_dir/")):
        if (root / place).is_dir() and next(list_images(root / place), None):
            raise FileNotFoundError(
                f"{root / place}: has images, and what is in them is written nowhere: add it, say "
                "where it is with own_data.val, or take the folder away to hold out every "
                f"{EVERY}th image of the training set"
            )


def _folder(root: Path, names: Sequence[str]) -> str | None:
    """The first of some folders that is there."""
    return next((name for name in names if (root / name).is_dir()), None)


def _pick(root: Path, given: str | None, found: Sequence[str], what: str) -> str | None:
    """The one that was given or found.

    Raises:
        FileNotFoundError: what was given is not there.
        ValueError: there are several.
    """
    if given is not None:
        if not (root / given).exists():
            raise FileNotFoundError(f"{root / given}: no such file or folder (own_data.{what})")
        return given
    if len(found) > 1:
        raise ValueError(
            f"{root}: {', '.join(found[:4])}: which is it? Say so with --cfg-options "
            f"own_data.{what}={found[0]}"
        )
    return found[0] if found else None


def _says(name: str, words: Sequence[str]) -> bool:
    """Whether a path has one of some words in it, such as ``train`` in ``instances_train2017``."""
    parts = name.casefold().replace("\\", "/").replace(".", "/").replace("-", "_").split("/")
    return any(word in piece for part in parts for piece in part.split("_") for word in words)


# Classification


def find_classification(
    root: Path, classes: tuple[str, ...] | None, train: str | None, val: str | None
) -> dict[str, Any]:
    lists = [
        str(path.relative_to(root))
        for folder in (root, root / "meta", root / "lists")
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in LISTS and path.is_file() and path.name not in CLASS_LISTS
        if not _says(path.name, ("readme", "license", "licence", "requirements", "notes"))
    ]
    one = train or _folder(root, TRAIN) or _archived(root, TRAIN)
    two = val or _folder(root, VAL) or _archived(root, VAL)
    listed = [name for name in lists if name.endswith(".csv") or _says(name, TRAIN[:1])]
    if (train is None and listed and (one is None or not _has_classes(root / one))) or (
        train is not None and Path(train).suffix.lower() in LISTS
    ):
        return _from_lists(root, classes, train, val, lists)
    if one is None:
        one, two = "", None
    if find_archives(root / one):
        found = list(ImageFolders(data_root=str(root), data_prefix=one).metainfo["classes"])
    else:
        found = class_folders(root / one)
    if not found:
        raise FileNotFoundError(
            f"{root / one}: no class folders and no list: put each class's images into a folder of "
            "its name, or write train.csv with the columns image and label"
        )
    return {
        "classes": classes or tuple(found),
        **_parts({"data_prefix": one}, None if two is None else {"data_prefix": two}),
    }


def _archived(root: Path, names: Sequence[str]) -> str | None:
    """The first of some folders in place of which there are archives."""
    return next((name for name in names if find_archives(root / name)), None)


def _has_classes(folder: Path) -> bool:
    return bool(find_archives(folder) or class_folders(folder))


def _from_lists(
    root: Path,
    classes: tuple[str, ...] | None,
    train: str | None,
    val: str | None,
    lists: list[str],
) -> dict[str, Any]:
    held = [name for name in lists if _says(name, ("val", "test"))]
    rest = [name for name in lists if name not in held]
    one = _pick(root, train, [n for n in rest if _says(n, ("train",))] or rest, "train")
    two = _pick(root, val, [n for n in held if _says(n, ("val",))] or held, "val")
    assert one is not None  # the caller has seen one
    names = read_label_file(root / one)
    _, known = names.numbers(classes)

    def part(file: str) -> Part:
        first = read_label_file(root / file).names[0].lstrip("/")
        return {"ann_file": file, "data_prefix": _where(root, file, first)}

    return {"classes": known, **_parts(part(one), None if two is None else part(two))}


def _where(root: Path, listed_in: str, first: str) -> str:
    """The folder that names in a file are relative to.

    Raises:
        FileNotFoundError: the first image is in none of the usual ones.
    """
    beside = str(Path(listed_in).parent)
    part = next((p for p in (*TRAIN, *VAL) if _says(listed_in, (p,))), "train")
    parts = TRAIN if part in TRAIN else VAL
    tried = ["", beside, f"{beside}/images", *IMAGES]
    tried += [name for p in parts for name in (p, f"{p}/images", *(f"{i}/{p}" for i in IMAGES))]
    tried += [*TRAIN, *VAL]
    for folder in tried:
        if (root / folder / first).is_file():
            return "" if folder == "." else folder
    raise FileNotFoundError(
        f"{root / listed_in}: its first image {first!r} is not in {root}, nor in images, train, "
        "val or the like below it: put the images there"
    )


# Detection


def find_detection(
    root: Path, classes: tuple[str, ...] | None, train: str | None, val: str | None
) -> dict[str, Any]:
    files = [
        str(path.relative_to(root))
        for pattern in ("*.json", "annotations/*.json", "*/_annotations.coco.json", "*/*.json")
        for path in sorted(root.glob(pattern))
        if not _says(path.name, OTHER_TABLES)
    ]
    files = [name for name in dict.fromkeys(files) if _is_coco(root / name)]
    held = [name for name in files if _says(name, ("val", "valid"))]
    held = held or [name for name in files if _says(name, ("test",))]
    rest = [n for n in files if n not in held and not _says(n, ("test", "val"))]
    one = _pick(root, train, [n for n in rest if _says(n, ("train",))] or rest, "train")
    two = _pick(root, val, held, "val")
    if one is None:
        raise FileNotFoundError(
            f"{root}: no annotation file of COCO (train.json, annotations/*.json, ...): give it "
            "with --cfg-options own_data.train=FILE"
        )
    files_read: list[CocoFile] = []

    def part(name: str) -> Part:
        file = read_coco(root / name, masks=False)
        file.findings.refuse(file.path)
        if not file.images:
            raise ValueError(f"{file.path}: lists no image")
        files_read.append(file)
        folder = _where(root, name, file.images[0]["file_name"])
        return {"ann_file": name, "data_prefix": {"img": folder}}

    if two is None:
        _check_validation(root)
    parts = _parts(part(one), None if two is None else part(two))
    settings: dict[str, Any] = {
        f"{loader}_evaluator.ann_file": str(root / (two or one)) for loader in ("val", "test")
    }
    settings["masks"] = any(a.get("segmentation") for file in files_read for a in file.annotations)
    return {"classes": classes or _categories(files_read), "settings": settings, **parts}


def _is_coco(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(1 << 16)
    # Cheaper than to read all of what may be results or settings.
    return b'"images"' in start or b'"annotations"' in start or b'"categories"' in start


def _categories(files: Sequence[CocoFile]) -> tuple[str, ...]:
    """Names of the categories that have objects, by id; some tools write one more without."""
    used = {name for file in files for name, count in file.count_objects().items() if count}
    names = dict.fromkeys(name for file in files for name in file.names)
    return tuple(name for name in names if name in used) or tuple(names)


# Segmentation


def find_segmentation(
    root: Path, classes: tuple[str, ...] | None, train: str | None, val: str | None
) -> dict[str, Any]:
    one = _pair(root, TRAIN, train) or _pair(root, ("",), None)
    if one is None:
        raise FileNotFoundError(
            f"{root}: no folders of images and masks: they are looked for as images/train and "
            "masks/train, train/images and train/masks, or images and masks"
        )
    two = _pair(root, VAL, val)
    lists = root / "ImageSets/Segmentation"  # Pascal VOC's
    parts: list[Part] = [{"data_prefix": folders} for folders in (one, two) if folders]
    if two is None and (lists / "train.txt").is_file() and (lists / "val.txt").is_file():
        parts = [
            {"data_prefix": one, "ann_file": f"ImageSets/Segmentation/{part}.txt"}
            for part in ("train", "val")
        ]
    if len(parts) == 1:
        _check_validation(root)
    names = classes or _listed_classes(root) or _labels(root / one["seg_map_path"])
    return {"classes": names, **_parts(parts[0], parts[1] if len(parts) > 1 else None)}


def _pair(root: Path, parts: Sequence[str], given: str | None) -> dict[str, str] | None:
    """Folders of images and masks, relative to ``root``."""
    if given is not None:
        folder = _pick(root, given, (), "train") or ""
        for images, masks in _namings():
            swapped = str(folder).replace(images, masks)
            if swapped != folder and (root / swapped).is_dir():
                return {"img_path": folder, "seg_map_path": swapped}
        parts = [folder]
    for part in parts:
        for images, masks in _namings():
            for one, two in (
                (f"{images}/{part}", f"{masks}/{part}"),
                (f"{part}/{images}", f"{part}/{masks}"),
            ):
                one, two = one.strip("/"), two.strip("/")
                if (root / one).is_dir() and (root / two).is_dir():
                    return {"img_path": one, "seg_map_path": two}
    return None


def _namings() -> Iterator[tuple[str, str]]:
    yield from ((images, masks) for images in IMAGES for masks in MASKS)


def _listed_classes(root: Path) -> tuple[str, ...] | None:
    """Names from a list of classes, one a line; CVAT's has colours after a colon."""
    for name in CLASS_LISTS:
        if (root / name).is_file():
            lines = (root / name).read_text(encoding="utf-8-sig").splitlines()
            lines = [line.split(":")[0].strip() for line in lines if not line.startswith("#")]
            return tuple(line for line in lines if line)
    return None


def _labels(folder: Path) -> tuple[str, ...]:
    """Names for the labels in masks that nobody named."""
    highest = -1
    with ThreadPoolExecutor() as pool:
        for labels in pool.map(read_mask, (folder / name for name in list_images(folder))):
            highest = max(
                highest, int(np.max(labels.astype(int), initial=-1, where=labels != VOID))
            )
    if highest < 1:
        raise ValueError(
            f"{folder}: its masks have no label but 0 and {VOID}, which is void: give each class "
            "its number, from 0"
        )
    return tuple(f"class {label}" for label in range(highest + 1))
