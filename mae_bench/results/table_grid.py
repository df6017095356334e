"""What a measured table looks like: beside the published numbers, or one line for each method."""

import math
from collections.abc import Callable, Sequence

from .grid import DOWN, MINUS, PLUS_MINUS, Grid, GridCell, GridRow
from .measured import MeasuredCell, MeasuredTable, Values
from .quantity import Quantity

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
OWN_RULE = (
    f"Mean over seeds {PLUS_MINUS} sample standard deviation; {DOWN}: lower is better; bold: best "
    "of the column."
)
PUBLISHED, MEASURED, DIFFERENCE = "published", "measured", "difference"


def table_grid(
    measured: MeasuredTable,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    paper: bool = False,
) -> Grid:
    """The table as text.

    Args:
        measured: table with its measured cells.
        rows, columns: titles to show, in this order; None: all.
        paper: one line for each method that has numbers, as papers print it; otherwise published,
            measured and their difference below one another.

    Raises:
        ValueError: the table has no such row or column.
    """
    return _Drawing(measured, rows, columns, paper).grid()


class _Drawing:
    def __init__(
        self,
        measured: MeasuredTable,
        rows: Sequence[str] | None,
        columns: Sequence[str] | None,
        paper: bool,
    ) -> None:
        self.measured, self.table, self.paper = measured, measured.table, paper
        self.rows = self.chosen("row", rows, measured.rows())
        self.columns = self.chosen("column", columns, self.table.columns)
        self.letters: dict[str, str] = {}
        for row in self.rows:
            for cell in self.cells(row):
                for note in cell.notes if cell else ():
                    self.letters.setdefault(note, _letter(len(self.letters)))

    def chosen(self, kind: str, asked: Sequence[str] | None, known: Sequence[str]) -> list[str]:
        if asked is None:
            return list(known)
        everything = self.table.rows if kind == "row" else self.table.columns
        for title in asked:
            if title not in everything:
                titles = ", ".join(f"'{one}'" for one in everything)
                raise ValueError(f"{self.table.name}: no {kind} '{title}'; it has {titles}")
        return list(asked)

    def cells(self, row: str) -> list[MeasuredCell | None]:
        return [self.measured.cells.get((row, column)) for column in self.columns]

    def grid(self) -> Grid:
        headings = [self.table.heading, *map(self.heading, self.columns)]
        if not self.table.published:
            return Grid(
                self.table.name,
                f"{self.table.about} {OWN_RULE}".strip(),
                [*headings, "seeds"],
                [*self.own_rows(), *self.baseline_rows()],
                self.notes(),
            )
        draw = self.paper_rows if self.paper else self.full_rows
        return Grid(self.table.name, self.about(), headings, draw(), self.notes())

    def notes(self) -> list[tuple[str, str]]:
        return [(letter, note) for note, letter in self.letters.items()]

    def about(self) -> str:
        units: dict[str, str] = {}
        for row in self.rows:
            for column in self.columns:
                quantity = self.table.cells[row, column].quantity
                if quantity.unit:
                    units[quantity.name] = quantity.unit
        text = f"{self.table.about} Source: {self.table.source}."
        listed = ", ".join(f"{name} in {unit}" for name, unit in units.items())
        return f"{text} Units: {listed}." if listed else text

    def heading(self, column: str) -> str:
        """Title of a column, with an arrow where lower is better in all of it."""
        quantities = {self.table.cells[row, column].quantity for row in self.table.rows}
        lower = all(quantity.higher_is_better is False for quantity in quantities)
        return f"{column} {DOWN}" if lower and not self.table.published else column

    def full_rows(self) -> list[GridRow]:
        """Published, measured and their difference; a row of nothing published has one line."""
        found = []
        for row in self.rows:
            numbers = [self.table.cells[row, column] for column in self.columns]
            own = self.cells(row)
            measured = GridRow(f"{row}: {MEASURED}", [self.text(cell, row) for cell in own])
            if all(cell.published is None for cell in numbers):
                found.append(GridRow(row, measured.cells))
                continue
            texts = [GridCell(published_text(cell.published)) for cell in numbers]
            found.append(GridRow(f"{row}: {PUBLISHED}", texts, soft=True))
            if any(own):
                found.append(measured)
                differences = [GridCell(_difference(cell)) for cell in own]
                found.append(GridRow(f"{row}: {DIFFERENCE}", differences, soft=True))
        return found

    def paper_rows(self) -> list[GridRow]:
        """One line for each method: as published, then as measured."""
        found = []
        for row in self.rows:
            numbers = [self.table.cells[row, column].published for column in self.columns]
            if any(number is not None for number in numbers):
                texts = [GridCell(published_text(number)) for number in numbers]
                found.append(GridRow(f"{row} ({PUBLISHED})", texts, soft=True))
        for row in self.rows:
            own = self.cells(row)
            if any(own):
                found.append(GridRow(row, [self.text(cell, row) for cell in own]))
        return found

    def own_rows(self) -> list[GridRow]:
        found = []
        for row in self.rows:
            own = self.cells(row)
            seeds = GridCell(_seeds([cell.values for cell in own if cell]))
            found.append(GridRow(row, [*(self.text(cell, row) for cell in own), seeds]))
        return found

    def baseline_rows(self) -> list[GridRow]:
        """Each row less the baseline, of the seeds that both have."""
        baseline = self.table.baseline
        if baseline is None or baseline not in self.rows:
            return []
        found = []
        for row in self.rows:
            if row == baseline:
                continue
            differences = [
                _less(cell, base)
                for cell, base in zip(self.cells(row), self.cells(baseline), strict=True)
            ]
            texts = [
                GridCell(values_text(values, self.quantity(row, column), signed=True))
                for values, column in zip(differences, self.columns, strict=True)
            ]
            seeds = GridCell(_seeds([values for values in differences if values.by_seed]))
            found.append(GridRow(f"{row} {MINUS} {baseline}", [*texts, seeds], soft=True))
        return found

    def quantity(self, row: str, column: str) -> Quantity:
        return self.table.cells[row, column].quantity

    def text(self, cell: MeasuredCell | None, row: str) -> GridCell:
        if cell is None:
            return GridCell()
        runs = tuple(
            (f"seed {seed}" if seed is not None else "run", run)
            for seed, behind in cell.runs.items()
            for run in behind
        )
        return GridCell(
            values_text(cell.values, cell.cell.quantity),
            bold=self.best(cell),
            marks=tuple(self.letters[note] for note in cell.notes),
            runs=runs,
        )

    def best(self, cell: MeasuredCell) -> bool:
        """Whether no other shown measured mean of the column is better, as it is printed."""
        direction = cell.cell.quantity.higher_is_better
        if direction is None:
            return False
        digits = cell.cell.quantity.decimals
        means = {}
        for row in self.rows:
            other = self.measured.cells.get((row, cell.cell.column))
            mean = other.values.mean if other else None
            same = other is not None and other.cell.quantity == cell.cell.quantity
            if same and mean is not None and math.isfinite(mean):
                means[row] = round(mean, digits)
        pick: Callable[..., float] = max if direction else min
        return len(means) > 1 and means.get(cell.cell.row) == pick(means.values())


