"""Two initialisations side by side: which tasks moved, and whether beyond the spread of seeds."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scipy.stats import t as student

from .grid import MINUS, PLUS_MINUS, Grid, GridCell, GridRow
from .paper import MeasuredCell, measured_tables
from .record import Record
from .table import Layout, build_table, records_below

CONFIDENCE = 0.95
RULE = (
    "Mean and sample standard deviation over seeds. A task has moved where the 95 % interval of "
    "Welch's t test for the difference of the means, from the seeds of both sides, leaves out "
    "zero; each task by itself, so of twenty that have not moved one is expected to seem so. With "
    "one seed on either side nothing is known about the spread of seeds: unknown."
)
Verdict = Literal["better", "worse", "within seeds", "unknown", "no run"]


@dataclass(frozen=True)
class Change:
    """One metric under two initialisations; values are those of the table, one per seed."""

    title: str
    before: Sequence[float]
    after: Sequence[float]
    higher_is_better: bool = True

    @property
    def difference(self) -> float | None:
        """Mean after less mean before; None without a run on either side."""
        if not self.before or not self.after:
            return None
        return statistics.fmean(self.after) - statistics.fmean(self.before)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Welch's interval of the difference; None below two seeds on either side.

        Source: Welch, Biometrika 34 (1947); degrees of freedom by Satterthwaite.
        """
        sides = (self.before, self.after)
        difference = self.difference
        if difference is None or min(map(len, sides)) < 2 or not math.isfinite(difference):
            return None
        squared_errors = [statistics.variance(side) / len(side) for side in sides]
        total = sum(squared_errors)
        if total == 0:
            return difference, difference
        degrees = total**2 / sum(
            error**2 / (len(side) - 1) for error, side in zip(squared_errors, sides, strict=True)
        )
        half = float(student.ppf((1 + CONFIDENCE) / 2, degrees)) * math.sqrt(total)
        return difference - half, difference + half

    @property
    def verdict(self) -> Verdict:
        """What `RULE` says."""
        if self.difference is None:
            return "no run"
        if self.interval is None:
            return "unknown"
        low, high = self.interval
        if low <= 0 <= high:
            return "within seeds"
        return "better" if (low > 0) == self.higher_is_better else "worse"


def changes(
    before: str, after: str, layouts: Mapping[str, Layout], records: dict[str, Record]
) -> list[Change]:
    """Every metric that tables show of either initialisation.

    Args:
        before, after: labels of initialisations.
        layouts: of the suites in a work dir, by their folder.
        records: run name -> record.

    Raises:
        ValueError: no record has one of the labels.
    """
    known = list(dict.fromkeys(record.initialisation for record in records.values()))
    for label in (before, after):
        if label not in known:
            raise ValueError(
                f"no record with initialisation '{label}'; there are {', '.join(known) or 'none'}"
            )
    found = []
    for folder, layout in layouts.items():
        rows = {row.label: row for row in build_table(layout, records_below(folder, records)).rows}
        for index, column in enumerate(layout.columns):
            sides = [
                list(rows[label].cells[index].values.values()) if label in rows else []
                for label in (before, after)
            ]
            if any(sides):
                title = column.title if len(layouts) == 1 else f"{layout.name}: {column.title}"
                found.append(Change(title, sides[0], sides[1], not column.lower_is_better))
    return found + _published_changes(before, after, records)


def _published_changes(before: str, after: str, records: Mapping[str, Record]) -> list[Change]:
    """Changes of published columns, each side its best setting."""
    sides: list[dict[tuple[str, str, str], MeasuredCell]] = []
    for label in (before, after):
        tables, _ = measured_tables(records, label)
        sides.append(
            {
                (cell.number.table, cell.condition, cell.number.column): cell
                for table in tables
                for cell in table.cells.values()
            }
        )
    found = []
    for place in dict.fromkeys([*sides[0], *sides[1]]):
        cells = [side.get(place) for side in sides]
        values = [list(cell.cell.values.values()) if cell else [] for cell in cells]
        metric = next(cell.number.metric for cell in cells if cell)
        higher = metric.higher_is_better is not False
        found.append(Change(", ".join(place), values[0], values[1], higher))
    return found


def comparison_grid(before: str, after: str, found: Sequence[Change]) -> Grid:
    """Table of changes with their verdicts."""
    rows = []
    for change in found:
        texts = [_values(change.before), _values(change.after)]
        difference = "" if change.difference is None else f"{change.difference:+.1f}"
        interval = change.interval
        texts.append(difference.replace("-", MINUS))
        texts.append(
            f"{interval[0]:+.1f} to {interval[1]:+.1f}".replace("-", MINUS) if interval else ""
        )
        cells = [GridCell(text) for text in texts]
        moved = change.verdict in ("better", "worse")
        rows.append(GridRow(change.title, [*cells, GridCell(change.verdict, moved)]))
    headings = ["task", before, after, "difference", "95 % interval", "verdict"]
    return Grid(f"{after} against {before}", RULE, headings, rows)


def _values(values: Sequence[float]) -> str:
    if not values:
        return ""
    text = f"{statistics.fmean(values):.1f}"
    if len(values) > 1:
        text += f" {PLUS_MINUS} {statistics.stdev(values):.1f}"
    return f"{text} ({len(values)})".replace("-", MINUS)
