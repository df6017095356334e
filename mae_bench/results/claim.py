"""Claims of a run by hand: ``--cell TABLE ROW COLUMN``."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..config.load import load_config
from ..config.locate import find_config
from ..config.neutral_keys import is_neutral
from .shipped import find_table
from .table import PRETRAIN, Cell, Table

MOST_DIFFERENCES = 8  # that a claim spells out
# of a run and not of its recipe
_RUN_KEYS: tuple[str, ...] = (
    "overrides",
    "cells",
    "work_dir",
    "launcher",
    "resume",
    "fsdp",
    "load_from",
)
_RUN_KEYS += ("checkpoint_file", "record_file", "model.backbone.init_cfg", "model.init_cfg")


def claim_cells(places: Sequence[Sequence[str]], cfg: Any) -> list[dict[str, Any]]:
    """Check what a run by hand claims, and say where its config departs from the cells' recipes.

    Args:
        places: table (name or file), row and column of each cell.
        cfg: the run's resolved config.

    Returns:
        claims as a record holds them, with ``differs`` where there is a difference.

    Raises:
        ValueError: no such cell, or one that nothing measures.
    """
    claims = []
    for name, row, column in places:
        table = find_table(name)
        cell = table.cell(row, column)
        if cell.task is None:
            raise ValueError(f"--cell: nothing measures {table.name}, {row}, {column}")
        claim: dict[str, Any] = {"table": table.name, "row": row, "column": column}
        differs = config_differences(cfg, recipe_of(table, cell))
        if differs:
            claim["differs"] = differs
        claims.append(claim)
    return claims


def recipe_of(table: Table, cell: Cell) -> Any:
    """The resolved config of a cell's recipe."""
    if cell.task == PRETRAIN:
        start = table.starts[cell.start or ""]
        return load_config(find_config(str(start.pretrain)), dict(start.overrides))
    task = table.tasks[cell.task or ""]
    return load_config(find_config(task.config), {**task.overrides, **cell.overrides})


def config_differences(own: Any, recipe: Any) -> list[str]:
    """Values in which a config departs from a recipe, but for what changes no result.

    What is None in `own` is not used by the run, such as the training part in a test.
    """
    ours, theirs = dict(_flat(own)), dict(_flat(recipe))
    unused = [key for key, value in ours.items() if value is None]
    found = []
    for key in dict.fromkeys([*theirs, *ours]):
        skipped = any(key == top or key.startswith(f"{top}.") for top in (*unused, *_RUN_KEYS))
        if skipped or is_neutral(key) or _text(ours.get(key)) == _text(theirs.get(key)):
            continue
        was = f", recipe {_text(theirs[key])}" if key in theirs else ", not in the recipe"
        stated = _text(ours[key]) if key in ours else "left out"
        found.append(f"{key}={stated}{was}")
    if len(found) > MOST_DIFFERENCES:
        more = len(found) - MOST_DIFFERENCES
        found = [*found[:MOST_DIFFERENCES], f"and {more} more values of the config"]
    return found


def _flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    items: Any = None
    if isinstance(node, Mapping):
        items = node.items()
    elif isinstance(node, (list, tuple)) and any(isinstance(c, (Mapping, list)) for c in node):
        items = enumerate(node)
    if not items:
        yield prefix, node
        return
    for key, child in items:
        yield from _flat(child, f"{prefix}.{key}" if prefix else str(key))


def _text(value: Any) -> str:
    if isinstance(value, type):
        return value.__name__
    return repr(list(value)) if isinstance(value, (list, tuple)) else str(value)
