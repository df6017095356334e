"""Look over the data of a config before anything is trained: what is wrong, and what to do."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image, UnidentifiedImageError

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
# Pictures in the public releases, by the class of the data set and a part of where it reads.
COUNTS = {
    ("CocoDataset", "train2017"): 118_287,
    ("CocoDataset", "val2017"): 5_000,
    ("ADE20KDataset", "training"): 20_210,
    ("ADE20KDataset", "validation"): 2_000,
    ("ImageNet", "train"): 1_281_167,
    ("ImageNet", "val"): 50_000,
    ("ImageNetS", "train-semi"): 9_190,
    ("ImageNetS", "validation"): 12_419,
}
OWN_DATA = "miniworld"  # made here, in any size
# A box may end half a pixel outside: COCO rounds some to hundredths.
TOLERANCE = 0.5
SHOWN = 3
DECODED = 100
VOID = 255  # pixels of no class


def check_data(cfg: Config) -> tuple[list[str], list[str]]:
    """Examine the data of every loader of a config.

    Args:
        cfg: from ``load_config``.

    Returns:
        what was looked at, one line for each loader; and what is wrong, one line for each kind of
        mistake, with how often it occurs, examples and the fix.
    """
    init_default_scope(cfg.default_scope)
    seen: list[str] = []
    summary, problems = [], []
    for loader in LOADERS:
        dataset = (cfg.get(loader) or {}).get("dataset")
        if dataset is None:
            continue
        where = f"{loader}.dataset"
        while "dataset" in dataset:
            dataset, where = dataset["dataset"], f"{where}.dataset"
        if str(dataset) in seen:  # the test set is often the validation set
            continue
        seen.append(str(dataset))
        found = list(_check(dataset, where, cfg))
        problems += [f"{where}: {problem}" for problem in found]
        summary.append(f"{where}: {dataset.get('data_root')}, {len(found)} problems")
    return summary, problems + list(_check_evaluators(cfg))


def _check(dataset: Mapping[str, Any], where: str, cfg: Config) -> Iterator[str]:
    kind = _name(dataset["type"])
    root = Path(dataset.get("data_root") or ".")
    if not root.is_dir():
        fix = (
            "run `make data`"
            if OWN_DATA in str(root)
            else f"put or link the data there, or correct {where}.data_root"
        )
        yield f"{root}: no such folder: {fix}"
        return
    if kind == "CocoDataset":
        yield from _check_coco(dataset, root)
        return
    if kind in ("ADE20KDataset", "BaseSegDataset", "ImageNetS"):
        missing = list(_missing_folders(dataset, root, kind))
        yield from missing
        if missing:
            return
    reading = {key: value for key, value in dataset.items() if key != "pipeline"}
    try:
        built = DATASETS.build(reading)
    except (FileNotFoundError, ValueError, AssertionError) as error:
        yield f"{root}: {' '.join(str(error).split())}"
        return
    part = str(dataset.get("split") or (dataset.get("data_prefix") or ""))
    yield from _check_count(kind, part, len(built), root, dataset)
    if not hasattr(built, "get_data_info"):
        return
    samples = [built.get_data_info(i) for i in range(len(built))]
    if any("seg_map_path" in sample for sample in samples):
        yield from _check_maps(samples)
        if kind != "ImageNetS":
            yield from _check_map_labels(samples, len(built.metainfo["classes"]))
    elif any("gt_label" in sample for sample in samples):
        yield from _check_labels(samples, cfg)


def _check_evaluators(cfg: Config) -> Iterator[str]:
    """An evaluator that reads annotations itself has to read those of its loader."""
    for part in ("val", "test"):
        evaluators = cfg.get(f"{part}_evaluator") or []
        dataset = (cfg.get(f"{part}_dataloader") or {}).get("dataset") or {}
        for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
            file = evaluator.get("ann_file")
            if file is None or "ann_file" not in dataset:
                continue
            own = Path(dataset.get("data_root") or "", dataset["ann_file"])
            if Path(file).resolve() != own.resolve():
                yield (
                    f"{part}_evaluator.ann_file: {file} is not the file that {part}_dataloader "
                    f"reads, {own}: set it to that one"
                )


def _name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind).rpartition(".")[2]


def _missing_folders(dataset: Mapping[str, Any], root: Path, kind: str) -> Iterator[str]:
    prefixes = dataset.get("data_prefix") or {}
    folders = list(prefixes.values()) if isinstance(prefixes, Mapping) else [prefixes]
    if kind == "ImageNetS":
        folders = [dataset["split"], f"{dataset['split']}-segmentation"]
    for folder in folders:
        if not (root / folder).is_dir():
            yield f"{root / folder}: no such folder: unpack the archive, or correct data_prefix"


def _check_count(
    kind: str, part: str, count: int, root: Path, dataset: Mapping[str, Any]
) -> Iterator[str]:
    if OWN_DATA in str(root.resolve()) or dataset.get("indices") is not None:
        return
    fits = [
        expected for (name, split), expected in COUNTS.items() if name == kind and split in part
    ]
    if fits and count != fits[0]:
        yield (
            f"{root}: {count:,} pictures, the published data set has {fits[0]:,}: unpack the "
            "archive again; of another selection no number compares with the tables"
        )


def _check_labels(samples: list[dict[str, Any]], cfg: Config) -> Iterator[str]:
    classes = (cfg.model.get("head") or {}).get("num_classes")
    labels = {sample["gt_label"] for sample in samples if isinstance(sample["gt_label"], int)}
    if classes and labels and max(labels) >= classes:
        yield (
            f"labels reach {max(labels)}, model.head.num_classes is {classes}: the annotations or "
            "the config belong to another data set"
        )
    elif classes and labels and len(labels) != classes and OWN_DATA not in str(samples[0]):
        yield (
            f"{len(labels)} classes have pictures, model.head.num_classes is {classes}: class "
            "folders are missing, unpack the archive again"
        )
    missing = [s["img_path"] for s in samples if not Path(s["img_path"]).is_file()]
    yield from _tell(missing, "pictures are listed and not on disk", "unpack the archive again")


def _check_maps(samples: list[dict[str, Any]]) -> Iterator[str]:
    missing, broken, unequal = [], [], []
    for sample in samples:
        image, labels = sample["img_path"], sample["seg_map_path"]
        if not Path(labels).is_file():
            missing.append(f"{labels}")
            continue
        try:
            sizes = [_size(image), _size(labels)]
        except (OSError, UnidentifiedImageError):
            broken.append(f"{image} or {labels}")
            continue
        if sizes[0] != sizes[1]:
            unequal.append(f"{labels} is {_by(sizes[1])}, its picture {_by(sizes[0])}")
    again = "unpack the archive again"
    yield from _tell(missing, "pictures have no mask", again)
    yield from _tell(broken, "files cannot be decoded", again)
    yield from _tell(unequal, "masks are of another size than their pictures", again)


def _check_map_labels(samples: list[dict[str, Any]], classes: int) -> Iterator[str]:
    """Of a sample of the masks only: they have to be decoded."""
    wrong = []
    for sample in samples[:: max(1, len(samples) // DECODED)]:
        path = sample["seg_map_path"]
        if not Path(path).is_file():
            continue
        try:
            labels = np.unique(np.asarray(Image.open(path)))
        except (OSError, UnidentifiedImageError):
            continue
        highest = int(labels[labels != VOID].max(initial=0)) - bool(sample["reduce_zero_label"])
        if highest >= classes:
            wrong.append(f"{path} has {highest}")
    yield from _tell(
        wrong,
        f"masks have labels beyond the {classes} classes of the config",
        "they belong to another data set, or set metainfo.classes and num_classes to theirs",
    )


def _check_coco(dataset: Mapping[str, Any], root: Path) -> Iterator[str]:
    file = root / dataset["ann_file"]
    folder = root / dataset["data_prefix"]["img"]
    if not folder.is_dir():
        yield f"{folder}: no such folder: unpack the pictures there, or correct data_prefix"
    if not file.is_file():
        yield f"{file}: no such file: unpack the archive of the annotations, or correct ann_file"
        return
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        images = {image["id"]: image for image in data["images"]}
        annotations, names = data["annotations"], [c["name"] for c in data["categories"]]
    except (ValueError, KeyError, TypeError) as error:
        yield f"{file}: is no annotation file of COCO ({error!r}): download it again"
        return
    yield from _check_count("CocoDataset", file.name, len(images), root, dataset)
    wanted = _classes(dataset)
    if lacking := [name for name in wanted if name not in names]:
        yield (
            f"{file}: lacks {len(lacking)} of the config's {len(wanted)} categories, first "
            f"{lacking[0]!r}; it has {', '.join(names[:SHOWN])}, ...: it belongs to another data "
            "set, or set metainfo.classes and num_classes to its categories"
        )
    yield from _check_annotations(annotations, images)
    if folder.is_dir():
        yield from _check_pictures(images, folder)


def _classes(dataset: Mapping[str, Any]) -> list[str]:
    own = (dataset.get("metainfo") or {}).get("classes")
    kind = dataset["type"]
    if own is None and not isinstance(kind, type):
        kind = DATASETS.get(kind)
    return list(own if own is not None else kind.METAINFO["classes"])


def _check_annotations(
    annotations: list[dict[str, Any]], images: Mapping[int, dict[str, Any]]
) -> Iterator[str]:
    strays, outside, unequal = [], [], []
    for entry in annotations:
        image = images.get(entry["image_id"])
        if image is None:
            strays.append(f"annotation {entry['id']} of picture {entry['image_id']}")
            continue
        x, y, w, h = entry["bbox"]
        width, height = image["width"], image["height"]
        if min(x, y) < -TOLERANCE or x + w > width + TOLERANCE or y + h > height + TOLERANCE:
            outside.append(f"annotation {entry['id']}, box {entry['bbox']} in {width}x{height}")
        mask = entry.get("segmentation")
        if isinstance(mask, dict) and tuple(mask["size"]) != (height, width):
            size = _by(mask["size"][::-1])
            unequal.append(f"annotation {entry['id']}, mask {size} in {width}x{height}")
    correct = "correct or remove them in the annotation file"
    yield from _tell(strays, "annotations are of no picture in the file", correct)
    yield from _tell(outside, "annotations lie outside of their picture", correct)
    yield from _tell(unequal, "masks are of another size than their pictures", correct)


def _check_pictures(images: Mapping[int, dict[str, Any]], folder: Path) -> Iterator[str]:
    missing, broken, unequal = [], [], []
    for image in images.values():
        path = folder / image["file_name"]
        if not path.is_file():
            missing.append(str(path))
            continue
        try:
            size = _size(path)
        except (OSError, UnidentifiedImageError):
            broken.append(str(path))
            continue
        if size != (image["width"], image["height"]):
            stated = _by((image["width"], image["height"]))
            unequal.append(f"{path} is {_by(size)}, the annotation file says {stated}")
    again = "unpack the archive of the pictures again"
    yield from _tell(missing, "pictures are listed and not on disk", again)
    yield from _tell(broken, "pictures cannot be decoded", again)
    yield from _tell(unequal, "pictures are of another size than listed", again)


def _size(path: str | Path) -> tuple[int, int]:
    """Width and height, from the head of the file."""
    with Image.open(path) as image:
        return image.size


def _by(size: Any) -> str:
    return f"{size[0]}x{size[1]}"


def _tell(cases: list[str], what: str, fix: str) -> Iterator[str]:
    if cases:
        examples = "; ".join(cases[:SHOWN]) + ("; ..." if len(cases) > SHOWN else "")
        yield f"{len(cases):,} {what} ({examples}): {fix}"