def values_text(values: Values, quantity: Quantity, signed: bool = False) -> str:
    """``"45.3 ± 0.4"``, ``"45.3"``, or nothing without a run."""
    if values.mean is None:
        return ""
    digits = quantity.decimals
    text = f"{values.mean:{'+' if signed else ''}.{digits}f}"
    if values.std is not None:
        text += f" {PLUS_MINUS} {values.std:.{digits}f}"
    return text.replace("-", MINUS)


def published_text(value: float | None) -> str:
    """A published value with the digits it was printed with, at least one."""
    if value is None:
        return ""
    text = f"{value:.3f}".rstrip("0")
    return (text + "0" if text.endswith(".") else text).replace("-", MINUS)


def _difference(cell: MeasuredCell | None) -> str:
    if cell is None or cell.difference is None:
        return ""
    return f"{cell.difference:+.{cell.cell.quantity.decimals}f}".replace("-", MINUS)


def _less(cell: MeasuredCell | None, baseline: MeasuredCell | None) -> Values:
    if cell is None or baseline is None:
        return Values()
    own, base = cell.values.by_seed, baseline.values.by_seed
    return Values({seed: own[seed] - base[seed] for seed in own if seed in base})


def _seeds(found: Sequence[Values]) -> str:
    """Number of seeds: ``"3"``, or ``"2-3"`` where cells differ; empty without a run."""
    counts = sorted({len(values.by_seed) for values in found if values.by_seed})
    if not counts:
        return ""
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]}-{counts[-1]}"


def _letter(index: int) -> str:
    """Letter of a footnote: a to z, then aa, bb and so on."""
    return _LETTERS[index % len(_LETTERS)] * (index // len(_LETTERS) + 1)
