"""Two lines of a table side by side: which tasks moved, and whether beyond the spread of seeds."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scipy.stats import t as student

from .grid import MINUS, PLUS_MINUS, Grid, GridCell, GridRow
from .measured import MeasuredTable

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


def changes(before: str, after: str, tables: Sequence[MeasuredTable]) -> list[Change]:
    """Every cell in which either of two lines of a table was measured.

    Args:
        before, after: titles of rows, or else of columns.
        tables: where they stand.

    Raises:
        ValueError: no table has one of the titles.
    """
    known: dict[str, None] = {}
    for table in tables:
        for measured in table.cells.values():
            known |= dict.fromkeys((measured.cell.row, measured.cell.column))
    for label in (before, after):
        if label not in known:
            titles = ", ".join(known) or "nothing"
            raise ValueError(f"'{label}' was not measured; there are {titles}")
    found = []
    for table in tables:
        rows = {before, after} <= set(table.table.rows)
        if not rows and not {before, after} <= set(table.table.columns):
            continue
        for other in table.table.columns if rows else table.table.rows:
            places = [(one, other) if rows else (other, one) for one in (before, after)]
            cells = [table.cells.get(place) for place in places]
            sides = [list(cell.values.by_seed.values()) if cell else [] for cell in cells]
            if any(sides):
                title = other if len(tables) == 1 else f"{table.table.name}: {other}"
                quantity = table.table.cells[places[0]].quantity
                higher = quantity.higher_is_better is not False
                found.append(Change(title, sides[0], sides[1], higher))
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
