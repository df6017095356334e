"""Search grids: which runs a task has, and which of them is its result."""

import itertools
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..config.overrides import as_options
from ..results.record import Record
from .spec import Task


@dataclass(frozen=True)
class Cell:
    """One combination of a grid, or the only run of a task without one.

    Attributes:
        label: task label of its record, such as ``finetune,lr=0.001,drop_path_rate=0.1``.
        options: overrides as they stand on the command line.
    """

    label: str
    options: dict[str, str]


def cells_of(label: str, task: Task) -> list[Cell]:
    """Runs of a task for one initialisation and seed.

    Raises:
        ValueError: a value stands in the grid twice.
    """
    overrides = as_options(task.overrides)
    names = _short_names(list(task.grid))
    cells: dict[str, Cell] = {}
    for values in itertools.product(*task.grid.values()):
        options = as_options(dict(zip(task.grid, values, strict=True)))
        settings = [f"{names[key]}={text}" for key, text in options.items()]
        # a folder is named after it
        name = re.sub(r"[^A-Za-z0-9_.+=,-]", "_", ",".join([label, *settings]))
        if name in cells:
            raise ValueError(f"tasks.{label}.grid has {name} twice")
        cells[name] = Cell(name, {**overrides, **options})
    return list(cells.values())


def _short_names(keys: Sequence[str]) -> dict[str, str]:
    """The last part of each dotted key, or as many as tell them apart."""
    names = {}
    for key in keys:
        parts = key.split(".")
        length = 1
        while any(other != key and other.split(".")[-length:] == parts[-length:] for other in keys):
            length += 1
        names[key] = ".".join(parts[-length:])
    return names


def best_cell(records: Mapping[str, Record], metric: str, best: str) -> tuple[str, dict]:
    """Label of the cell with the best mean over seeds, and the mean of each cell.

    The first of equals counts; a cell with a value that is not finite does not.

    Args:
        records: job name -> record; the record's task is the label of its cell.
        metric: key in the records' metrics.
        best: ``"max"`` or ``"min"``.

    Raises:
        ValueError: a record lacks the metric, or no cell has finite values.
    """
    values: dict[str, list[float]] = {}
    for name, record in records.items():
        if metric not in record.metrics:
            known = ", ".join(sorted(record.metrics)) or "none"
            raise ValueError(f"{name}: no metric '{metric}' to select by; it has {known}")
        values.setdefault(record.task, []).append(record.metrics[metric])
    means = {label: statistics.fmean(numbers) for label, numbers in values.items()}
    finite = {label: mean for label, mean in means.items() if math.isfinite(mean)}
    if not finite:
        raise ValueError(f"no run has a finite '{metric}' to select by")
    pick = min if best == "min" else max
    return pick(finite, key=lambda label: finite[label]), means
