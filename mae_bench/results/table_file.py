"""Read a table, or a suite of several, from YAML; every mistake is one line with file and key.

The form of the file is described in docs/suites.md. What a cell is made of is merged from four
places, the later one first: ``cells.ROW.COLUMN``, the row, the column, ``cell`` of the table. Text
in braces stands for an entry of ``vars``, merged likewise: ``start: mae-{size}``.
"""

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from ..config.old_names import hint_for_old_name
from ..config.overrides import as_options
from ..files import read_sealed_json, write_sealed_json
from ..run_folder import SUITE_NAME
from .quantity import QUANTITIES, Quantity
from .table import (
    ARCHITECTURES,
    NOT_PUBLISHED,
    PRETRAIN,
    RANDOM,
    SAMPLERS,
    Cell,
    Facts,
    Place,
    Resources,
    Search,
    Start,
    Table,
    Task,
    folder_name,
)

SEED_KEY = "randomness.seed"  # of MMEngine's configs
DATA_SETS = ("miniworld",)
GIVEN_ONLY = "given_only"  # of a file with several tables
MORE_ROWS = "more_rows"  # of a file that adds lines to the table of its base
PRECISIONS = (None, "bfloat16", "float16")
MOST_ENTRIES = 200_000  # of a file, with what its aliases stand for

_FACTS = {field.name for field in fields(Facts)}
_CELL = {"quantity", "task", "start", "overrides", "metric", "scale", "relative_to", "inverse"}
_CELL |= {"minus", "differs", "facts", "unknown", "note", "vars"}
_TABLE = {"about", "source", "sources", "heading", "missing", "seeds", "data", "baseline", "text"}
_TABLE |= {"unknown", "starts", "tasks", "cell", "cells", "resources"}
_MERGED = ("overrides", "facts", "vars")  # of a cell: key by key


@dataclass(frozen=True)
class Suite:
    """Tables that are measured together; jobs that several need are run once.

    `data` has what the file says of each table, with what it takes from others. `given_only`: what
    is measured are checkpoints of a user's own, beside the published rows.
    """

    file: str
    name: str
    tables: tuple[Table, ...]
    data: tuple[Mapping[str, Any], ...]
    given_only: bool = False

    @property
    def data_set(self) -> str | None:
        """The embedded data set that a table wants."""
        return next((table.data for table in self.tables if table.data), None)

    def with_tables(self, data: Sequence[Mapping[str, Any]]) -> "Suite":
        """The suite with its tables described otherwise, in the same order.

        Raises:
            ValueError: as of :func:`load_suite`.
        """
        tables = [table_from(d, t.file) for d, t in zip(data, self.tables, strict=True)]
        return replace(self, tables=tuple(tables), data=tuple(data))


def load_suite(path: str | Path) -> Suite:
    """Read a table, or a file that lists several under ``tables``, in place or by file name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a key is unknown, missing or has a wrong value; names the file and the key.
    """
    path = Path(path)
    data = _with_base(path)
    if "tables" not in data:
        return _suite(path, data.get("name"), [(data, path)])
    reader = _Reader(str(path))
    shared: dict[str, Any] = {
        key: data[key] for key in ("starts", "tasks", "seeds", "data", "resources") if key in data
    }
    reader.keys(data, "", {"name", "tables"}, {*shared, GIVEN_ONLY})
    given_only = data.get(GIVEN_ONLY, False)
    reader.check(isinstance(given_only, bool), GIVEN_ONLY, "must be true or false")
    reader.check(isinstance(data["tables"], list) and data["tables"], "tables", "must be a list")
    entries: list[tuple[Mapping[str, Any], Path]] = []
    for entry in data["tables"]:
        if isinstance(entry, dict):
            entries.append((_merged(shared, entry), path))
            continue
        file = path.with_name(str(entry))
        reader.check(file.is_file(), "tables", f"names a file that does not exist: {file}")
        own = {"seeds", "resources"} & shared.keys()
        changes: dict[str, Any] = {key: shared[key] for key in own}
        entries.append(({**_with_base(file), **changes}, file))
    return replace(_suite(path, data["name"], entries), given_only=given_only)


def write_suite(suite: Suite, work_dir: str | Path) -> None:
    """Leave the suite in its work dir, so that its tables can be drawn from the folder alone."""
    tables = [
        {"file": table.file, "table": data}
        for table, data in zip(suite.tables, suite.data, strict=True)
    ]
    content = {"name": suite.name, "file": suite.file, "tables": tables}
    write_sealed_json(content, Path(work_dir) / SUITE_NAME)


