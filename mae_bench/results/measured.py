"""Tables with what was measured in each cell, and what was measured and stands in none.

A run stands in the cells that its record claims, where its table or ``--cell`` stated them, and in
no other. A cell is the mean over seeds of runs of one setting, with the sample standard deviation
from two seeds on.
"""

import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .facts import Departure, departures, own_metric, value_of
from .record import Record
from .records import setting
from .table import Cell, Place, Start, Table

Records = Mapping[str, Record]


@dataclass(frozen=True)
class Values:
    """Values by seed, and their mean and spread."""

    by_seed: Mapping[int | None, float] = field(default_factory=dict)

    @property
    def mean(self) -> float | None:
        """Mean over seeds; None without a run."""
        return statistics.fmean(self.by_seed.values()) if self.by_seed else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation over seeds (divisor n - 1); None below two of them."""
        if len(self.by_seed) < 2:
            return None
        if not all(map(math.isfinite, self.by_seed.values())):
            return math.nan
        return statistics.stdev(self.by_seed.values())


@dataclass(frozen=True)
class MeasuredCell:
    """A cell with the runs that measure it, by seed, and how they depart from what was published.

    The runs of a derived cell (a ratio, a difference) are those of the cells it is made of.
    """

    cell: Cell
    values: Values
    runs: Mapping[int | None, tuple[str, ...]]
    notes: Sequence[str] = ()

    @property
    def difference(self) -> float | None:
        """Measured mean less the published value; None where either is missing."""
        if self.cell.published is None or self.values.mean is None:
            return None
        return self.values.mean - self.cell.published


@dataclass(frozen=True)
class MeasuredTable:
    """A table and its measured cells."""

    table: Table
    cells: Mapping[Place, MeasuredCell] = field(default_factory=dict)

    def rows(self) -> list[str]:
        """Titles of rows that have a published or a measured number."""
        return [
            row
            for row in self.table.rows
            if any((row, column) in self.cells for column in self.table.columns)
            or any(self.table.cells[row, c].published is not None for c in self.table.columns)
        ]


@dataclass(frozen=True)
class Unplaced:
    """A run that stands in no cell, or not in one that it claims, and why."""

    run: str
    reason: str


@dataclass(frozen=True)
class _Claim:
    """One run in one cell."""

    run: str
    value: float
    departures: Sequence[Departure]


def measure(
    tables: Iterable[Table], records: Records
) -> tuple[list[MeasuredTable], list[Unplaced]]:
    """Place runs in the cells that they claim.

    Args:
        tables: the table of a name is looked up here.
        records: run name -> record.

    Returns:
        the tables that have at least one run, in the order of `tables`, and the runs that stand
        nowhere.
    """
    by_name = {table.name: table for table in tables}
    claims: dict[tuple[str, str, str], list[_Claim]] = {}
    unplaced = []
    for run, record in records.items():
        if not record.cells:
            unplaced.append(Unplaced(run, "claims no cell of a table"))
        for claim in record.cells:
            try:
                one = _claim(run, claim, by_name, records)
                claims.setdefault((claim["table"], claim["row"], claim["column"]), []).append(one)
            except ValueError as error:
                unplaced.append(Unplaced(run, str(error)))
    found = []
    for table in by_name.values():
        cells = {
            (cell.row, cell.column): _cell(cell, claims[cell.place], records)
            for cell in table.cells.values()
            if cell.place in claims
        }
        cells = {place: _compare_data(one, cells, records) for place, one in cells.items()}
        measured = MeasuredTable(table, {**_relative(table, cells), **_differences(table, cells)})
        if measured.cells:
            found.append(measured)
    return found, unplaced


def _claim(
    run: str, claim: Mapping[str, Any], tables: Mapping[str, Table], records: Records
) -> _Claim:
    """A claim with its value and its departures; ValueError where it does not hold."""
    place = f"{claim['table']}, {claim['row']}, {claim['column']}"
    if claim["table"] not in tables:
        raise ValueError(f"claims {place}, of a table that is not known here: give its file")
    table = tables[claim["table"]]
    cell = table.cell(claim["row"], claim["column"])
    if cell.task is None:
        raise ValueError(f"claims {place}, which nothing measures")
    value = value_of(records[run], cell)
    if value is None:
        raise ValueError(
            f"has no defined '{cell.metric}' for {place}{_why_not(records[run], cell)}"
        )
    start = table.starts.get(cell.start or "", Start(""))
    found = departures(run, records, cell, claim, start)
    excluding = [one.text for one in found if one.excludes]
    if excluding:
        raise ValueError(f"not comparable with {place}: {'; '.join(excluding)}")
    return _Claim(run, value, found)


def _why_not(record: Record, cell: Cell) -> str:
    """Which set was not there for a number, where a robustness test says so."""
    group = (own_metric(record, cell) or "").partition("/")[0]
    missing = record.run_card.get("missing")
    told = map(str, missing) if isinstance(missing, list) else ()
    reasons = [one for one in told if re.match(rf"{re.escape(group)}[/:]", one)]
    if not reasons:
        return ""
    again = "once it is there, remove this record and start again: what is evaluated is kept"
    return f" ({'; '.join(reasons)}; {again})"


def _cell(cell: Cell, claims: Sequence[_Claim], records: Records) -> MeasuredCell:
    """The setting of a cell that is closest to the published recipe, and then the best."""
    settings: dict[str, dict[int | None, _Claim]] = {}
    repeated = False
    # the latest run of a seed counts
    for one in sorted(claims, key=lambda one: records[one.run].finished):
        runs = settings.setdefault(setting(one.run, records), {})
        seed = records[one.run].seed
        repeated = repeated or seed in runs
        runs[seed] = one
    sign = -1 if cell.quantity.higher_is_better is False else 1

    def rank(name: str) -> tuple[int, float]:
        runs = settings[name].values()
        mean = statistics.fmean(one.value for one in runs)
        worst = max(len(one.departures) for one in runs)
        return -worst, sign * mean if math.isfinite(mean) else -math.inf

    chosen = settings[max(settings, key=rank)]
    notes = dict.fromkeys(text.text for one in chosen.values() for text in one.departures)
    if len(chosen) == 1 and cell.published is not None:
        notes["1 seed"] = None
    searches = [search for one in chosen.values() if (search := _search(records[one.run]))]
    if searches:
        notes[_budget(max(searches, key=lambda search: len(search["means"])))] = None
    if len(settings) > 1:
        notes[f"the closest to the recipe of {len(settings)} settings that claim this cell"] = None
    if repeated:
        notes["several runs of one seed: the latest counts"] = None
    ordered = sorted(chosen.items(), key=lambda item: -1 if item[0] is None else item[0])
    values = Values({seed: one.value for seed, one in ordered})
    return MeasuredCell(cell, values, {seed: (one.run,) for seed, one in ordered}, list(notes))


def _compare_data(
    own: MeasuredCell, cells: Mapping[Place, MeasuredCell], records: Records
) -> MeasuredCell:
    """Note where a cell was trained or measured on other data than the first of its column.

    The same task has the same data, unless a cell's own overrides say that it has others.
    """
    cell = own.cell
    rows = (
        other
        for (_, column), other in cells.items()
        if column == cell.column and other.cell.task == cell.task
    )
    first = next(rows)
    overrides = {**cell.overrides, **first.cell.overrides}
    notes = list(own.notes)
    ours, theirs = _digests(own, records), _digests(first, records)
    for what, digest in ours.items():
        if any("dataset" in key for key in overrides):
            continue
        if None not in (digest, theirs[what]) and digest != theirs[what]:
            notes.append(f"{what} on other files than {first.cell.row}")
    return replace(own, notes=notes)


def _digests(cell: MeasuredCell, records: Records) -> dict[str, str | None]:
    """What identifies the data of a cell's runs; their settings make it the same for all."""
    record = records[next(iter(cell.runs.values()))[0]]
    group = (own_metric(record, cell.cell) or "").partition("/")[0]  # one of several sets
    found: dict[str, str | None] = {}
    for what, splits in (("trained", ("train",)), ("measured", (group, "test", "val"))):
        data = next((record.data[split] for split in splits if split in record.data), {})
        found[what] = data.get("digest")
    return found


