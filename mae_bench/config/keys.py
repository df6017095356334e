"""Dotted keys of a config: reading, setting, walking."""

from collections.abc import Iterator
from typing import Any

from mmengine.config import ConfigDict

BATCH_KEY = "total_batch_size"  # samples of an optimizer step, on all GPUs
LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
PARTS = ("val", "test")


def find(node: Any, key: str) -> Any:
    """Value at a dotted key, list positions included; None where there is none."""
    for part in key.split("."):
        if hasattr(node, "keys"):
            node = node.get(part)
        elif isinstance(node, (list, tuple)) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        else:
            return None
    return node


def set_at(node: Any, key: str, value: Any) -> None:
    """Set a dotted key; dicts that are missing on the way are made."""
    *parts, last = key.split(".")
    for part in parts:
        if isinstance(node, (list, tuple)):
            node = node[int(part)]
            continue
        if node.get(part) is None:
            node[part] = ConfigDict()
        node = node[part]
    node[int(last) if isinstance(node, list) else last] = value


def walk(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Every dict at and below a node, with its dotted key, ``key`` being that of the node."""
    if hasattr(node, "keys"):
        yield key, node
        children = list(node.items())
    elif isinstance(node, (list, tuple)):
        children = list(enumerate(node))
    else:
        return
    for name, child in children:
        yield from walk(child, f"{key}.{name}" if key else str(name))


def name_of(node: Any) -> str:
    """Name of the class that a dict of the config is for; empty where it says none."""
    kind = node.get("type") if hasattr(node, "keys") else None
    return kind.rpartition(".")[2] if isinstance(kind, str) else getattr(kind, "__name__", "")


def class_counts(cfg: Any) -> Iterator[str]:
    """Keys that say a number of classes, of the model and of the data sets."""
    for top in ("model", *LOADERS):
        for key, node in walk(cfg.get(top), top):
            if node.get("num_classes") is not None:
                yield f"{key}.num_classes"
