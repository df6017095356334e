"""Which published cell a run measures: the one place that decides it.

A config says which cells it stands for in its variable ``reproduces``, a list of dicts that goes
into the record as it is:

======= ============================================================================================
key     meaning
======= ============================================================================================
table   name of a table of `published`, such as ``"Table 4"``
column  title of a column
row     title of a row
metric  key of the record's metrics, or ``duration_seconds``, or a number of its run card
scale   the cell is metric x scale; 1 where left out
differs list of sentences: how the config itself departs from the published recipe
======= ============================================================================================

A row or column is a title, or ``{start: title}`` where it depends on what the backbone started
from. A *start* is the method of the first training in the checkpoint's metadata (``"mae"``,
``"moco_v3"``, ``"beit"``, ``"dino"``, ``"supervised"``) or ``"random"`` without a checkpoint. A row
that is left out is taken from

1. `ROWS`, for tables whose rows are starts, else from
2. the number of blocks that train, for Figure 9, else from
3. the pre-training run that the backbone comes from: a pre-training config names just the table
   and its row (no column, no metric). So one fine-tuning config fills a whole ablation.

Where row and column are both plain titles the cell is one of an MAE start, and no other start fills
it. A start that a table has no row for fills no cell.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .published import published_table
from .record import Record

RANDOM = "random"
MAE = "mae"
_METHODS = {"supervised": "supervised", "moco_v3": "MoCo v3", "beit": "BEiT", "mae": "MAE"}
ROWS: dict[str, dict[str, str]] = {
    "Table 3": {
        "random": "scratch, our impl.",
        "dino": "DINO",
        "moco_v3": "MoCo v3",
        "beit": "BEiT",
        "mae": "MAE",
    },
    "Table 4": _METHODS,
    "Table 5": _METHODS,
}
KEYS = ("table", "column", "row", "metric", "scale", "differs")


@dataclass(frozen=True)
class Measurement:
    """One value of one run for one published cell.

    `condition` is what stays the same when only the start changes: the row's title, or the metric
    where the row is the start.
    """

    run: str
    table: str
    row: str
    column: str
    value: float
    differs: tuple[str, ...]
    condition: str
    metric: str


def check_entries(entries: Any, where: str) -> None:
    """Check the variable ``reproduces`` of a config.

    Raises:
        ValueError: it is no list of dicts as the module's docstring says, or names a table, row or
            column that there is not; the message starts with `where`.
    """
    if not isinstance(entries, (list, tuple)) or not all(isinstance(e, Mapping) for e in entries):
        raise ValueError(f"{where}: key 'reproduces' must be a list of dicts")
    for index, entry in enumerate(entries):
        try:
            _check_entry(entry)
        except ValueError as error:
            raise ValueError(f"{where}: key 'reproduces.{index}': {error}") from None


def _check_entry(entry: Mapping[str, Any]) -> None:
    for key in entry:
        if key not in KEYS:
            raise ValueError(f"unknown key '{key}'; it may have {', '.join(KEYS)}")
    if "table" not in entry:
        raise ValueError("key 'table' is missing")
    table = published_table(entry["table"])
    if ("column" in entry) != ("metric" in entry):
        raise ValueError("keys 'column' and 'metric' belong together")
    if "column" not in entry and not isinstance(entry.get("row"), str):
        raise ValueError("needs 'column' and 'metric', or, of a pre-training, 'row'")
    for row in _titles(entry.get("row")):
        for column in _titles(entry.get("column")) or list(table.columns)[:1]:
            table.number(row, column)
    for column in _titles(entry.get("column")):
        table.number(next(iter(table.rows)), column)
    if not isinstance(entry.get("scale", 1), (int, float)):
        raise ValueError(f"key 'scale' is {entry['scale']!r}, not a number")
    differs = entry.get("differs", [])
    if isinstance(differs, str) or not all(isinstance(text, str) for text in differs):
        raise ValueError("key 'differs' must be a list of sentences")


def _titles(spec: str | Mapping[str, str] | None) -> list[str]:
    if spec is None:
        return []
    return [spec] if isinstance(spec, str) else list(spec.values())


def start_of(record: Record) -> str | None:
    """What the backbone started from; None where its checkpoint does not say."""
    if record.checkpoint is None:
        return RANDOM
    metadata = record.checkpoint.get("metadata")
    return metadata["method"].split(" + ")[0] if metadata else None


def ancestors(name: str, records: Mapping[str, Record]) -> list[str]:
    """Runs that made what run `name` started from, the nearest first: by SHA-256, not by name."""
    makers = {sha256: run for run, record in records.items() for sha256 in record.exported_sums()}
    found: list[str] = []
    checkpoint = records[name].checkpoint
    while checkpoint and (maker := makers.get(checkpoint["sha256"])) and maker not in found:
        found.append(maker)
        checkpoint = records[maker].checkpoint
    return found


def measurements(name: str, records: Mapping[str, Record]) -> tuple[list[Measurement], list[str]]:
    """Cells that run `name` measures, and what it should have measured but has no metric for.

    Of several entries for one cell the first whose metric is there counts.

    Args:
        name: key of `records`.
        records: run name -> record; those a run comes from are looked up here.

    Raises:
        ValueError: an entry of the record is wrong.
    """
    record = records[name]
    check_entries(record.reproduces, name)
    start = start_of(record)
    found: dict[tuple[str, str, str], Measurement] = {}
    missing: dict[tuple[str, str, str], str] = {}
    for entry in record.reproduces:
        if "column" not in entry:
            continue
        table, metric = entry["table"], entry["metric"]
        row = _resolve(entry.get("row") or _default_row(name, records, table), start)
        column = _resolve(entry["column"], start)
        plain = isinstance(entry.get("row"), str) and isinstance(entry["column"], str)
        if row is None or column is None or (plain and start != MAE):
            continue
        place = (table, row, column)
        value = measured(record, metric)
        if value is None:
            missing.setdefault(place, f"{name}: no metric '{metric}' for {', '.join(place)}")
        elif place not in found:
            condition = row if isinstance(entry.get("row"), str) else metric
            value *= entry.get("scale", 1)
            differs = tuple(entry.get("differs", ()))
            found[place] = Measurement(name, *place, value, differs, condition, metric)
    problems = [text for place, text in missing.items() if place not in found]
    return list(found.values()), problems


def measured(record: Record, metric: str) -> float | None:
    """A number of a record: a metric, its duration, or an entry of its run card; None without."""
    if metric in record.metrics:
        return record.metrics[metric]
    if metric == "duration_seconds":
        return record.duration_seconds
    value = record.run_card.get(metric)
    return value if isinstance(value, (int, float)) else None


def _default_row(
    name: str, records: Mapping[str, Record], table: str
) -> str | Mapping[str, str] | None:
    """The row of an entry that names none."""
    if table == "Figure 9":
        blocks = records[name].run_card.get("trained_blocks")
        row = None if blocks is None else f"{blocks:g}"
        return row if row in published_table(table).rows else None
    return ROWS.get(table) or _row_of_pretraining(name, records, table)


def _row_of_pretraining(name: str, records: Mapping[str, Record], table: str) -> str | None:
    runs: Sequence[str] = [name, *ancestors(name, records)]
    for run in runs:
        for entry in records[run].reproduces:
            if entry["table"] == table and "column" not in entry:
                return entry["row"]
    return None


def _resolve(spec: str | Mapping[str, str] | None, start: str | None) -> str | None:
    if spec is None or isinstance(spec, str):
        return spec
    return spec.get(start) if start else None