def read_suite(path: str | Path) -> Suite:
    """Read what :func:`write_suite` left.

    Raises:
        ValueError: the file is damaged, or of an older form of suites.
    """
    path = Path(path)
    content = read_sealed_json(path)
    try:
        entries = [(entry["table"], Path(entry["file"])) for entry in content["tables"]]
        return _suite(Path(content["file"]), content["name"], entries)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not the suite of a work dir ({error})") from None


def _suite(path: Path, name: Any, entries: Sequence[tuple[Mapping[str, Any], Path]]) -> Suite:
    tables = tuple(table_from(data, str(file)) for data, file in entries)
    titles = [table.name for table in tables]
    if len(set(titles)) < len(titles):
        raise ValueError(f"{path}: key 'tables' has a table twice: {titles}")
    return Suite(str(path), str(name), tables, tuple(data for data, _ in entries))


def _with_base(path: Path) -> dict[str, Any]:
    """A file over the one that it names as ``base``, to any depth; ``more_rows`` come last."""
    data = _read(path)
    if "base" not in data:
        return data
    base = path.with_name(str(data.pop("base")))
    if not base.is_file():
        raise ValueError(f"{path}: key 'base' names a file that does not exist: {base}")
    if base == path:
        raise ValueError(f"{path}: key 'base' names the file itself")
    return _merged(_with_base(base), data)


