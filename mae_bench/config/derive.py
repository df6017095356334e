"""What follows from an override: sizes, classes, lengths and loaders that one value decides.

A config states each of these several times, because each class of the host libraries wants it
again. An override states it once, and :func:`derive` sets the rest. A key that was given stays as
it was given; what then contradicts another key is refused by :mod:`.consistency`.
"""

import copy
import re
from typing import Any

from mmengine.config import Config

from .arguments import dataset_nodes
from .backbone_swap import fit_to_backbone
from .change import Change
from .keys import BATCH_KEY, LOADERS, PARTS, class_counts, find, name_of, walk

# What a transform calls the size of the image that it makes, in pixels.
SIZE_KEYS = ("size", "resize", "crop_size", "scale", "img_scale")


def derive(cfg: Config, before: Config, given: set[str]) -> None:
    """Set what follows from the overrides.

    Args:
        cfg: config with its overrides, changed in place.
        before: the config without them.
        given: their dotted keys, which stay as they are.

    Raises:
        ValueError: the backbone does not fit the neck (``backbone_swap.py``).
    """
    change = Change(cfg, before, given)
    _follow_validation(change)
    _follow_annotations(change)
    fitted = re.compile(r"model\.(backbone|neck|target|\w*head\b.*\bin_channels|data_preprocessor)")
    if any(map(fitted.match, given)) and "backbone" in before.model:
        fit_to_backbone(change)
    _follow_image_size(change)
    _follow_classes(change)
    _follow_length(change)
    _follow_batch(change)
    _follow_workers(change)


def _follow_validation(change: Change) -> None:
    """Where a config tests as it validates, an override of validation is one of the test too."""
    for part in ("dataloader", "evaluator"):
        val, test = f"val_{part}", f"test_{part}"
        if val not in change.before or change.before[val] != change.before.get(test):
            continue
        for key in sorted(change.given):
            switched_off = key == val and change.cfg[val] is None
            if key.startswith(val) and not switched_off:
                twin = test + key.removeprefix(val)
                change.set(twin, copy.deepcopy(find(change.cfg, key)))


def _follow_annotations(change: Change) -> None:
    """COCO's evaluator reads the annotations of its data set, by a path of its own."""
    for part in PARTS:
        old = _annotations(change.before, part)
        key = f"{part}_evaluator.ann_file"
        if old and find(change.before, key) == old:
            change.set(key, _annotations(change.cfg, part))


def _annotations(cfg: Config, part: str) -> str | None:
    dataset = find(cfg, f"{part}_dataloader.dataset") or {}
    if not isinstance(dataset.get("ann_file"), str):
        return None
    return f"{dataset['data_root']}/{dataset['ann_file']}" if dataset.get("data_root") else None


def _follow_batch(change: Change) -> None:
    """In a recipe for one GPU the batch of that GPU is the batch of a step."""
    size, accumulation = "train_dataloader.batch_size", "optim_wrapper.accumulative_counts"
    if find(change.before, size) != change.before.get(BATCH_KEY):
        return
    if change.is_given(accumulation):
        change.set(BATCH_KEY, None)
    elif change.changed(size):
        change.set(BATCH_KEY, find(change.cfg, size))


def _follow_image_size(change: Change) -> None:
    """Crops, resizing and padding keep their ratio to the size that the backbone is made for."""
    _warn_of_another_crop(change)
    changed = change.changed("model.backbone.img_size")
    if not changed or not all(isinstance(size, int) for size in changed):
        return
    old, new = changed
    for loader in LOADERS:
        evaluated = loader != "train_dataloader"
        dataset = (change.cfg.get(loader) or {}).get("dataset") or {}
        cropped = any("CenterCrop" in name_of(node) for _, node in walk(dataset, ""))
        # As the official code evaluates: above 224 pixels there is no margin to crop.
        no_margin = evaluated and new > 224 and (cropped or "transform" in dataset)
        for key, node in walk(dataset, f"{loader}.dataset"):
            for name in SIZE_KEYS:
                scaled = _scaled(node.get(name), old, new)
                if scaled is None:
                    continue
                margin = name == "resize" or name_of(node) == "Resize"
                change.set(f"{key}.{name}", new if no_margin and margin else scaled)
    for key in ("size", "test_cfg.size", "pad_size_divisor"):
        _rescale(change, f"model.data_preprocessor.{key}", old, new)
    for key in ("crop_size", "stride"):
        _rescale(change, f"model.test_cfg.{key}", old, new)


