"""One HTML file with everything a work dir has measured: it needs no other file and no network."""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from ..files import write_atomic
from ..run_folder import FAILED_NAME
from . import figures
from .cells import ancestors
from .compare import changes, comparison_grid
from .curves import read_scalars
from .grid import Grid
from .paper import MeasuredTable, measured_tables
from .pictures import Comparison, comparisons, reconstructions
from .record import Record
from .table import (
    BASELINE,
    Column,
    Layout,
    Table,
    build_table,
    find_layouts,
    records_below,
    scan_records,
)

TEMPLATE = Path(__file__).with_name("report.html.jinja")


@dataclass(frozen=True)
class Run:
    """A record with its place in the work dir."""

    name: str
    record: Record
    ancestors: Sequence[str] = ()

    @property
    def anchor(self) -> str:
        """Id of the run's section."""
        return anchor(self.name)

    @property
    def json(self) -> str:
        """The whole record, for reading."""
        return json.dumps(dataclasses.asdict(self.record), indent=2)


@dataclass(frozen=True)
class Part:
    """What one suite, or all runs that belong to none, contribute."""

    layout: Layout
    table: Table | None
    links: Mapping[tuple[str, Column], list[Run]]
    curves: Sequence[tuple[str, list[Markup]]]
    plots: Sequence[tuple[str, list[Markup]]]
    comparisons: Sequence[Comparison]


def write_report(
    work_dir: str | Path, out: str | Path, compare: tuple[str, str] | None = None
) -> Path:
    """Write the report of a work dir to `out` and return that path.

    Args:
        work_dir: of a suite, of several, or of single runs.
        out: HTML file.
        compare: initialisations to compare; without it each one with the baseline.

    Raises:
        ValueError: a suite's layout in it is unreadable, or has no such initialisation.
    """
    work_dir, out = Path(work_dir), Path(out)
    records, problems = scan_records(work_dir)
    layouts = find_layouts(work_dir)
    papers, wrong_cells = measured_tables(records)
    runs = [Run(name, record, ancestors(name, records)) for name, record in records.items()]
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    layout_names = [layout.name for layout in layouts.values()]
    html = template.render(
        title=layout_names[0] if len(layout_names) == 1 else work_dir.resolve().name,
        parts=_parts(work_dir, layouts, records, papers),
        papers=[(f"table-{index}", paper.grid()) for index, paper in enumerate(papers)],
        paper_figures=figures.scaling_of_table_3(papers),
        changes=_changes(compare, layouts, records),
        runs=runs,
        failures=_failures(work_dir),
        problems=[*problems, *wrong_cells],
        reconstructions=reconstructions(work_dir, records),
        versions=_versions(runs),
        devices=sorted({run.record.device for run in runs}),
        total=clock(sum(run.record.duration_seconds for run in runs)),
        clock=clock,
        anchor=anchor,
    )
    write_atomic(html.encode(), out)
    return out


def clock(seconds: float) -> str:
    """``"1:02:03"`` or ``"2:03"``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def anchor(name: str) -> str:
    """Id of the section of run `name`."""
    return "run-" + re.sub(r"[^A-Za-z0-9_-]", "-", name)


def _parts(
    work_dir: Path,
    layouts: Mapping[str, Layout],
    records: dict[str, Record],
    papers: Sequence[MeasuredTable],
) -> list[Part]:
    """One part for each suite, and one for the runs outside of all suites."""
    found = []
    outside = dict(records)
    for folder, layout in layouts.items():
        own = records_below(folder, records)
        for name in own:
            outside.pop(name, None)
        found.append(_part(work_dir, layout, build_table(layout, own), own, papers))
    if outside:
        found.append(_part(work_dir, _layout_of(outside), None, outside, papers))
    return found


def _part(
    work_dir: Path,
    layout: Layout,
    table: Table | None,
    records: dict[str, Record],
    papers: Sequence[MeasuredTable],
) -> Part:
    columns, labels = layout.columns, layout.initialisations
    logs = {name: read_scalars(work_dir / name) for name in records}
    plots = {
        "Scaling": figures.scaling(columns, labels, records),
        "Partial fine-tuning": figures.partial_fine_tuning(columns, labels, records, papers),
        "Accuracy by severity": figures.severity(labels, records),
        "Speed against accuracy": figures.speed(columns, labels, records),
    }
    return Part(
        layout=layout,
        table=table,
        links=_links(table, records) if table else {},
        curves=figures.training_curves(columns, labels, records, logs),
        plots=[(title, drawings) for title, drawings in plots.items() if drawings],
        comparisons=comparisons(
            work_dir, records, list(dict.fromkeys(column.task for column in columns)), labels
        ),
    )


def _layout_of(records: Mapping[str, Record]) -> Layout:
    """Columns and labels of runs that belong to no suite: what their configs reproduce."""
    columns = {}
    for record in records.values():
        for entry in record.reproduces:
            metric = entry.get("metric")
            if metric in record.metrics:
                title = f"{record.task}, {metric}"
                column = Column(record.task, metric, title, entry.get("scale", 1))
                columns[record.task, metric] = column
    labels = list(dict.fromkeys(record.initialisation for record in records.values()))
    return Layout("Single runs", labels, list(columns.values()))


def _links(table: Table, records: Mapping[str, Record]) -> dict[tuple[str, Column], list[Run]]:
    """Runs behind each cell, by seed."""
    return {
        (row.label, column): sorted(
            (
                Run(name, record)
                for name, record in records.items()
                if (record.initialisation, record.task) == (row.label, column.task)
            ),
            key=lambda run: -1 if run.record.seed is None else run.record.seed,
        )
        for row in table.rows
        for column in table.layout.columns
    }


def _changes(
    compare: tuple[str, str] | None, layouts: Mapping[str, Layout], records: dict[str, Record]
) -> list[Grid]:
    """What was asked for, or every initialisation of a suite against its baseline."""
    if compare:
        return [comparison_grid(*compare, changes(*compare, layouts, records))]
    found = []
    for folder, layout in layouts.items():
        own = records_below(folder, records)
        present = {record.initialisation for record in own.values()}
        for label in layout.initialisations:
            if label != BASELINE and {label, BASELINE} <= present:
                moved = changes(BASELINE, label, {".": layout}, own)
                found.append(comparison_grid(BASELINE, label, moved))
    return found


def _failures(work_dir: Path) -> dict[str, str]:
    """Job name -> reason, of the jobs whose last start failed."""
    return {
        path.parent.relative_to(work_dir).as_posix(): json.loads(path.read_text("utf-8"))["reason"]
        for path in sorted(work_dir.rglob(FAILED_NAME))
    }


def _versions(runs: Sequence[Run]) -> dict[str, str]:
    """Package -> version, or all of them where runs differ."""
    found: dict[str, set[str]] = {}
    for run in runs:
        revision = run.record.git_revision or "no git checkout"
        for name, version in {**run.record.versions, "git revision": revision}.items():
            found.setdefault(name, set()).add(version)
    return {name: ", ".join(sorted(versions)) for name, versions in found.items()}
