"""Values of a config that contradict each other, found before anything is built."""

import inspect
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config

from .arguments import dataset_nodes
from .keys import LOADERS, PARTS, class_counts, find, walk


def check_consistency(cfg: Config) -> None:
    """Refuse a config whose values contradict each other.

    Raises:
        ValueError: heads and data have another number of classes, or the loaders other classes; a
            schedule begins after the run ends. The message names the keys.
    """
    _check_classes(cfg)
    _check_schedule(cfg)


def _check_classes(cfg: Config) -> None:
    known: tuple[str, list[str]] | None = None
    counted: tuple[str, int] | None = None
    for loader in LOADERS:
        for key, classes in _class_lists(cfg, loader):
            if isinstance(classes, str):
                raise ValueError(f"""{key}={classes!r} is no list: write {key}="['{classes}']\"""")
            if isinstance(classes, int):
                counted = counted or (key, classes)
                continue
            if known and list(classes) != known[1]:
                raise ValueError(
                    f"{key} is not {known[0]}: labels would mean other classes "
                    f"({_difference(list(classes), known[1])})"
                )
            known = known or (key, list(classes))
    if known:
        counted = (known[0], len(known[1]))
    if counted is None:
        return
    where, number = counted
    for key in class_counts(cfg):
        if (value := find(cfg, key)) != number:
            raise ValueError(
                f"{key}={value}, but {where} says {number}: give the list of classes, "
                "train_dataloader.dataset.metainfo.classes, and the numbers follow"
            )
    for key, node in walk(cfg.model, "model"):
        weights = node.get("class_weight")
        if isinstance(weights, (list, tuple)) and len(weights) != number:
            raise ValueError(
                f"{key}.class_weight has {len(weights)} weights for {number} classes: give as "
                "many, or none"
            )
    for part in PARTS:
        topk = find(cfg, f"{part}_evaluator.topk")
        if isinstance(topk, (list, tuple)) and max(topk) > number:
            raise ValueError(f"{part}_evaluator.topk={topk} asks for more than {number} classes")


def _class_lists(cfg: Config, loader: str) -> Iterator[tuple[str, Any]]:
    """Keys of a loader that say the classes, or how many: each with its value."""
    for key, node, kind in dataset_nodes(cfg, loader):
        if (classes := find(node, "metainfo.classes")) is not None:
            yield f"{key}.metainfo.classes", classes
        elif "num_classes" in inspect.signature(kind).parameters:
            default = inspect.signature(kind).parameters["num_classes"].default
            if isinstance(number := node.get("num_classes", default), int):
                yield f"{key}.num_classes", number
        elif classes := getattr(kind, "METAINFO", {}).get("classes"):
            yield f"{key}.metainfo.classes (that of {kind.__name__})", classes


def _difference(found: list[str], expected: list[str]) -> str:
    if len(found) != len(expected):
        return f"{len(found)} and {len(expected)}"
    place = next(
        i for i, names in enumerate(zip(found, expected, strict=True)) if len({*names}) > 1
    )
    return f"label {place} is {found[place]!r} and {expected[place]!r}"


def _check_schedule(cfg: Config) -> None:
    hooks = cfg.get("default_hooks") or {}
    if cfg.get("param_scheduler") and hooks.get("param_scheduler", True) is None:
        raise ValueError(
            "default_hooks.param_scheduler=None would leave the rate at the first value of its "
            "warm-up: for a constant one give param_scheduler=None"
        )
    settings = cfg.get("train_cfg") or {}
    for unit in ("max_epochs", "max_iters"):
        length = settings.get(unit)
        if length is None:
            continue
        run = f"train_cfg.{unit}"
        if not isinstance(length, int) or length < 1:
            raise ValueError(f"{run}={length!r} must be a whole number of at least 1")
        for key, node in walk(cfg.get("param_scheduler"), "param_scheduler"):
            if node.get("by_epoch", True) == (unit == "max_epochs"):
                _check_scheduler(key, node, length, run)


def _check_scheduler(key: str, node: Any, length: float, run: str) -> None:
    if "start_factor" in node and node.get("end", 0) > length:
        raise ValueError(
            f"{key}.end={node['end']}, the end of its warm-up, is after {run}={length}: shorten it "
            "too"
        )
    limit = (length, run)
    if isinstance(end := node.get("end"), (int, float)):
        limit = min(limit, (end, f"{key}.end"))
    for name in ("warmup", "begin"):
        start = node.get(name, 0)
        if start and not 0 <= start < limit[0]:
            raise ValueError(
                f"{key}.{name}={start} must be at least 0 and less than {limit[1]}={limit[0]}: "
                "shorten it too"
            )
