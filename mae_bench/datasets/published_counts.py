"""How many images the public releases have, and whether a data set is one of them."""

from pathlib import Path
from typing import Any

from mmdet.datasets import CocoDataset
from mmpretrain.datasets import CustomDataset
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES
from mmseg.datasets import ADE20KDataset, BaseSegDataset

from .folders import class_folders
from .imagenet_s import ImageNetS
from .imagenet_variants import imagenet_classes
from .inaturalist import INaturalist
from .places import Places205, Places365

# Sources: the README files of the sets; iNaturalist 2019 states the sum of both splits only.
COUNTS = {
    ("COCO", "train2017"): 118_287,
    ("COCO", "val2017"): 5_000,
    ("ADE20K", "training"): 20_210,
    ("ADE20K", "validation"): 2_000,
    ("ImageNet", "train"): 1_281_167,
    ("ImageNet", "val"): 50_000,
    ("ImageNet-S", "train-semi"): 9_190,
    ("ImageNet-S", "validation"): 12_419,
    ("iNaturalist", "train2017"): 579_184,
    ("iNaturalist", "val2017"): 95_986,
    ("iNaturalist", "train2018"): 437_513,
    ("iNaturalist", "val2018"): 24_426,
    ("Places205", "train_places205"): 2_448_873,
    ("Places205", "val_places205"): 20_500,
    ("Places365", "places365_train_standard"): 1_803_460,
    ("Places365", "places365_val"): 36_500,
}
# Of the robustness sets; ImageNet-C: of each corruption and severity.
ROBUSTNESS_COUNTS = {
    "imagenet_val": 50_000,
    "imagenet_a": 7_500,
    "imagenet_r": 30_000,
    "imagenet_sketch": 50_889,
    "imagenet_v2": 10_000,
    "imagenet_v2_threshold": 10_000,
    "imagenet_v2_top": 10_000,
    "imagenet_c": 50_000,
    "cue_conflict": 1_280,
}


def published_split(dataset: Any) -> tuple[str, str] | None:
    """Key into :data:`COUNTS`; None for data of one's own and for a part of a set."""
    if getattr(dataset, "_indices", None) is not None:
        return None
    classes = tuple((getattr(dataset, "metainfo", None) or {}).get("classes") or ())
    if isinstance(dataset, CocoDataset):
        if classes == CocoDataset.METAINFO["classes"]:
            return _key("COCO", Path(dataset.ann_file).stem)
    elif isinstance(dataset, ImageNetS):
        return _key("ImageNet-S", Path(dataset.data_prefix["img_path"]).name)
    elif isinstance(dataset, BaseSegDataset):
        if classes == tuple(ADE20KDataset.METAINFO["classes"]):
            return _key("ADE20K", Path(dataset.data_prefix["img_path"]).name)
    elif isinstance(dataset, (Places205, Places365)):
        return _key(type(dataset).__name__, Path(dataset.ann_file).stem)
    elif isinstance(dataset, INaturalist):
        return _key("iNaturalist", Path(dataset.ann_file).stem)
    elif isinstance(dataset, CustomDataset) and _is_imagenet(dataset, classes):
        return _key("ImageNet", Path(dataset.img_prefix).name)
    return None


def _key(name: str, split: str) -> tuple[str, str] | None:
    fits = [key for key in COUNTS if key[0] == name and key[1] in split]
    return max(fits, key=lambda key: len(key[1])) if fits else None


def _is_imagenet(dataset: Any, classes: tuple[str, ...]) -> bool:
    if dataset.ann_file and not dataset.ann_file.endswith(("meta/train.txt", "meta/val.txt")):
        return False
    if dataset.with_label:
        return classes == tuple(IMAGENET_CATEGORIES)
    root = Path(dataset.img_prefix)
    return root.is_dir() and set(class_folders(root)) == set(imagenet_classes())