def _merged(base: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of `data` over those of `base`; starts and tasks are joined."""
    merged = {**base, **data}
    for key in ("starts", "tasks"):
        if isinstance(base.get(key), dict) and isinstance(data.get(key), dict):
            merged[key] = {**base[key], **data[key]}
    if isinstance(merged.get("rows"), dict) and isinstance(merged.get(MORE_ROWS), dict):
        merged["rows"] = {**merged["rows"], **merged.pop(MORE_ROWS)}
    return merged


def table_from(data: Mapping[str, Any], file: str) -> Table:
    """Build a table from what its file says; `file` is for messages.

    Raises:
        ValueError: as of :func:`load_suite`.
    """
    return _Reader(file).table(data)


def read_yaml(path: Path) -> Any:
    """Parse a YAML file without running anything in it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no YAML, nested too deeply, or its aliases stand for too much.
    """
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        _count(node, 0)  # before it is built: merged keys are copied
        data = loader.construct_document(node) if node else None
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file{hint_for_old_name(path)}") from None
    except (yaml.YAMLError, ValueError) as error:  # of a number or a date that is none, too
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ValueError(f"{path}: nested too deeply") from None
    except OverflowError:
        raise ValueError(
            f"{path}: its aliases stand for more than {MOST_ENTRIES:,} entries"
        ) from None
    return data


class _Loader(yaml.SafeLoader):
    """Refuses what YAML lets pass: a second key of the same name, which replaces the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:merge" and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key.value!r} is there twice", key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def _read(path: Path) -> dict[str, Any]:
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise ValueError(f"{path}: the file is no mapping")
    return data


def _count(node: yaml.Node | None, count: int) -> int:
    """Keys and values of a parsed file, each alias as often as it is used."""
    count += 1
    if count > MOST_ENTRIES:
        raise OverflowError
    children: Iterable[yaml.Node] = ()
    if isinstance(node, yaml.MappingNode):
        children = chain.from_iterable(node.value)
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    for child in children:
        count = _count(child, count)
    return count


def resources_from(data: Any, where: str, base: Resources | None = None) -> Resources:
    """Resources from their mapping, over others; `where` stands before the key in messages.

    Raises:
        ValueError: an unknown key or a wrong value.
    """
    known = [field.name for field in fields(Resources)]
    if not isinstance(data, (dict, type(None))):
        raise ValueError(f"{where}: must be a mapping with {', '.join(known)}")
    for name, value in (data or {}).items():
        if name not in known:
            raise ValueError(f"{where} {name}: is unknown; there are {', '.join(known)}")
        if name == "amp" and value not in PRECISIONS:
            raise ValueError(f"{where} amp: must be one of {', '.join(map(str, PRECISIONS))}")
        if name != "amp" and (type(value) is not int or value < 1):
            raise ValueError(f"{where} {name}: must be a positive integer")
    return replace(base or Resources(), **(data or {}))


class _Reader:
    def __init__(self, file: str) -> None:
        self.file = file

    def check(self, condition: object, key: str, message: str) -> None:
        if not condition:
            raise ValueError(f"{self.file}: key '{key}' {message}")

    def keys(self, data: Any, key: str, required: set[str], optional: set[str]) -> None:
        if not isinstance(data, dict):
            raise ValueError(f"{self.file}: {f'key {key!r}' if key else 'the file'} is no mapping")
        prefix = f"{key}." if key else ""
        for name in data:
            close = difflib.get_close_matches(str(name), sorted(required | optional), n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            self.check(name in required | optional, f"{prefix}{name}", f"is unknown{hint}")
        for name in sorted(required):
            self.check(name in data, f"{prefix}{name}", "is missing")

    def named(self, data: Any, key: str) -> dict[str, Any]:
        """A non-empty mapping; titles that YAML reads as numbers are text."""
        self.check(isinstance(data, dict) and data, key, "must be a non-empty mapping")
        return {str(name): value for name, value in data.items()}

    def table(self, data: Mapping[str, Any]) -> Table:
        if "initialisations" in data:
            raise ValueError(
                f"{self.file}: key 'initialisations' is of an older form of suites: they "
                "are 'rows' now, metrics of tasks are 'columns' (docs/suites.md)"
            )
        self.keys(data, "", required={"name", "rows", "columns"}, optional=_TABLE)
        self.name = data["name"]
        self.check(isinstance(self.name, str), "name", "must be text")
        seeds = data.get("seeds", [0])
        self.check(
            isinstance(seeds, list)
            and seeds
            and all(type(seed) is int and seed >= 0 for seed in seeds)
            and len(set(seeds)) == len(seeds),
            "seeds",
            "must be a list of different non-negative integers",
        )
        self.check(
            data.get("data") in (None, *DATA_SETS), "data", f"must be one of {', '.join(DATA_SETS)}"
        )
        self.resources = resources_from(data.get("resources"), f"{self.file}: key 'resources'")
        described = data.get("starts") or {}
        self.starts = {
            name: self.start(name, self.like(name, described), f"starts.{name}")
            for name in described
        }
        self.tasks = {
            name: self.task(name, value, f"tasks.{name}")
            for name, value in (data.get("tasks") or {}).items()
        }
        for name, task in self.tasks.items():
            tested = self.tasks.get(task.test) if task.test else None
            self.check(
                task.test in (None, "start")
                or (tested is not None and tested.test in (None, "start")),
                f"tasks.{name}.test",
                f"names no task that leaves a model: {task.test!r}",
            )
            first = self.tasks.get(task.after) if task.after else None
            self.check(
                task.after is None
                or (first is not None and first.after is None and first.test != name),
                f"tasks.{name}.after",
                f"names no task that waits for no other with 'after', nor tests {name}: "
                f"{task.after!r}",
            )
        columns = self.named(data["columns"], "columns")
        rows = self.named(data["rows"], "rows")
        cells = self.cells(data, rows, columns)
        baseline = data.get("baseline")
        self.check(baseline is None or baseline in rows, "baseline", "names no row")
        texts = {
            heading: {str(row): str(text) for row, text in self.named(of, "text").items()}
            for heading, of in (data.get("text") or {}).items()
        }
        for heading, of in texts.items():
            for row in of:
                self.check(row in rows, f"text.{heading}.{row}", "names no row")
        return Table(
            file=self.file,
            name=self.name,
            about=_line(data.get("about", "")),
            source=_line(data.get("source", "")),
            heading=data.get("heading", "start"),
            rows=tuple(rows),
            columns=tuple(columns),
            cells=cells,
            text_columns=texts,
            starts=self.starts,
            tasks=self.tasks,
            seeds=tuple(seeds),
            data=data.get("data"),
            baseline=baseline,
            unknown=self.lines(data.get("unknown"), "unknown"),
            sources=_line(data.get("sources", "")),
        )

    def like(self, name: str, starts: Mapping[str, Any], seen: tuple[str, ...] = ()) -> Any:
        """What a start says, over the one that it is ``like``; overrides are joined."""
        data = starts[name]
        if not isinstance(data, dict) or "like" not in data:
            return data
        other, key = data["like"], f"starts.{name}.like"
        self.check(other in starts and other not in (name, *seen), key, f"is {other!r}")
        parent = self.like(other, starts, (name, *seen)) or {}
        own = {key: value for key, value in data.items() if key != "like"}
        if isinstance(own.get("overrides"), dict):
            own["overrides"] = {**(parent.get("overrides") or {}), **own["overrides"]}
        return {**parent, **own}

    def start(self, label: str, data: Any, key: str) -> Start:
        self.check(isinstance(label, str) and folder_name(label) == label, key, _FOLDER)
        if data is None:
            return Start(label)
        optional = {"checkpoint", "pretrain", "overrides", "epoch", "minutes", "resources"}
        self.keys(data, key, set(), optional | {"method", "data", "epochs"})
        sources = data.keys() & {"checkpoint", "pretrain"}
        self.check(len(sources) == 1, key, "needs either 'checkpoint' or 'pretrain'")
        self.positive(data, "minutes", key)
        for name in ("overrides", "epoch", "minutes", "resources"):
            self.check(name not in data or "pretrain" in data, f"{key}.{name}", "needs 'pretrain'")
        self.check(
            type(data.get("epoch", 1)) is int and data.get("epoch", 1) > 0,
            f"{key}.epoch",
            "must be a positive integer",
        )
        return Start(label, **self.job(data, key))

    def task(self, label: str, data: Any, key: str) -> Task:
        self.check(isinstance(label, str) and folder_name(label) == label, key, _FOLDER)
        self.check(label != PRETRAIN, key, "is the name of pre-trainings; choose another")
        optional = {"test", "after", "overrides", "minutes", "resources"}
        optional |= {"grid", "search", "select"}
        self.keys(data, key, {"config"}, optional)
        self.check(
            "test" not in data or "resources" not in data,
            f"{key}.resources",
            "are for tasks that train; a test is one process",
        )
        self.check(isinstance(data["config"], str), f"{key}.config", "must be a file")
        self.positive(data, "minutes", key)
        searched = data.keys() & {"grid", "search"}
        self.check(len(searched) < 2, f"{key}.search", "and 'grid' exclude each other")
        self.check(
            len(searched) == ("select" in data),
            f"{key}.{'search' if 'search' in data else 'grid'}",
            "and 'select', the metric that the best is chosen by, need each other",
        )
        search = None
        if "grid" in data:
            self.grid(data, key)
        if "search" in data:
            search = self.search(data, f"{key}.search")
        return Task(label, **{**self.job(data, key), "search": search})

    def job(self, data: Mapping[str, Any], key: str) -> dict[str, Any]:
        where = f"{self.file}: key '{key}.resources'"
        own = resources_from(data.get("resources"), where, self.resources)
        return {**data, "overrides": self.overrides(data, key), "resources": own}

    def grid(self, data: dict[str, Any], key: str) -> None:
        self.check("test" not in data, f"{key}.grid", "is for tasks that train; this one tests")
        grid = data["grid"]
        self.check(
            isinstance(grid, dict)
            and grid
            and all(isinstance(values, list) and values for values in grid.values()),
            f"{key}.grid",
            "must map keys of the config to lists of values",
        )
        for name, values in grid.items():
            self.check(
                name not in (data.get("overrides") or {}),
                f"{key}.grid.{name}",
                "is in overrides too",
            )
            for value in values:
                self.overrides({"overrides": {name: value}}, f"{key}.grid")

    def search(self, data: Mapping[str, Any], key: str) -> Search:
        self.check("test" not in data, key, "is for tasks that train; this one tests")
        found = data["search"]
        budget = {"trials", "gpu_hours"}
        optional = {"sampler", "seed", "rungs", "reduction_factor", "runners"}
        self.keys(found, key, {"space"}, optional | budget)
        self.check(found.keys() & budget, key, "needs a budget: 'trials', 'gpu_hours' or both")
        self.positive(found, "gpu_hours", key)
        for name in ("trials", "runners", "reduction_factor"):
            value = found.get(name, 2)
            self.check(type(value) is int and value > 0, f"{key}.{name}", "must be 1 or more")
        self.check(found.get("reduction_factor", 2) > 1, f"{key}.reduction_factor", "must be 2 up")
        sampler = found.get("sampler", "tpe")
        self.check(sampler in SAMPLERS, f"{key}.sampler", f"must be one of {', '.join(SAMPLERS)}")
        self.check(type(found.get("seed", 0)) is int, f"{key}.seed", "must be an integer")
        rungs = found.get("rungs", [])
        self.check(
            isinstance(rungs, list)
            and all(type(one) is int and one > 0 for one in rungs)
            and rungs == sorted(set(rungs)),
            f"{key}.rungs",
            "must be steps of the schedule, the first one first",
        )
        space = found["space"]
        self.check(isinstance(space, dict) and space, f"{key}.space", "must map keys to values")
        for name, values in space.items():
            self.range(values, f"{key}.space.{name}")
            self.check(name not in (data.get("overrides") or {}), key, f"has {name} of overrides")
            for value in values if isinstance(values, list) else (values["low"], values["high"]):
                self.overrides({"overrides": {name: value}}, f"{key}.space")
        return Search(**found)

    def range(self, values: Any, key: str) -> None:
        """Check a list of values, or a range with ``low`` and ``high``."""
        if isinstance(values, list):
            self.check(values, key, "must have values")
            return
        self.keys(values, key, {"low", "high"}, {"log"})
        low, high = values["low"], values["high"]
        numbers = all(type(one) in (int, float) for one in (low, high))
        self.check(numbers and low < high, key, "must have a 'low' below its 'high', both numbers")
        self.check(type(values.get("log", False)) is bool, f"{key}.log", "must be true or false")
        self.check(not values.get("log") or low > 0, f"{key}.low", "must be above 0 with 'log'")

    def positive(self, data: Mapping[str, Any], name: str, key: str) -> None:
        value = data.get(name, 1.0)
        self.check(
            type(value) in (int, float) and value > 0, f"{key}.{name}", "must be a positive number"
        )

    def overrides(self, data: Mapping[str, Any], key: str) -> dict[str, Any]:
        found = data.get("overrides") or {}
        self.check(
            isinstance(found, dict) and all(isinstance(name, str) for name in found),
            f"{key}.overrides",
            "must map keys of the config to values",
        )
        self.check(SEED_KEY not in found, f"{key}.overrides.{SEED_KEY}", "is set by 'seeds'")
        for name, value in found.items():
            try:
                as_options({name: value})
            except ValueError as error:
                raise ValueError(f"{self.file}: key '{key}.overrides.{name}': {error}") from None
        return found

    def lines(self, data: Any, key: str) -> tuple[str, ...]:
        if data is None:
            return ()
        found = [data] if isinstance(data, str) else data
        self.check(
            isinstance(found, list) and all(isinstance(one, str) for one in found),
            key,
            "must be a sentence or a list of them",
        )
        return tuple(_line(one) for one in found)

    def cells(
        self, data: Mapping[str, Any], rows: dict[str, Any], columns: dict[str, Any]
    ) -> dict[Place, Cell]:
        common = data.get("cell") or {}
        self.keys(common, "cell", set(), _CELL)
        for title, column in columns.items():
            columns[title] = column or {}
            self.keys(columns[title], f"columns.{title}", set(), _CELL)
        published = {
            title: self.published(row or {}, columns, f"rows.{title}")
            for title, row in rows.items()
        }
        own: dict[Place, Any] = {}
        for row, of in (data.get("cells") or {}).items():
            self.check(str(row) in rows, f"cells.{row}", "names no row")
            for column, cell in self.named(of, f"cells.{row}").items():
                self.check(column in columns, f"cells.{row}.{column}", "names no column")
                self.keys(cell, f"cells.{row}.{column}", set(), _CELL)
                own[str(row), column] = cell
        found: dict[Place, Cell] = {}
        missing = data.get("missing", NOT_PUBLISHED)
        for row, of_row in rows.items():
            rest = {key: value for key, value in (of_row or {}).items() if key != "published"}
            self.keys(rest, f"rows.{row}", set(), _CELL)
            for column, of_column in columns.items():
                parts = (common, of_column, rest, own.get((row, column), {}))
                value = published[row].get(column)
                found[row, column] = self.cell((row, column), parts, value, missing, columns)
        for cell in found.values():
            self.references(cell, found)
        return found

    def published(self, row: Any, columns: Mapping[str, Any], key: str) -> dict[str, float | None]:
        self.check(isinstance(row, dict), key, "must be a mapping")
        values = row.get("published", {})
        if isinstance(values, list):
            self.check(
                len(values) == len(columns),
                f"{key}.published",
                f"has {len(values)} values for {len(columns)} columns",
            )
            values = dict(zip(columns, values, strict=True))
        self.check(isinstance(values, dict), f"{key}.published", "must be a list or a mapping")
        for column, value in values.items():
            self.check(column in columns, f"{key}.published.{column}", "names no column")
            self.check(
                value is None or type(value) in (int, float),
                f"{key}.published.{column}",
                "must be a number, or null",
            )
        return values

    def cell(
        self,
        place: Place,
        parts: tuple[Mapping[str, Any], ...],
        published: float | None,
        missing: str,
        titles: Collection[str],
    ) -> Cell:
        key = f"cells.{place[0]}.{place[1]}"
        merged: dict[str, Any] = {}
        for part in parts:
            for name, value in part.items():
                together = name in _MERGED and isinstance(value, dict)
                merged[name] = {**(merged.get(name) or {}), **value} if together else value
        if merged.get("task") is None:
            merged.pop("start", None)
        merged = _filled(merged, merged.get("vars") or {}, f"{self.file}: key '{key}'")
        quantity = merged.get("quantity")
        self.check(
            quantity in QUANTITIES or quantity is None,
            f"{key}.quantity",
            f"is {quantity!r}; it may be {', '.join(QUANTITIES)}",
        )
        title = Quantity(place[1], "", True) if quantity is None else QUANTITIES[quantity]
        task = merged.get("task")
        self.check(
            task is None or task == PRETRAIN or task in self.tasks, f"{key}.task", f"is {task!r}"
        )
        self.check(
            task is None or isinstance(merged.get("metric"), str), f"{key}.metric", "is missing"
        )
        self.positive(merged, "scale", key)
        facts = merged.get("facts") or {}
        self.keys(facts, f"{key}.facts", set(), _FACTS)
        self.check(
            facts.get("model") in (None, *ARCHITECTURES),
            f"{key}.facts.model",
            f"is none of {', '.join(ARCHITECTURES)}",
        )
        counts = {name: _counts(facts.get(name)) for name in ("train", "evaluated")}
        note = _line(merged.get("note", ""))
        return Cell(
            table=self.name,
            row=place[0],
            column=place[1],
            quantity=title,
            published=None if published is None else float(published),
            note=note or (missing if published is None else ""),
            task=task,
            start=self.start_of(merged.get("start"), place[0], key) if task else None,
            overrides=self.overrides(merged, key),
            metric=merged.get("metric"),
            scale=float(merged.get("scale", 1.0)),
            relative_to=merged.get("relative_to"),
            inverse=bool(merged.get("inverse", False)),
            minus=self.minus(merged.get("minus"), place, titles, key),
            differs=self.lines(merged.get("differs"), f"{key}.differs"),
            facts=Facts(**{**facts, **counts}),
            unknown=self.lines(merged.get("unknown"), f"{key}.unknown"),
        )

    def minus(
        self, pair: Any, place: Place, titles: Collection[str], key: str
    ) -> tuple[Place, Place] | None:
        """Two cells: as pairs of row and column, or by the row or the column that differs."""
        if pair is None:
            return None
        self.check(isinstance(pair, list) and len(pair) == 2, f"{key}.minus", "must be two cells")
        found = []
        for one in pair:
            if isinstance(one, list) and len(one) == 2:
                found.append((str(one[0]), str(one[1])))
            else:
                found.append((place[0], one) if one in titles else (one, place[1]))
        return found[0], found[1]

    def start_of(self, start: Any, row: str, key: str) -> str:
        """Label of a cell's start; one that is described in place is named after the row."""
        if isinstance(start, str):
            self.check(start in self.starts, f"{key}.start", f"names none of 'starts': {start!r}")
            return start
        label = RANDOM if start is None else folder_name(row)
        described = self.start(label, start, f"{key}.start")
        known = self.starts.setdefault(label, described)
        self.check(known == described, f"{key}.start", f"is another one than that of {label!r}")
        return label

    def references(self, cell: Cell, cells: Mapping[Place, Cell]) -> None:
        key = f"cells.{cell.row}.{cell.column}"
        others = list(cell.minus or ())
        if cell.relative_to is not None:
            others.append((cell.relative_to, cell.column))
        for place in others:
            self.check(place in cells, key, f"refers to a cell that there is not: {place}")


_FOLDER = "is used as a folder: letters, digits and _.+=,- only"


def _line(text: Any) -> str:
    return " ".join(str(text).split())


def _counts(value: Any) -> tuple[int, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) else (value,)


def _filled(node: Any, values: Mapping[str, Any], where: str) -> Any:
    """Put `values` into the braces of all text below `node`."""
    if isinstance(node, str) and "{" in node:
        try:
            return node.format_map(values)
        except (KeyError, ValueError, IndexError) as error:
            raise ValueError(f"{where}: no entry of 'vars' for {error} in {node!r}") from None
    if isinstance(node, dict):
        return {name: _filled(value, values, where) for name, value in node.items()}
    if isinstance(node, list):
        return [_filled(value, values, where) for value in node]
    return node
