"""What a published number is, and the table it stands in."""

from collections.abc import Mapping
from dataclasses import dataclass, field

PAPER = "MAE paper (arXiv:2111.06377)"
OFFICIAL = "official repository (facebookresearch/mae)"
NOT_PUBLISHED = "not published"


@dataclass(frozen=True)
class Metric:
    """What a number measures and in which unit.

    `higher_is_better` is None where no direction is better: a parameter count, a difference.
    """

    name: str
    unit: str
    higher_is_better: bool | None


TOP1 = Metric("top-1 accuracy", "%", True)
TOP5 = Metric("top-5 accuracy", "%", True)
ERROR = Metric("top-1 error", "%", False)
MCE = Metric("mean corruption error, AlexNet = 100", "%", False)
BOX_AP = Metric("box AP", "%", True)
MASK_AP = Metric("mask AP", "%", True)
MIOU = Metric("mean IoU", "%", True)
MEAN_CLASS_ACCURACY = Metric("mean class accuracy", "%", True)
PIXEL_ACCURACY = Metric("pixel accuracy", "%", True)
LOSS = Metric("cross-entropy loss", "nat", False)
HOURS = Metric("wall-clock time", "h", False)
SPEEDUP = Metric("speed-up", "×", True)
FLOPS = Metric("FLOPs relative to the default", "×", False)
PARAMETERS = Metric("parameters", "M", None)
DIFFERENCE = Metric("difference", "points", None)
SPREAD = Metric("standard deviation", "points", None)


@dataclass(frozen=True)
class PublishedNumber:
    """One cell of a published table.

    `value` is None where the table has none; `note` then says why, and otherwise what a reader
    must know about the number (estimated, printed differently elsewhere).
    """

    table: str
    row: str
    column: str
    value: float | None
    metric: Metric
    source: str
    note: str = ""


@dataclass(frozen=True)
class PublishedTable:
    """A table with rows and columns in the published order.

    Args:
        name: as the paper calls it (``"Table 1a"``), or what the table is.
        about: what it shows: model, data, setting.
        source: where it is printed.
        row_heading: heading of the row titles.
        columns: column title -> metric.
        rows: row title -> one value per column, None for a cell without a number.
        row_metrics: row title -> metric of all its cells, where it differs from the columns'.
        text_columns: heading -> {row title: text}, columns that hold no numbers.
        notes: (row title, column title) -> note of that cell.
        missing: note of the cells without a number that have none of their own.

    Raises:
        ValueError: a row of another length than `columns`, or a name that is no row or column.
    """

    name: str
    about: str
    source: str
    row_heading: str
    columns: Mapping[str, Metric]
    rows: Mapping[str, tuple[float | None, ...]]
    row_metrics: Mapping[str, Metric] = field(default_factory=dict)
    text_columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    notes: Mapping[tuple[str, str], str] = field(default_factory=dict)
    missing: str = NOT_PUBLISHED

    def __post_init__(self) -> None:
        for row, values in self.rows.items():
            if len(values) != len(self.columns):
                raise ValueError(
                    f"{self.name}, row '{row}': {len(values)} values for "
                    f"{len(self.columns)} columns"
                )
        for row, column in self.notes:
            self._check(row, column)
        for row in [
            *self.row_metrics,
            *(row for text in self.text_columns.values() for row in text),
        ]:
            self._check(row)

    def number(self, row: str, column: str) -> PublishedNumber:
        """The cell at `row` and `column`.

        Raises:
            ValueError: the table has no such row or column.
        """
        self._check(row, column)
        value = self.rows[row][list(self.columns).index(column)]
        metric = self.row_metrics.get(row, self.columns[column])
        note = self.notes.get((row, column), self.missing if value is None else "")
        return PublishedNumber(self.name, row, column, value, metric, self.source, note)

    def numbers(self) -> list[PublishedNumber]:
        """All cells, row by row."""
        return [self.number(row, column) for row in self.rows for column in self.columns]

    def _check(self, row: str, column: str | None = None) -> None:
        for kind, name, known in (("row", row, self.rows), ("column", column, self.columns)):
            if name is not None and name not in known:
                titles = ", ".join(f"'{title}'" for title in known)
                raise ValueError(f"{self.name}: no {kind} '{name}'; it has {titles}")
