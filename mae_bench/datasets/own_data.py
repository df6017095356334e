"""Data of one's own in the layouts that people have: where is what, and what are the classes?

A config with ``own_data = dict(root=..., classes=None, train=None, val=None)`` gets its loaders
from here: files, folders and names of classes follow from what is found below ``root``.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .own_layouts import find_classification, find_detection, find_segmentation

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
TASKS = {"mmpretrain": "cls", "mmdet": "det", "mmseg": "seg"}
# Masks are neither there to train nor to evaluate with.
BOXES_ONLY: dict[str, Any] = {
    "model.roi_head.mask_head": None,
    "model.roi_head.mask_roi_extractor": None,
    "val_evaluator.metric": "bbox",
    "test_evaluator.metric": "bbox",
}


def find_own_data(
    task: str,
    root: str | Path,
    classes: Sequence[str] | None = None,
    train: str | None = None,
    val: str | None = None,
) -> dict[str, Any]:
    """What a config needs to know of a folder.

    Args:
        task: ``"cls"``, ``"det"`` or ``"seg"``.
        root: the folder.
        classes: names; None: those of the data.
        train, val: what to train on and validate with, relative to ``root``, where the folder does
            not tell: the folder of the images, or the annotation file or list. Without ``val``, and
            where none is found, every fifth image is held out.

    Returns:
        dotted keys of the config with their values, and of a detection ``masks``: whether objects
        have any.

    Raises:
        FileNotFoundError: there is no such folder, or nothing in it that could be the data.
        ValueError: it cannot be told what is what.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder (own_data.root)")
    names = tuple(classes) if classes is not None else None
    find = {"cls": find_classification, "det": find_detection, "seg": find_segmentation}[task]
    found = find(root, names, train, val)
    if twice := [name for name, n in Counter(found["classes"]).items() if n > 1]:
        raise ValueError(f"{root}: two classes are called {twice[0]!r}: name each class once")
    if task != "det" and len(found["classes"]) < 2:
        raise ValueError(f"{root}: there is one class, {found['classes']}, to tell from no other")
    settings: dict[str, Any] = {}
    for part, loader in (("train", "train"), ("val", "val"), ("val", "test")):
        for key, value in {"data_root": str(root), **found[part]}.items():
            settings[f"{loader}_dataloader.dataset.{key}"] = value
        settings[f"{loader}_dataloader.dataset.metainfo.classes"] = found["classes"]
    return settings | found.get("settings", {})


def settings_of(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """What a config's ``own_data`` comes to, as dotted keys; nothing of a config without one.

    Without the folder, as where a model is only applied, names of classes that are given count.

    Raises:
        ValueError, FileNotFoundError: as :func:`find_own_data`.
    """
    own = cfg.get("own_data")
    if not own:
        return {}
    classes = own.get("classes")
    if isinstance(classes, str):
        raise ValueError(
            f"own_data.classes={classes}: several names are needed, \"('{classes}','other')\""
        )
    loaders = [loader for loader in LOADERS if cfg.get(loader)]  # frozen measures never validate
    if not Path(own["root"]).is_dir():
        names = {} if classes is None else {"metainfo.classes": tuple(classes)}
        return {f"{loader}.dataset.{k}": v for loader in loaders for k, v in names.items()}
    found = find_own_data(TASKS[cfg["default_scope"]], **own)
    masks = found.pop("masks", True)
    absent = set(LOADERS) - set(loaders)
    found = {key: value for key, value in found.items() if key.split(".")[0] not in absent}
    if not masks:
        found |= BOXES_ONLY
        for loader in loaders:
            for i, step in enumerate(cfg[loader]["dataset"]["pipeline"]):
                if "with_mask" in step:
                    found[f"{loader}.dataset.pipeline.{i}.with_mask"] = False
    return found