def _budget(search: Mapping[str, Any]) -> str:
    """What a search had to choose from, and what that took."""
    if "trials" not in search:
        return f"best of {len(search['means'])} settings"
    hours = search["gpu_hours"]
    time = f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"
    return f"best of {search['trials']} settings tried by {search['sampler']} in {time} GPU hours"


def _search(record: Record) -> dict[str, Any] | None:
    """What a suite's search tried, in the record of the run that it chose."""
    return record.run_card.get("search")


def _relative(table: Table, cells: Mapping[Place, MeasuredCell]) -> dict[Place, MeasuredCell]:
    """Cells that are a ratio to another row; the others as they are."""
    found = {}
    for place, measured in cells.items():
        to = measured.cell.relative_to
        if to is None:
            found[place] = measured
        elif (other := cells.get((to, place[1]))) is not None:

            def ratio(own: float, base: float, inverse: bool = measured.cell.inverse) -> float:
                return base / own if inverse else own / base

            derived = _derived(measured.cell, measured, other, ratio)
            if derived is not None:
                found[place] = derived
    return found


def _differences(table: Table, cells: Mapping[Place, MeasuredCell]) -> dict[Place, MeasuredCell]:
    found = {}
    for place, cell in table.cells.items():
        pair = [cells.get(one) for one in cell.minus or ()]
        if len(pair) == 2 and pair[0] is not None and pair[1] is not None:
            derived = _derived(cell, pair[0], pair[1], lambda own, base: own - base)
            if derived is not None:
                found[place] = derived
    return found


def _derived(
    cell: Cell, own: MeasuredCell, other: MeasuredCell, combine: Any
) -> MeasuredCell | None:
    """A cell made of two, seed by seed; of seeds that both have."""
    seeds = [seed for seed in own.values.by_seed if seed in other.values.by_seed]
    if not seeds:
        return None
    values = {s: combine(own.values.by_seed[s], other.values.by_seed[s]) for s in seeds}
    runs = {seed: (*own.runs[seed], *other.runs[seed]) for seed in seeds}
    notes = dict.fromkeys([*own.notes, *other.notes])
    return MeasuredCell(cell, Values(values), runs, list(notes))
