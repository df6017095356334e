"""The tables that ship with the package, and those that a suite has left in its work dir."""

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

from ..config.locate import shipped_configs
from ..run_folder import SUITE_NAME
from .quantity import Quantity
from .table import Cell, Table
from .table_file import Suite, load_suite, read_suite


@cache
def shipped_tables() -> dict[str, Table]:
    """Published tables by name: every file of ``configs/suite/`` that names one.

    A file with ``base`` and no name of its own is a variant and counts with its base.
    """
    paths = sorted((shipped_configs() / "suite").glob("*.yaml"))
    suites = [load_suite(path).tables for path in paths if not is_variant(path)]
    found: dict[str, Table] = {}
    for tables in sorted(suites, key=len):  # those of one table first: others may repeat it
        for table in tables:
            if table.published:
                found.setdefault(table.name, table)
    return found


def is_variant(path: Path) -> bool:
    """Whether a file measures another file's table, or is only a part of others."""
    text = path.read_text(encoding="utf-8").splitlines()
    keys = {line.partition(":")[0] for line in text if line[:1].isalpha()}
    return "name" not in keys or not keys & {"rows", "tables"}


def find_table(name: str) -> Table:
    """A table by its name, or in a file of its own.

    Raises:
        ValueError: neither a shipped table nor a file with one.
    """
    if name in shipped_tables():
        return shipped_tables()[name]
    if Path(name).is_file():
        tables = load_suite(name).tables
        if len(tables) == 1:
            return tables[0]
        raise ValueError(f"{name}: has {len(tables)} tables; give one a file of its own")
    titles = ", ".join(f"'{title}'" for title in shipped_tables())
    raise ValueError(f"no table '{name}' and no such file; there are {titles}")


def suites_below(folder: str | Path) -> tuple[dict[str, Suite], list[str]]:
    """Folder of each suite in a work dir, relative to it -> the suite; and what cannot be read."""
    folder = Path(folder)
    found: dict[str, Suite] = {}
    problems = []
    for path in sorted(folder.rglob(SUITE_NAME)):
        try:
            found[path.parent.relative_to(folder).as_posix()] = read_suite(path)
        except (ValueError, OSError, RecursionError) as error:
            problems.append(" ".join(str(error).split()))
    return found, problems


def joined(tables: Iterable[Table]) -> list[Table]:
    """Tables with those of one name made one: its rows, then what others have besides."""
    found: dict[str, Table] = {}
    for table in tables:
        first = found.setdefault(table.name, table)
        if first is table:
            continue
        rows = (*first.rows, *(row for row in table.rows if row not in first.rows))
        columns = (*first.columns, *(c for c in table.columns if c not in first.columns))
        cells = {**table.cells, **first.cells}
        for row in rows:
            for column in columns:
                empty = Cell(table.name, row, column, Quantity(column, "", True))
                cells.setdefault((row, column), empty)
        starts = {**table.starts, **first.starts}
        tasks = {**table.tasks, **first.tasks}
        found[table.name] = replace(
            first, rows=rows, columns=columns, cells=cells, starts=starts, tasks=tasks
        )
    return list(found.values())
