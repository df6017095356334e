"""Documentation pages of the shipped tables: ``python -m mae_bench.results.table_page DIR``.

Each page says what was published, how each cell is measured, and what is UNKNOWN.
"""

import re
import sys
from dataclasses import fields
from pathlib import Path

from ..files import write_atomic
from .grid import Grid, GridCell, GridRow
from .shipped import shipped_tables
from .table import PRETRAIN, RANDOM, Cell, Facts, Start, Table
from .table_grid import published_text

INDEX = "index.md"


def write_pages(folder: str | Path) -> list[Path]:
    """Write a page for each shipped table and their index; return their paths."""
    folder = Path(folder)
    written = []
    lines = ["# Published tables", "", _ABOUT, "", "| table | shows | source |", "|---|---|---|"]
    for table in shipped_tables().values():
        path = folder / page_name(table)
        write_atomic(table_page(table).encode(), path)
        written.append(path)
        lines.append(f"| [{table.name}]({path.name}) | {table.about} | {table.source} |")
    write_atomic(("\n".join(lines) + "\n").encode(), folder / INDEX)
    return [*written, folder / INDEX]


_ABOUT = (
    "These pages are generated from the files in `configs/suite/`: the numbers, and how each of\n"
    "them is measured. `make pages` writes them anew."
)


def page_name(table: Table) -> str:
    """File name of a table's page."""
    return re.sub(r"[^a-z0-9]+", "_", table.name.lower()).strip("_") + ".md"


def table_page(table: Table) -> str:
    """The page of one table, as Markdown."""
    headings = [table.heading, *table.text_columns, *table.columns]
    rows = [
        GridRow(
            row,
            [
                *(GridCell(texts.get(row, "")) for texts in table.text_columns.values()),
                *(GridCell(published_text(table.cells[row, c].published)) for c in table.columns),
            ],
        )
        for row in table.rows
    ]
    units = {c.quantity.name: c.quantity.unit for c in table.cells.values() if c.quantity.unit}
    listed = ", ".join(f"{name} in {unit}" for name, unit in units.items())
    parts = [
        f"# {table.name}",
        f"{table.about} Source: {table.source}.",
        Grid(table.name, "", headings, rows).markdown().rstrip(),
        f"Units: {listed}." if listed else "",
        _notes(table),
        _measured(table),
        _unknown(table),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _notes(table: Table) -> str:
    lines = [
        f"- {cell.row}, {cell.column}: {cell.note}"
        for cell in table.cells.values()
        if cell.note and (cell.published is not None or cell.task is not None)
    ]
    return "\n".join(lines)


def _measured(table: Table) -> str:
    made = [cell for cell in table.cells.values() if cell.task or cell.minus]
    if not made:
        return "Nothing here measures this table."
    suite = Path(table.file)
    command = f"    tools/run_suite.py configs/suite/{suite.name}"
    lines = [
        "## How it is measured",
        f"{command}\n",
        "| cell | recipe | starts from | metric | published of the recipe |",
        "|---|---|---|---|---|",
    ]
    for cell in made:
        texts = [f"{cell.row}, {cell.column}", *_recipe(table, cell)]
        lines.append("| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |")
    text = "\n".join(lines)
    if table.sources:
        text += f"\n\nSources of the recipes: {table.sources}"
    departures = [f"- {c.row}, {c.column}: {line}" for c in made for line in c.differs]
    if departures:
        text += "\n\nDiffers from what was published:\n\n" + "\n".join(departures)
    return text.replace("\n    tools", "\n\n    tools", 1)


def _recipe(table: Table, cell: Cell) -> list[str]:
    if cell.minus:
        first, second = (place[0] if place[1] == cell.column else place[1] for place in cell.minus)
        if cell.minus[0][0] == cell.minus[1][0]:
            first, second = cell.minus[0][1], cell.minus[1][1]
        return [f"{first} less {second}", "", "", ""]
    start = table.starts[cell.start or ""]
    metric = f"`{cell.metric}`" + (f" × {cell.scale:g}" if cell.scale != 1 else "")
    if cell.relative_to is not None:
        metric = (
            f"{metric}, {cell.relative_to} divided by it"
            if cell.inverse
            else (f"{metric} over that of {cell.relative_to}")
        )
    if cell.task == PRETRAIN:
        return [f"the pre-training: {_start(start)}", "random weights", metric, _facts(cell.facts)]
    task = table.tasks[cell.task or ""]
    recipe = f"`{task.config}`" + _overrides({**task.overrides, **cell.overrides})
    if task.test is not None and task.test != "start":
        tested = table.tasks[task.test]
        recipe += f", tests the model of `{tested.config}`" + _overrides(tested.overrides)
    if task.grid:
        values = "; ".join(f"`{key}` of {values}" for key, values in task.grid.items())
        recipe += f", best `{task.select}` of {values}"
    return [recipe, _start(start), metric, _facts(cell.facts)]


def _overrides(overrides: object) -> str:
    found = dict(overrides)  # type: ignore[call-overload]
    if not found:
        return ""
    return " with " + ", ".join(f"`{key}={value}`" for key, value in found.items())


def _start(start: Start) -> str:
    if start.pretrain:
        kept = f", epoch {start.epoch}" if start.epoch else ""
        return f"`{start.pretrain}`" + _overrides(start.overrides) + kept
    return (
        f"`{start.checkpoint}`" if start.label != RANDOM and start.checkpoint else "random weights"
    )


def _facts(facts: Facts) -> str:
    texts = []
    for field in fields(Facts):
        value = getattr(facts, field.name)
        if value in (None, ()):
            continue
        if isinstance(value, tuple):
            value = " or ".join(f"{count:,}" for count in value)
        texts.append(f"{field.name.replace('_', ' ')} {value}")
    return ", ".join(texts)


def _unknown(table: Table) -> str:
    lines = [f"- {line}" for line in table.unknown]
    seen: dict[str, list[str]] = {}
    for cell in table.cells.values():
        for line in cell.unknown:
            seen.setdefault(line, []).append(f"{cell.row}, {cell.column}")
    lines += [f"- {line} ({'; '.join(cells)})" for line, cells in seen.items()]
    return "## UNKNOWN\n\n" + "\n".join(lines) if lines else ""


if __name__ == "__main__":
    for page in write_pages(sys.argv[1]):
        print(page)
