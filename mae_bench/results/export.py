"""Everything that was measured as one CSV: a line for each cell that has a run."""

import csv
import io
from collections.abc import Sequence

from ..text import csv_value
from .measured import MeasuredTable

HEADINGS = (
    *("table", "row", "column", "metric", "unit", "published", "measured", "std", "seeds"),
    *("difference", "notes", "runs"),
)


def tables_csv(tables: Sequence[MeasuredTable]) -> str:
    """CSV at full precision; what a spreadsheet would take for a formula begins with a quote."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADINGS)
    for table in tables:
        for measured in table.cells.values():
            cell, values = measured.cell, measured.values
            names = [cell.table, cell.row, cell.column, cell.quantity.name, cell.quantity.unit]
            numbers = [cell.published, values.mean, values.std, len(values.by_seed)]
            runs = " ".join(run for behind in measured.runs.values() for run in behind)
            notes = [measured.difference, "; ".join(measured.notes), runs]
            writer.writerow([csv_value(value) for value in (*names, *numbers, *notes)])
    return out.getvalue()
