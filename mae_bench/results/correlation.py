"""Which columns of a table predict which others: rank correlation over its checkpoints."""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from ..text import csv_value
from .grid import MINUS, Grid, GridCell, GridRow
from .measured import MeasuredTable

DRAWS, SEED, CONFIDENCE = 1000, 0, 0.95
LEAST = 4  # lines, below which no interval is given
RULE = (
    "Spearman's rank correlation over checkpoints, each line of the table with each seed one of "
    f"them, positive where better goes with better; in brackets the {100 * CONFIDENCE:g} % "
    f"interval of {DRAWS:,} bootstrap draws of whole lines, because seeds of one line are alike; "
    "then how many checkpoints and lines have both numbers."
)
HEADINGS = ("table", "measure", "predicts", "rho", "low", "high", "checkpoints", "lines")
Point = tuple[str, float, float]


@dataclass(frozen=True)
class Correlation:
    """How one column goes with another.

    Args:
        table, measure, target: titles.
        rho: Spearman's, its sign turned where lower is better in one of the two; NaN where a
            column does not vary.
        interval: of the bootstrap; None where there are too few lines for one.
        checkpoints, lines: that have both numbers.
    """

    table: str
    measure: str
    target: str
    rho: float
    interval: tuple[float, float] | None
    checkpoints: int
    lines: int


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's correlation of the ranks, ties at their mean; NaN where one does not vary."""
    ranks = [rankdata(values) for values in (first, second)]
    if min(np.ptp(one) for one in ranks) == 0:
        return math.nan
    return float(np.corrcoef(*ranks)[0, 1])


def correlations(targets: Sequence[str], tables: Sequence[MeasuredTable]) -> list[Correlation]:
    """Each other column of a table with each of the columns that are to be predicted.

    Args:
        targets: titles of columns.
        tables: those that have all of them count.

    Raises:
        ValueError: no table has them, or none of their lines has numbers of two columns.
    """
    fitting = [table for table in tables if set(targets) <= set(table.table.columns)]
    if not fitting:
        known = "; ".join(f"{t.table.name}: {', '.join(t.table.columns)}" for t in tables)
        raise ValueError(f"no table has the columns {', '.join(targets)}; there are {known}")
    found = [
        _correlation(table, measure, target, points)
        for table in fitting
        for measure in table.table.columns
        for target in targets
        if measure not in targets and len(points := list(_points(table, measure, target))) > 1
    ]
    if not found:
        names = ", ".join(table.table.name for table in fitting)
        raise ValueError(f"{names}: fewer than two checkpoints have numbers of two columns")
    return found


def _points(table: MeasuredTable, measure: str, target: str) -> Iterator[Point]:
    """Line and both values, higher is better, of each checkpoint that has them."""
    for row in table.table.rows:
        pair = [table.cells.get((row, column)) for column in (measure, target)]
        if pair[0] is None or pair[1] is None:
            continue
        first, second = (
            {seed: -v if cell.cell.quantity.higher_is_better is False else v for seed, v in of}
            for cell in pair
            if cell is not None
            for of in [cell.values.by_seed.items()]
        )
        for seed in first.keys() & second.keys():
            if math.isfinite(first[seed]) and math.isfinite(second[seed]):
                yield row, first[seed], second[seed]


def _correlation(
    table: MeasuredTable, measure: str, target: str, points: Sequence[Point]
) -> Correlation:
    lines: dict[str, list[tuple[float, float]]] = {}
    for row, *pair in points:
        lines.setdefault(row, []).append((pair[0], pair[1]))
    groups = [np.array(pairs) for pairs in lines.values()]
    rho = spearman(*np.concatenate(groups).T)
    return Correlation(
        table.table.name, measure, target, rho, _interval(groups), len(points), len(groups)
    )


def _interval(groups: Sequence[np.ndarray]) -> tuple[float, float] | None:
    """Percentile interval of draws of groups, with replacement; those that do not vary are out."""
    if len(groups) < LEAST:
        return None
    random = np.random.default_rng(SEED)
    drawn = [
        spearman(*np.concatenate([groups[index] for index in indices]).T)
        for indices in random.integers(len(groups), size=(DRAWS, len(groups)))
    ]
    tail = 50 * (1 - CONFIDENCE)
    if np.isnan(drawn).all():
        return None
    low, high = np.nanpercentile(drawn, [tail, 100 - tail])
    return float(low), float(high)


def correlation_grids(found: Sequence[Correlation]) -> list[Grid]:
    """A table for each table: measures as rows, what they predict as columns."""
    by_table: dict[str, dict[tuple[str, str], Correlation]] = {}
    for one in found:
        by_table.setdefault(one.table, {})[one.measure, one.target] = one
    return [_grid(name, of) for name, of in by_table.items()]


def _grid(name: str, of: Mapping[tuple[str, str], Correlation]) -> Grid:
    measures = dict.fromkeys(measure for measure, _ in of)
    targets = dict.fromkeys(target for _, target in of)
    rows = [
        GridRow(
            measure,
            [
                GridCell(_text(one) if (one := of.get((measure, target))) else "")
                for target in targets
            ],
        )
        for measure in measures
    ]
    return Grid(f"What predicts what: {name}", RULE, ["measure", *targets], rows)


def _text(one: Correlation) -> str:
    text = f"{one.rho:.2f}"
    if one.interval:
        text += f" [{one.interval[0]:.2f}, {one.interval[1]:.2f}]"
    return f"{text} ({one.checkpoints}, {one.lines})".replace("-", MINUS)


def correlations_csv(found: Sequence[Correlation]) -> str:
    """CSV at full precision, a line for each pair of columns."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADINGS)
    for one in found:
        low, high = one.interval or (None, None)
        titles = [csv_value(title) for title in (one.table, one.measure, one.target)]
        writer.writerow([*titles, one.rho, low, high, one.checkpoints, one.lines])
    return out.getvalue()
