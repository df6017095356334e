"""Checkpoints of a user's own as further lines of a table."""

import copy
from collections.abc import Collection, Mapping
from dataclasses import replace
from glob import glob
from pathlib import Path
from typing import Any

from ..results.table import ARCHITECTURES, RANDOM, Cell, Table, folder_name
from ..results.table_file import Suite

_OWN = ("published", "note", "start")  # of a published line, and not of one like it


def parse_checkpoints(options: list[str]) -> dict[str, str]:
    """Labels and files of ``NAME=FILE``, ``FILE`` or a pattern of files.

    A file without a name is called by its stem; files of one stem by as much of their folders as
    tells them apart.

    Raises:
        ValueError: no file fits a pattern, or a name is given twice.
    """
    named: dict[str, str] = {}
    bare: list[str] = []
    for option in options:
        name, equals, file = option.partition("=")
        pattern = file if equals else option
        files = sorted(glob(pattern)) if set("*?[") & set(pattern) else [pattern]
        if not files:
            raise ValueError(f"--checkpoint {option}: no file fits {pattern}")
        if not equals:
            bare += files
            continue
        for one in files:
            label = name if len(files) == 1 else f"{name}-{Path(one).stem}"
            if label in named:
                raise ValueError(f"--checkpoint {option}: the name {label!r} is taken")
            named[label] = one
    for label, file in _distinct(bare).items():
        if label in named:
            raise ValueError(f"--checkpoint {file}: the name {label!r} is taken; give NAME=FILE")
        named[label] = file
    return named


def _distinct(files: list[str]) -> dict[str, str]:
    found = {}
    for file in files:
        parts = Path(file).with_suffix("").parts
        length = 1
        while length < len(parts) and any(
            other != file and Path(other).with_suffix("").parts[-length:] == parts[-length:]
            for other in files
        ):
            length += 1
        found["-".join(parts[-length:])] = file
    return found


def with_checkpoints(suite: Suite, checkpoints: Mapping[str, str]) -> Suite:
    """A suite with a further line in each table for each checkpoint.

    A name that is a start of a table, or a row with one of its own, gives it another file instead.
    A suite that measures given checkpoints only has nothing to run for its other lines.

    Raises:
        ValueError: a checkpoint fits no cell of any table, or a name is a row's or a column's; or
            none is given where the suite measures no others.
    """
    if suite.given_only and not checkpoints:
        raise ValueError(f"{suite.file}: measures files of your own: give --checkpoint NAME=FILE")
    for name, file in checkpoints.items():
        changed = [
            _with_checkpoint(table, data, name, file)
            for table, data in zip(suite.tables, suite.data, strict=True)
        ]
        if all(new is None for new in changed):
            raise ValueError(
                f"--checkpoint {name}={file}: fits no model of {suite.file}, which are of other "
                "sizes or patches"
            )
        suite = suite.with_tables(
            [old if new is None else new for new, old in zip(changed, suite.data, strict=True)]
        )
    if not suite.given_only:
        return suite
    given = {folder_name(name) for name in checkpoints}
    return replace(suite, tables=tuple(measuring(table, given) for table in suite.tables))


def measuring(table: Table, starts: Collection[str]) -> Table:
    """A table whose cells of other starts are not measured."""
    cells = {
        place: cell if cell.start in starts else replace(cell, task=None, start=None)
        for place, cell in table.cells.items()
    }
    return replace(table, cells=cells)


def _with_checkpoint(
    table: Table, data: Mapping[str, Any], name: str, file: str
) -> dict[str, Any] | None:
    """What a table's file would say with the checkpoint; None where it fits no cell."""
    described: dict[str, Any] = copy.deepcopy(dict(data))
    starts = described.setdefault("starts", {})
    row = described["rows"].get(name) or {}
    for holder, key in ((starts, name), (row, "start")):
        own = holder.get(key)
        if isinstance(own, dict):
            kept = {fact: own[fact] for fact in ("method", "data", "epochs") if fact in own}
            holder[key] = {"checkpoint": file, **kept}
            return described
    if name in table.rows or name in table.columns:
        raise ValueError(f"--checkpoint {name}={file}: {table.name} has a line '{name}' already")
    fits = _fitting(table, file)
    if not fits:
        return None
    label = folder_name(name)
    starts[label] = {"checkpoint": file}
    by_row = _starts_are_rows(table)
    template = _template(fits, by_row)
    _say_as_text(described, table)
    lines = described["rows"] if by_row else described["columns"]
    lines[name] = {**_without_own(lines[template] or {}), "start": label}
    cells = described["cells"]
    for other in table.columns if by_row else table.rows:
        place = (template, other) if by_row else (other, template)
        row, column = (name, other) if by_row else (other, name)
        own = _without_own(cells.get(place[0], {}).get(place[1], {}))
        own |= {"start": label} if place in fits else {"task": None}
        cells.setdefault(row, {})[column] = own
    return described


def _without_own(line: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key not in _OWN}


def _say_as_text(data: dict[str, Any], table: Table) -> None:
    """Make titles text, and published values mappings: a list has one for each column."""
    for key in ("rows", "columns"):
        data[key] = {str(title): line for title, line in data[key].items()}
    data["cells"] = {
        str(row): {str(column): cell for column, cell in of.items()}
        for row, of in (data.get("cells") or {}).items()
    }
    for row in data["rows"].values():
        if isinstance((row or {}).get("published"), list):
            row["published"] = dict(zip(table.columns, row["published"], strict=True))


def _fitting(table: Table, file: str) -> dict[tuple[str, str], Cell]:
    """Cells whose model the checkpoint is of; all of them where a table has one model only."""
    made = {
        place: cell
        for place, cell in table.cells.items()
        if cell.task is not None and cell.start != RANDOM
    }
    models = {cell.facts.model for cell in made.values()}
    if len(models) < 2:
        return made
    own = _architecture(file)
    return {
        place: cell
        for place, cell in made.items()
        if cell.facts.model is None or ARCHITECTURES[cell.facts.model] == own
    }


def _starts_are_rows(table: Table) -> bool:
    """Whether the lines of a table that differ in their start are its rows."""

    def most(lines: tuple[str, ...], by_row: bool) -> int:
        return max(
            len(
                {
                    cell.start
                    for (row, column), cell in table.cells.items()
                    if (row if by_row else column) == line and cell.task is not None
                }
            )
            for line in lines
        )

    return most(table.columns, False) >= most(table.rows, True)


def _template(fits: Mapping[tuple[str, str], Cell], by_row: bool) -> str:
    """The line that the new one is like: the one with the fewest values of its own."""
    lines: dict[str, list[Cell]] = {}
    for (row, column), cell in fits.items():
        lines.setdefault(row if by_row else column, []).append(cell)
    return min(lines, key=lambda one: (-len(lines[one]), sum(len(c.overrides) for c in lines[one])))


def _architecture(file: str) -> tuple[int, int, int]:
    """Width, depth and patch size of the ViT in a checkpoint, from its tensors.

    Raises:
        FileNotFoundError, ValueError: no such file, or no ViT in it.
    """
    from ..checkpoint.reader import read_checkpoint  # imports torch

    tensors = read_checkpoint(file).imported.tensors
    embedding = tensors.get("patch_embed.proj.weight")
    if embedding is None:
        raise ValueError(f"{file}: no patch embedding in it, so which model it is cannot be told")
    blocks = {name.split(".")[1] for name in tensors if name.startswith("blocks.")}
    return embedding.shape[0], len(blocks), embedding.shape[-1]
