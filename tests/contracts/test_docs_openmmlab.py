"""The table of differences in the docs is the one that the tests run, and no class is missing."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import mae_bench

from . import test_mmdet, test_mmengine, test_mmpretrain, test_mmseg

DOCS = Path(__file__).parents[2] / "docs/openmmlab.md"
MODULES = (test_mmengine, test_mmpretrain, test_mmdet, test_mmseg)
NAMES = dict(
    mmengine="MMEngine", mmpretrain="MMPretrain", mmdet="MMDetection", mmseg="MMSegmentation"
)
# Bases that have no behaviour to keep.
ABSTRACT = {"BaseModule", "Hook", "BaseTransform", "BaseModel", "BaseDataset", "BaseDataElement"}
ABSTRACT |= {"BaseLoop", "_ParamScheduler"}
# Classes that derive from a host's and do another thing on purpose: what, and what tests it.
ELSEWHERE = {
    "ADE20K": "the published folders and no others, strictly; tests/own_data, tests/datasets",
    "Bfloat16OptimWrapper": "autocast around MMEngine's wrapper; tests/training/test_precision.py",
    "AttentiveProbeHead": "attention pools the patches; tests/openmmlab",
    "AuxiliaryFCNHead": "the host's losses without waiting for the device; tests/openmmlab",
    "CocoInstances": "categories by name, odd annotations named; tests/own_data",
    "FastPhotoMetricDistortion": "the host's pixels in less time; tests/openmmlab",
    "FastRandomCrop": "the host's crops in less time; tests/openmmlab",
    "ImageFolders": "folders, lists and archives, strictly; tests/own_data, tests/datasets",
    "ImageNet1K": "the published layouts, strictly; tests/own_data, tests/datasets",
    "ImageNetS": "ImageNet-S's masks in three channels; tests/datasets",
    "ImagesAndMasks": "pairs by name, masks checked; tests/own_data",
    "LabelSmoothCrossEntropy": "the host's loss without waiting for the device; tests/openmmlab",
    "LinearSegmentationHead": "BatchNorm and one linear layer; tests/openmmlab",
    "LoadImage": "what cannot be decoded is named; tests/datasets/test_loading.py",
    "LoadMask": "masks as they are, void by number; tests/own_data",
    "LoadPolygons": "detectron2's polygons; tests/openmmlab",
    "OneMaskCascadeRoIHead": "detectron2's cascade, masks of the last stage; tests/openmmlab",
    "PatchClassifier": "one linear layer for each patch; tests/openmmlab",
    "PixelCrossEntropy": "the host's loss without waiting for the device; tests/openmmlab",
    "UPerNetHead": "the host's losses without waiting for the device; tests/openmmlab",
    "UndecidedMaskHead": "detectron2's losses and thresholds; tests/openmmlab",
}


def derived_classes() -> Iterator[str]:
    """Names of our classes that derive from one of a host's that does something."""
    for module in pkgutil.walk_packages(mae_bench.__path__, "mae_bench."):
        if module.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if not inspect.isclass(value) or value.__module__ != module.name:
                continue
            if name.startswith("_"):  # in no config
                continue
            hosts = [
                b for b in value.__mro__[1:] if b.__module__.partition(".")[0] in (*NAMES, "mmcv")
            ]
            if any(host.__name__ not in ABSTRACT for host in hosts):
                yield name


def test_no_class_is_forgotten():
    shown = {stand_in.name for module in MODULES for stand_in in module.TABLE}
    derived = set(derived_classes())
    assert derived - shown - ELSEWHERE.keys() == set()
    assert ELSEWHERE.keys() - derived | ELSEWHERE.keys() & shown == set()
    text = DOCS.read_text()
    assert [name for name in ELSEWHERE if f"`{name}`" not in text] == []


def rows() -> list[str]:
    """A row for each promise that is kept otherwise, by class, each difference once."""
    found = []
    for module in MODULES:
        library = NAMES[module.__name__.rpartition("test_")[2]]
        for stand_in in module.TABLE:
            names = f"| `{stand_in.name}` | {library}'s `{stand_in.host.__name__}` |"
            found += [f"{names} {p.says} | {p.why} |" for p in stand_in.promises if p.why]
    return found


def classes() -> list[str]:
    """A row for each class that stands in for a host's."""
    found = []
    for module in MODULES:
        library = NAMES[module.__name__.rpartition("test_")[2]]
        for stand_in in module.TABLE:
            kept = sum(not promise.why for promise in stand_in.promises)
            found.append(f"| `{stand_in.name}` | {library}'s `{stand_in.host.__name__}` | {kept} |")
    return found


def test_docs_show_what_the_tests_run():
    text = DOCS.read_text()
    missing = [row for row in [*classes(), *rows()] if row not in text]
    assert not missing, "\n".join(missing)
    shown = [line for line in text.splitlines() if line.startswith("| `")]
    extra = [row for row in shown if row not in [*classes(), *rows()]]
    assert not extra, "\n".join(extra)
