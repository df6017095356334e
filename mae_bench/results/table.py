"""Tables from records: one row per initialisation, one column per metric of a task.

A cell is the mean over seeds, with the sample standard deviation (divisor n - 1) from two seeds
on. A cell without a run is empty.
"""

import json
import logging
import math
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.table import Table as RichTable

from ..files import write_json_atomic
from ..run_folder import RECORD_NAME, RECORD_SUFFIX, SUITE_NAME
from .grid import DOWN, MINUS, PLUS_MINUS, Grid, GridCell, GridRow
from .record import Record, read_record

BASELINE = "random"  # initialisation that differences are taken to
ABOUT = (
    f"Mean over seeds {PLUS_MINUS} sample standard deviation; {DOWN}: lower is better; bold: best "
    "of the column. Differences are between runs of the same seed."
)


@dataclass(frozen=True)
class Column:
    """One metric of one task; the table shows the record's value times `scale`."""

    task: str
    metric: str
    title: str
    scale: float = 1.0
    lower_is_better: bool = False

    @property
    def heading(self) -> str:
        """Title, with an arrow where lower is better."""
        return f"{self.title} {DOWN}" if self.lower_is_better else self.title


@dataclass(frozen=True)
class Layout:
    """Rows and columns of the table of one work dir."""

    name: str
    initialisations: list[str]
    columns: list[Column]


