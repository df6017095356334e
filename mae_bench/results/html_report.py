"""One HTML file with everything a work dir has measured: it needs no other file and no network."""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from ..files import read_json, write_atomic
from ..run_folder import FAILED_NAME, failure_text
from ..text import printable
from . import figures
from .compare import changes, comparison_grid
from .curves import read_scalars
from .grid import Grid
from .measured import MeasuredTable
from .overview import Overview, overview
from .pictures import Comparison, Picture, comparisons, reconstructions
from .record import Record
from .records import Records, ancestors
from .runs_grid import runs_grids
from .table_grid import table_grid

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
    """Drawings and pictures of one suite, or of all runs that belong to none."""

    name: str
    curves: Sequence[tuple[str, list[Markup]]]
    plots: Sequence[tuple[str, list[Markup]]]
    comparisons: Sequence[Comparison]


@dataclass(frozen=True)
class Section:
    """Something beside the runs of a work dir: text, facts, tables, pictures, commands.

    Args:
        title: of the section.
        about: a line on it.
        facts: names and values.
        grids: tables; none of their cells leads to a run.
        pictures: with a caption each.
        commands: to copy, each below what it does.
    """

    title: str
    about: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    grids: Sequence[Grid] = ()
    pictures: Sequence[tuple[str, Picture]] = ()
    commands: Sequence[tuple[str, str]] = ()

    @property
    def anchor(self) -> str:
        """Id of the section."""
        return "section-" + re.sub(r"\W+", "-", self.title.lower())


@dataclass(frozen=True)
class Page:
    """What a page on one thing has besides: its title, and sections before and after the results.

    It has no plots and predictions, which are for a comparison of several.
    """

    title: str
    before: Sequence[Section] = ()
    after: Sequence[Section] = ()


def write_report(
    work_dir: str | Path,
    out: str | Path,
    asked: Sequence[Grid] = (),
    page: Page | None = None,
) -> Path:
    """Write the report of a work dir to `out` and return that path.

    Args:
        work_dir: of a suite, of several, or of single runs.
        out: HTML file.
        asked: what was asked of the tables; without it each line of a suite beside its baseline.
        page: what a page on one thing says besides.
    """
    work_dir, out = Path(work_dir), Path(out)
    found = overview(work_dir)
    records = found.records
    runs = [Run(name, record, ancestors(name, records)) for name, record in records.items()]
    environment = Environment(
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    names = [suite.name for suite in found.suites.values()]
    problems = list(found.problems)
    failures = _failures(work_dir, problems)
    parts = [] if page else _parts(work_dir, found, problems)
    drawn = reconstructions(work_dir, records, problems)
    own_title = names[0] if len(names) == 1 else work_dir.resolve().name
    html = template.render(
        title=page.title if page else own_title,
        page=page,
        results=_grids("suite", [table_grid(table) for table in found.own]),
        papers=_grids("table", [table_grid(table) for table in found.published]),
        by_hand=_grids("runs", runs_grids(found.by_hand(), records)),
        unplaced=found.reasons(),
        parts=parts,
        paper_figures=figures.scaling_of_table_3(found.published),
        asked=bool(asked),
        changes=asked or ([] if page else _changes(found)),
        runs=runs,
        failures=failures,
        problems=list(dict.fromkeys(problems)),
        reconstructions=drawn,
        versions=_versions(runs),
        devices=sorted({run.record.device for run in runs}),
        total=clock(sum(run.record.duration_seconds for run in runs)),
        clock=clock,
        anchor=anchor,
    )
    write_atomic(html.encode(), out)
    return out


def _visible(value: Any) -> Any:
    """Text of strangers without what turns its direction or moves a cursor."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _grids(prefix: str, grids: Sequence[Grid]) -> list[tuple[str, Grid]]:
    """Tables with the ids of their elements."""
    return [(f"{prefix}-{index}", grid) for index, grid in enumerate(grids)]


def clock(seconds: float) -> str:
    """``"1:02:03"`` or ``"2:03"``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def anchor(name: str) -> str:
    """Id of the section of run `name`."""
    return "run-" + re.sub(r"[^A-Za-z0-9_-]", "-", name)


def _parts(work_dir: Path, found: Overview, problems: list[str]) -> list[Part]:
    """One part for each suite, and one for the runs outside of all suites."""
    parts = []
    for folder, suite in found.suites.items():
        starts = list(dict.fromkeys(start for table in suite.tables for start in table.starts))
        own = Records(
            sorted(
                found.of_suite(folder).items(),
                key=lambda item: _place(item[1].initialisation, starts),
            )
        )
        columns = figures.columns_of(suite.tables)
        parts.append(_part(work_dir, suite.name, columns, own, found.published, problems))
    outside = found.outside()
    if outside:
        columns = [
            figures.Column(record.task, metric, f"{record.task}, {metric}")
            for record in outside.values()
            for metric in record.metrics
            if metric.count("/") < 2
        ]
        columns = list(dict.fromkeys(columns))
        parts.append(_part(work_dir, "Single runs", columns, outside, found.published, problems))
    return parts


def _place(start: str, starts: Sequence[str]) -> int:
    """Where a start stands in a suite, so that drawings keep its order."""
    return starts.index(start) if start in starts else len(starts)


def _part(
    work_dir: Path,
    name: str,
    columns: Sequence[figures.Column],
    records: Records,
    papers: Sequence[MeasuredTable],
    problems: list[str],
) -> Part:
    labels = {run: record.initialisation for run, record in records.items()}
    logs = {run: read_scalars(work_dir / run) for run in records}
    problems += [problem for log in logs.values() for problem in log.problems]
    plots = {
        "Scaling": figures.scaling(columns, labels, records),
        "Partial fine-tuning": figures.partial_fine_tuning(columns, labels, records, papers),
        "Accuracy by severity": figures.severity(labels, records),
        "Speed against accuracy": figures.speed(columns, labels, records),
    }
    return Part(
        name=name,
        curves=figures.training_curves(columns, labels, records, logs),
        plots=[(title, drawings) for title, drawings in plots.items() if drawings],
        comparisons=comparisons(
            work_dir,
            records,
            list(dict.fromkeys(column.task for column in columns)),
            labels,
            problems,
        ),
    )


def _changes(found: Overview) -> list[Grid]:
    """Every line of a suite's table against its baseline."""
    grids = []
    for measured in found.own:
        baseline = measured.table.baseline
        rows = {cell.cell.row for cell in measured.cells.values()}
        for row in measured.rows():
            if baseline in rows and row in rows and row != baseline:
                moved = changes(str(baseline), row, [measured])
                grids.append(comparison_grid(str(baseline), row, moved))
    return grids


def _failures(work_dir: Path, problems: list[str]) -> dict[str, str]:
    """Job name -> reason, of the jobs whose last start failed; `problems` gets damaged files."""
    found = {}
    for path in sorted(work_dir.rglob(FAILED_NAME)):
        try:
            reason = failure_text(read_json(path))
        except (ValueError, OSError) as error:
            reason = "unknown"
            problems.append(str(error))
        found[path.parent.relative_to(work_dir).as_posix()] = reason
    return found


def _versions(runs: Sequence[Run]) -> dict[str, str]:
    """Package -> version, or all of them where runs differ."""
    found: dict[str, set[str]] = {}
    for run in runs:
        revision = run.record.git_revision or "no git checkout"
        for name, version in {**run.record.versions, "git revision": revision}.items():
            found.setdefault(name, set()).add(version)
    return {name: ", ".join(sorted(versions)) for name, versions in found.items()}
