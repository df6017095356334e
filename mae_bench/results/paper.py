"""The published tables with what was measured beside each number.

A cell is the mean over seeds of runs of one setting, with the sample standard deviation from two
seeds on. Where runs of several settings (a search) claim a cell it shows the best setting, as the
paper does ("searched per entry"), and a footnote says so. A cell without a run is empty.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .cells import Measurement, measurements
from .grid import MINUS, Grid, GridCell, GridRow
from .published import TABLES, PublishedNumber, PublishedTable
from .recipes import departures
from .record import Record
from .table import Cell

SEED_KEY = "randomness.seed"
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class MeasuredCell:
    """A published number with the runs that measure it: seed -> run, and how they depart."""

    number: PublishedNumber
    cell: Cell
    runs: Mapping[int | None, str]
    notes: Sequence[str]
    condition: str

    @property
    def difference(self) -> float | None:
        """Measured mean less the published value; None where nothing was published."""
        if self.number.value is None or self.cell.mean is None:
            return None
        return self.cell.mean - self.number.value


@dataclass(frozen=True)
class MeasuredTable:
    """A published table and its measured cells, under (row, column)."""

    table: PublishedTable
    cells: Mapping[tuple[str, str], MeasuredCell] = field(default_factory=dict)

    def notes(self) -> dict[str, str]:
        """Footnote text -> its letter, in reading order."""
        found: dict[str, str] = {}
        for row in self.table.rows:
            for column in self.table.columns:
                cell = self.cells.get((row, column))
                for note in cell.notes if cell else ():
                    found.setdefault(note, _letter(len(found)))
        return found

    def grid(self) -> Grid:
        """Three lines for each published row: published, measured, difference."""
        letters = self.notes()
        rows = []
        for row in self.table.rows:
            numbers = [self.table.number(row, column) for column in self.table.columns]
            own = [self.cells.get((row, column)) for column in self.table.columns]
            rows.append(
                GridRow(f"{row}: published", [GridCell(_text(n.value)) for n in numbers], soft=True)
            )
            rows.append(GridRow(f"{row}: measured", [_measured(cell, letters) for cell in own]))
            if any(own):
                rows.append(
                    GridRow(f"{row}: difference", [_difference(cell) for cell in own], soft=True)
                )
        units = {metric.name: metric.unit for metric in self.table.columns.values()}
        units |= {metric.name: metric.unit for metric in self.table.row_metrics.values()}
        about = f"{self.table.about} Source: {self.table.source}. Units: "
        about += ", ".join(f"{name} in {unit}" for name, unit in units.items()) + "."
        notes = [(letter, note) for note, letter in letters.items()]
        return Grid(
            self.table.name, about, [self.table.row_heading, *self.table.columns], rows, notes
        )


def measured_tables(
    records: Mapping[str, Record], initialisation: str | None = None
) -> tuple[list[MeasuredTable], list[str]]:
    """Every published table that has at least one run, in the published order.

    Args:
        records: run name -> record.
        initialisation: count only runs with this label.

    Returns:
        the tables, and what is wrong with runs whose cells could not be read.
    """
    found: dict[tuple[str, str, str], list[Measurement]] = {}
    problems = []
    for name, record in records.items():
        if initialisation not in (None, record.initialisation):
            continue
        try:
            own, missing = measurements(name, records)
            problems += missing
            for one in own:
                found.setdefault((one.table, one.row, one.column), []).append(one)
        except ValueError as error:
            problems.append(str(error))
    tables: dict[str, dict[tuple[str, str], MeasuredCell]] = {}
    for (table, row, column), values in found.items():
        number = TABLES[table].number(row, column)
        tables.setdefault(table, {})[row, column] = _cell(number, values, records)
    return [
        MeasuredTable(TABLES[name], tables[name]) for name in TABLES if name in tables
    ], problems


def _cell(
    number: PublishedNumber, values: Sequence[Measurement], records: Mapping[str, Record]
) -> MeasuredCell:
    """The best setting of those measured, and what a reader has to know about it."""
    # a suite's search leaves a copy of the run that it chose, beside all that it tried
    searches = [search for one in values if (search := records[one.run].run_card.get("search"))]
    if searches:
        values = [one for one in values if "search" in records[one.run].run_card]
    settings: dict[str, dict[int | None, Measurement]] = {}
    repeated = False
    # the latest run of a seed counts
    for one in sorted(values, key=lambda one: records[one.run].finished):
        runs = settings.setdefault(_setting(records[one.run]), {})
        seed = records[one.run].seed
        repeated = repeated or seed in runs
        runs[seed] = one
    sign = -1 if number.metric.higher_is_better is False else 1

    def rank(setting: str) -> float:
        mean = _cell_of(settings[setting]).mean
        return sign * mean if mean is not None and math.isfinite(mean) else -math.inf

    chosen = settings[max(settings, key=rank)]
    cell = _cell_of(chosen)
    notes: dict[str, None] = {}
    for one in chosen.values():
        place = (number.table, number.row, number.column)
        notes |= dict.fromkeys([*one.differs, *departures(one.run, records, place, one.metric)])
    if len(chosen) == 1:
        notes["1 seed"] = None
    tried = max([len(settings), *(len(search["means"]) for search in searches)])
    if tried > 1:
        notes[f"best of {tried} settings"] = None
    if repeated:
        notes["several runs of one seed: the latest counts"] = None
    runs_by_seed = {seed: one.run for seed, one in sorted(chosen.items(), key=_by_seed)}
    return MeasuredCell(number, cell, runs_by_seed, list(notes), values[0].condition)


def _cell_of(runs: Mapping[int | None, Measurement]) -> Cell:
    return Cell({seed: one.value for seed, one in runs.items()})


def _by_seed(item: tuple[int | None, Any]) -> int:
    return -1 if item[0] is None else item[0]


def _setting(record: Record) -> str:
    """What seeds of one setting have in common: config, overrides, initialisation."""
    overrides = sorted(
        (key, str(value)) for key, value in record.overrides.items() if key != SEED_KEY
    )
    return repr((record.config_file, record.initialisation, overrides))


def _letter(index: int) -> str:
    """Letter of a footnote: a to z, then aa, bb and so on."""
    return _LETTERS[index % len(_LETTERS)] * (index // len(_LETTERS) + 1)


def _text(value: float | None) -> str:
    """A published value with the digits it was printed with, at least one."""
    if value is None:
        return ""
    text = f"{value:.3f}".rstrip("0")
    return (text + "0" if text.endswith(".") else text).replace("-", MINUS)


def _measured(cell: MeasuredCell | None, letters: Mapping[str, str]) -> GridCell:
    if cell is None:
        return GridCell()
    marks = tuple(letters[note] for note in cell.notes)
    runs = tuple(
        (f"seed {seed}" if seed is not None else "run", run) for seed, run in cell.runs.items()
    )
    return GridCell(cell.cell.text(digits=_digits(cell)), bold=True, marks=marks, runs=runs)


def _difference(cell: MeasuredCell | None) -> GridCell:
    if cell is None or cell.difference is None:
        return GridCell()
    return GridCell(f"{cell.difference:+.{_digits(cell)}f}".replace("-", MINUS))


def _digits(cell: MeasuredCell) -> int:
    """Decimals of a measured number: a tenth of a point, a thousandth of a loss."""
    return 3 if cell.number.metric.unit == "nat" else 1