@dataclass(frozen=True)
class Cell:
    """Values of one metric; `values` maps the seed to the value (or the difference) shown."""

    values: dict[int | None, float] = field(default_factory=dict)
    best: bool = False

    @property
    def mean(self) -> float | None:
        """Mean over seeds, None without a run."""
        return statistics.fmean(self.values.values()) if self.values else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation over seeds, None below two of them."""
        if len(self.values) < 2:
            return None
        if not all(map(math.isfinite, self.values.values())):
            return math.nan
        return statistics.stdev(self.values.values())

    def text(self, signed: bool = False, digits: int = 1) -> str:
        """``"45.3 ± 0.4"``, ``"45.3"``, or nothing without a run."""
        if self.mean is None:
            return ""
        text = f"{self.mean:{'+' if signed else ''}.{digits}f}"
        if self.std is not None:
            text += f" {PLUS_MINUS} {self.std:.{digits}f}"
        return text.replace("-", MINUS)


@dataclass(frozen=True)
class Row:
    """An initialisation, or the difference between one and the baseline."""

    label: str
    cells: list[Cell]
    difference: bool = False

    @property
    def seeds(self) -> str:
        """Number of seeds: ``"3"``, or ``"2-3"`` where cells differ; empty without a run."""
        counts = sorted({len(cell.values) for cell in self.cells if cell.values})
        if not counts:
            return ""
        return str(counts[0]) if len(counts) == 1 else f"{counts[0]}-{counts[-1]}"

    def texts(self) -> list[str]:
        """Text of each cell."""
        return [cell.text(signed=self.difference) for cell in self.cells]


@dataclass(frozen=True)
class Table:
    """Rows of initialisations, then rows of differences."""

    layout: Layout
    rows: list[Row]

    def grid(self) -> Grid:
        """The table as text."""
        rows = []
        for row in self.rows:
            cells = [
                GridCell(text, cell.best) for cell, text in zip(row.cells, row.texts(), strict=True)
            ]
            rows.append(GridRow(row.label, [*cells, GridCell(row.seeds)], row.difference))
        return Grid(self.layout.name, ABOUT, self._headings(), rows)

    def markdown(self) -> str:
        """GitHub-flavoured Markdown; the best of a column is bold."""
        return self.grid().markdown()

    def rich(self) -> RichTable:
        """Table for a terminal."""
        return self.grid().rich()

    def _headings(self) -> list[str]:
        return ["initialisation", *(column.heading for column in self.layout.columns), "seeds"]


def write_layout(layout: Layout, work_dir: str | Path) -> None:
    """Leave the layout in the work dir, so that its table can be drawn from the folder alone."""
    write_json_atomic(asdict(layout), Path(work_dir) / SUITE_NAME)


def read_layout(work_dir: str | Path) -> Layout:
    """Layout of a work dir.

    Raises:
        FileNotFoundError: `work_dir` is no work dir of a suite.
        ValueError: its layout is unreadable.
    """
    path = Path(work_dir) / SUITE_NAME
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; is {work_dir} a --work-dir of a suite?")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        columns = [Column(**column) for column in data["columns"]]
        return Layout(data["name"], data["initialisations"], columns)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not the layout of a suite ({error})") from None


def read_records(work_dir: str | Path) -> dict[str, Record]:
    """Completed records below `work_dir`: run name (folder relative to it) -> record.

    A file that is no record is named in a warning and skipped.
    """
    records, problems = scan_records(work_dir)
    for problem in problems:
        logging.getLogger(__name__).warning("skipped: %s", problem)
    return records


def scan_records(work_dir: str | Path) -> tuple[dict[str, Record], list[str]]:
    """As `read_records`, and what is wrong with each file that was skipped, which it names.

    Records are files named ``record.json``, whose run is named after their folder, or that end in
    ``.record.json``, whose run is named after them.
    """
    work_dir = Path(work_dir)
    records: dict[str, Record] = {}
    problems: list[str] = []
    for path in sorted({*work_dir.rglob(RECORD_NAME), *work_dir.rglob(f"*{RECORD_SUFFIX}")}):
        name = path.relative_to(work_dir).as_posix()
        try:
            record = read_record(path)
        except (ValueError, OSError) as error:
            problems.append(" ".join(str(error).split()))
            continue
        if record.status == "completed":
            own_name = name.removesuffix(RECORD_SUFFIX).removesuffix(RECORD_NAME).rstrip("/")
            records[own_name or work_dir.resolve().name] = record
    return records, problems


def find_layouts(work_dir: str | Path) -> dict[str, Layout]:
    """Folder of each suite in `work_dir`, relative to it, -> its layout.

    Raises:
        ValueError: a layout is unreadable.
    """
    work_dir = Path(work_dir)
    folders = sorted(path.parent for path in work_dir.rglob(SUITE_NAME))
    return {folder.relative_to(work_dir).as_posix(): read_layout(folder) for folder in folders}


def records_below(folder: str, records: dict[str, Record]) -> dict[str, Record]:
    """Those of `records` whose run is in `folder`; ``"."`` is all of them."""
    return {
        name: record
        for name, record in records.items()
        if folder == "." or name.startswith(f"{folder}/")
    }


def build_table(layout: Layout, records: dict[str, Record]) -> Table:
    """Aggregate `records` (job name -> record) into the table of `layout`.

    A row of differences takes each seed's value minus the baseline's of the same seed, so it is
    made from the seeds that both have.

    Raises:
        ValueError: two records claim the same cell and seed, or a record lacks a metric.
    """
    values: dict[tuple[str, Column], dict[int | None, float]] = {}
    for name, record in records.items():
        for column in layout.columns:
            if column.task != record.task:
                continue
            if column.metric not in record.metrics:
                known = ", ".join(sorted(record.metrics)) or "none"
                raise ValueError(
                    f"{name}/{RECORD_NAME}: no metric '{column.metric}' for column "
                    f"'{column.title}'; it has {known}"
                )
            seeds = values.setdefault((record.initialisation, column), {})
            if record.seed in seeds:
                raise ValueError(f"{name}/{RECORD_NAME}: a second run with seed {record.seed}")
            seeds[record.seed] = record.metrics[column.metric] * column.scale
    rows = [
        Row(label, [_cell(layout, values, label, column) for column in layout.columns])
        for label in layout.initialisations
    ]
    if BASELINE in layout.initialisations:
        for label in layout.initialisations:
            if label != BASELINE:
                cells = [_difference(values, label, column) for column in layout.columns]
                rows.append(Row(f"{label} {MINUS} {BASELINE}", cells, difference=True))
    return Table(layout, rows)


_Values = dict[tuple[str, Column], dict[int | None, float]]


def _cell(layout: Layout, values: _Values, label: str, column: Column) -> Cell:
    """Cell of an initialisation; it is best if no other one's shown mean is better."""
    means = {}
    for other in layout.initialisations:
        mean = Cell(values.get((other, column), {})).mean
        if mean is not None and math.isfinite(mean):
            means[other] = round(mean, 1)
    pick = min if column.lower_is_better else max
    best = len(means) > 1 and label in means and means[label] == pick(means.values())
    return Cell(values.get((label, column), {}), best)


def _difference(values: _Values, label: str, column: Column) -> Cell:
    own = values.get((label, column), {})
    baseline = values.get((BASELINE, column), {})
    return Cell({seed: own[seed] - baseline[seed] for seed in own if seed in baseline})
