"""Everything that was measured as one CSV: a line for each cell that has a run."""

import csv
import io
from collections.abc import Mapping, Sequence

from .paper import MeasuredTable
from .record import Record
from .table import Table, records_below

HEADINGS = (
    *("table", "row", "column", "metric", "unit", "published", "measured", "std", "seeds"),
    *("difference", "notes", "runs"),
)


def tables_csv(
    suites: Mapping[str, Table], papers: Sequence[MeasuredTable], records: Mapping[str, Record]
) -> str:
    """CSV at full precision.

    Args:
        suites: table of each suite, by the suite's folder.
        papers: published tables with their measured cells.
        records: run name -> record.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADINGS)
    for folder, table in suites.items():
        own = records_below(folder, dict(records))
        for row in table.rows:
            if row.difference:
                continue
            for column, cell in zip(table.layout.columns, row.cells, strict=True):
                if cell.mean is None:
                    continue
                place = (row.label, column.task)
                runs = [name for name, r in own.items() if (r.initialisation, r.task) == place]
                names = [table.layout.name, row.label, column.title, column.metric, ""]
                writer.writerow(
                    [*names, "", cell.mean, _blank(cell.std), len(cell.values), "", ""]
                    + [" ".join(runs)]
                )
    for paper in papers:
        for measured in paper.cells.values():
            number, cell = measured.number, measured.cell
            names = [number.table, number.row, number.column, number.metric.name]
            values = [_blank(number.value), cell.mean, _blank(cell.std), len(cell.values)]
            notes = [_blank(measured.difference), "; ".join(measured.notes)]
            behind = " ".join(measured.runs.values())
            writer.writerow([*names, number.metric.unit, *values, *notes, behind])
    return out.getvalue()


def _blank(value: float | None) -> float | str:
    return "" if value is None else value