def _warn_of_another_crop(change: Change) -> None:
    size = find(change.cfg, "model.backbone.img_size")
    if change.is_given("model.backbone.img_size") and isinstance(size, (list, tuple)):
        print(f"warning: model.backbone.img_size={size} is not one number: crops stay as they are")
    for key in sorted(change.given):
        crop = find(change.cfg, key)
        crops = crop if isinstance(crop, (list, tuple)) else [crop]
        if (
            key.startswith("train_dataloader.dataset.pipeline.")
            and key.rpartition(".")[2] in SIZE_KEYS
            and isinstance(size, int)
            and all(isinstance(side, int) for side in crops)
            and size not in crops
        ):
            print(
                f"warning: {key}={crop}, but the positions of the model are made for "
                f"model.backbone.img_size={size} and are resized at each step: that key alone sets "
                "all crops"
            )


def _rescale(change: Change, key: str, old: int, new: int) -> None:
    value = find(change.before, key)
    whole = not key.endswith("divisor") or value == old  # a divisor may be of the strides
    if whole and (scaled := _scaled(value, old, new)) is not None:
        change.set(key, scaled)


def _scaled(value: Any, old: int, new: int) -> Any:
    """A number of pixels, or a pair or list of them, times new / old; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return round(value * new / old)
    if isinstance(value, (list, tuple)) and value:
        scaled = [_scaled(item, old, new) for item in value]
        return None if None in scaled else type(value)(scaled)
    return None


def _follow_classes(change: Change) -> None:
    """The class list sets heads and preprocessor; a number of classes sets all others."""
    nodes = [found for loader in LOADERS for found in dataset_nodes(change.cfg, loader)]
    given = [
        node.metainfo.classes
        for key, node, _ in nodes
        if find(node, "metainfo.classes") is not None and change.is_given(f"{key}.metainfo.classes")
    ]
    number = None
    if given and not isinstance(given[0], str):
        number = len(given[0])
        for key, node, _ in nodes:
            change.set(f"{key}.metainfo.classes", given[0])
            palette = find(node, "metainfo.palette")
            if (
                palette
                and len(palette) != number
                and not change.is_given(f"{key}.metainfo.palette")
            ):
                del node.metainfo["palette"]  # mmseg then chooses colours
    counts = list(class_counts(change.cfg))
    if number is None:
        numbers = {find(change.cfg, key) for key in counts if change.is_given(key)}
        number = numbers.pop() if len(numbers) == 1 else None
    if number is None or any(len(classes) != number for classes in _class_lists(nodes)):
        return
    for key in counts:
        change.set(key, number)
    for part in PARTS:
        topk = find(change.cfg, f"{part}_evaluator.topk")
        if isinstance(topk, (list, tuple)) and max(topk) > number:
            # mmpretrain refuses the top 5 of fewer classes at the first validation.
            kept = tuple(k for k in topk if k <= number)
            change.set(f"{part}_evaluator.topk", kept)


def _class_lists(nodes: list[tuple[str, Any, type]]) -> list[Any]:
    own = [getattr(kind, "METAINFO", {}).get("classes") for _, _, kind in nodes]
    listed = [find(node, "metainfo.classes") for _, node, _ in nodes]
    found = [there or default for there, default in zip(listed, own, strict=True)]
    return [classes for classes in found if isinstance(classes, (list, tuple))]


def _follow_length(change: Change) -> None:
    """Schedules end with the run; steps keep their share of it."""
    for unit in ("max_epochs", "max_iters"):
        changed = change.changed(f"train_cfg.{unit}")
        if not changed or not all(changed):
            continue
        old, new = changed
        for key, node in walk(change.cfg.get("param_scheduler"), "param_scheduler"):
            if node.get("by_epoch", True) != (unit == "max_epochs"):
                continue
            for name in ("end", "T_max"):
                if node.get(name) == old:
                    change.set(f"{key}.{name}", new)
            if "milestones" in node:
                change.set(f"{key}.milestones", [round(m * new / old) for m in node["milestones"]])


def _follow_workers(change: Change) -> None:
    """Without worker processes none persist; PyTorch refuses that."""
    for loader in LOADERS:
        settings = change.cfg.get(loader) or {}
        if settings.get("num_workers") == 0 and settings.get("persistent_workers"):
            change.set(f"{loader}.persistent_workers", False)
