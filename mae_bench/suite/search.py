"""Search grids: which runs a task has, and which of them is its result."""

import hashlib
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence

from ..config.overrides import as_options
from ..results.record import Record
from ..results.table import Task, folder_name

LONGEST_NAME = 120  # of the folder of a run; file systems take 255 bytes


def grid_points(task: Task) -> list[dict[str, str]]:
    """Overrides of each run of a task, as they stand on a command line; one without a grid.

    Raises:
        ValueError: a value stands in the grid twice.
    """
    points: list[dict[str, str]] = []
    for values in itertools.product(*task.grid.values()):
        options = as_options(dict(zip(task.grid, values, strict=True)))
        if options in points:
            raise ValueError(f"tasks.{task.label}.grid has {options} twice")
        points.append(options)
    return points


def settings_label(label: str, options: Mapping[str, str]) -> str:
    """Name of a run of a task with these overrides, fit for a folder: ``finetune,lr=0.001``."""
    names = _short_names(list(options))
    settings = [f"{names[key]}={text}" for key, text in options.items()]
    name = folder_name(",".join([label, *settings]))
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[:LONGEST_NAME]},{hashlib.sha256(name.encode()).hexdigest()[:8]}"


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
