"""One HTML file with everything a suite has measured: it needs no other file and no network."""

import base64
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from .curves import Curve, Scalars, draw_curves, read_scalars
from .record import Record
from .table import Column, Layout, Table, build_table, read_layout, read_records

TEMPLATE = Path(__file__).with_name("report.html.jinja")
RECONSTRUCTIONS_NAME = "reconstructions.png"
FAILED_NAME = "failed.json"
PICTURES = 4  # of each initialisation and task; more would make the file large


@dataclass(frozen=True)
class Run:
    """A record with its place in the work dir."""

    name: str
    record: Record

    @property
    def anchor(self) -> str:
        """Id of the run's section."""
        return "run-" + re.sub(r"[^A-Za-z0-9_-]", "-", self.name)


@dataclass(frozen=True)
class Picture:
    """An inlined image with its text for those who do not see it."""

    uri: str
    alt: str


@dataclass(frozen=True)
class Comparison:
    """Pictures of one task: for each sample one picture per label, in the order of `labels`."""

    title: str
    labels: list[str]
    samples: list[list[Picture]]


def write_report(work_dir: str | Path, out: str | Path) -> Path:
    """Write the report of a suite's work dir to `out` and return that path.

    Raises:
        FileNotFoundError: `work_dir` is no work dir of a suite.
        ValueError: a file in it is not what its name says.
    """
    work_dir, out = Path(work_dir), Path(out)
    layout = read_layout(work_dir)
    records = read_records(work_dir)
    runs = [Run(name, record) for name, record in records.items()]
    scalars = {run.name: read_scalars(work_dir / run.name) for run in runs}
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    table = build_table(layout, records)
    html = template.render(
        layout=layout,
        table=table,
        links=_links(table, runs),
        runs=runs,
        failures=_failures(work_dir),
        reconstructions=_reconstructions(work_dir, runs),
        curves=_curves(layout, runs, scalars),
        comparisons=_comparisons(work_dir, layout, runs),
        versions=_versions(runs),
        devices=sorted({run.record.device for run in runs}),
        total=clock(sum(run.record.duration_seconds for run in runs)),
        clock=clock,
        pretty=lambda value: json.dumps(value, indent=2),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(html, encoding="utf-8")
    return out


def clock(seconds: float) -> str:
    """``"1:02:03"`` or ``"2:03"``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _links(table: Table, runs: list[Run]) -> dict[tuple[str, Column], list[Run]]:
    """Runs behind each cell, by seed."""
    return {
        (row.label, column): sorted(
            (
                run
                for run in runs
                if (run.record.initialisation, run.record.task) == (row.label, column.task)
            ),
            key=lambda run: -1 if run.record.seed is None else run.record.seed,
        )
        for row in table.rows
        for column in table.layout.columns
    }


def _failures(work_dir: Path) -> dict[str, str]:
    """Job name -> reason, of the jobs whose last start failed."""
    return {
        path.parent.relative_to(work_dir).as_posix(): json.loads(path.read_text("utf-8"))["reason"]
        for path in sorted(work_dir.rglob(FAILED_NAME))
    }


def _reconstructions(work_dir: Path, runs: list[Run]) -> list[tuple[str, Picture]]:
    found = []
    for run in runs:
        path = work_dir / run.name / RECONSTRUCTIONS_NAME
        if path.is_file():
            alt = f"Masked, reconstructed and original pictures of {run.name}"
            found.append((run.name, Picture(_data_uri(path), alt)))
    return found


def _curves(
    layout: Layout, runs: list[Run], scalars: dict[str, Scalars]
) -> list[tuple[str, list[Markup]]]:
    """(task, drawings): training loss and each metric of the table, initialisations together."""
    styles = {label: index for index, label in enumerate(layout.initialisations)}
    tasks = list(dict.fromkeys(["pretrain", *(column.task for column in layout.columns)]))
    found = []
    for task in tasks:
        of_task = [(run, scalars[run.name]) for run in runs if run.record.task == task]
        drawings = []
        losses = _by_label(
            layout, ((run, logged.loss) for run, logged in of_task if logged.loss.points)
        )
        if losses:
            drawings.append(
                draw_curves(losses, styles, f"{task}: training loss", "iteration", "loss")
            )
        for column in layout.columns:
            if column.task != task:
                continue
            metrics = _by_label(
                layout,
                (
                    (run, logged.metrics[column.metric].scaled(column.scale))
                    for run, logged in of_task
                    if column.metric in logged.metrics
                ),
            )
            if metrics and losses:  # without training there is one point and no curve
                unit = next(logged.val_unit for _, logged in of_task)
                title = f"{task}: {column.title}"
                drawings.append(draw_curves(metrics, styles, title, unit, column.heading))
        if drawings:
            found.append((task, drawings))
    return found


def _by_label(layout: Layout, pairs: Iterable[tuple[Run, Curve]]) -> dict[str, list[Curve]]:
    """Curves of runs by their initialisation, in the order of the table."""
    values: dict[str, list[Curve]] = {label: [] for label in layout.initialisations}
    for run, value in pairs:
        if run.record.initialisation in values:
            values[run.record.initialisation].append(value)
    return {label: found for label, found in values.items() if found}


def _comparisons(work_dir: Path, layout: Layout, runs: list[Run]) -> list[Comparison]:
    """Drawn predictions of the last evaluation, the same sample side by side, of the first seed."""
    found = []
    for task in dict.fromkeys(column.task for column in layout.columns):
        pictures: dict[str, dict[str, Path]] = {}
        for label in layout.initialisations:
            run = next(
                (
                    run
                    for run in runs
                    if (run.record.initialisation, run.record.task) == (label, task)
                ),
                None,
            )
            drawn = _drawn(work_dir, run) if run else {}
            if drawn:
                pictures[label] = drawn
        if not pictures:
            continue
        common = set.intersection(*(set(drawn) for drawn in pictures.values()))
        samples = [
            [
                Picture(_data_uri(pictures[label][name]), f"{task}, {label}: {name}")
                for label in pictures
            ]
            for name in sorted(common, key=_step_and_name)[:PICTURES]
        ]
        if samples:
            found.append(Comparison(task, list(pictures), samples))
    return found


def _drawn(work_dir: Path, run: Run) -> dict[str, Path]:
    """Pictures by file name; MMEngine ends the name with the step it was drawn at."""
    # a validation in the middle of training shows a model that nobody has a number of
    last = run.record.run_card.get("iterations", 0)
    folder = work_dir / run.name
    return {
        path.name: path
        for path in sorted(folder.glob("*/vis_data/vis_image/*.png"))
        if _step_and_name(path.name)[0] >= last
    }


def _step_and_name(name: str) -> tuple[int, str]:
    match = re.search(r"_(\d+)\.png$", name)
    return (int(match[1]) if match else 0, name)


def _versions(runs: list[Run]) -> dict[str, str]:
    """Package -> version, or all of them where runs differ."""
    found: dict[str, set[str]] = {}
    for run in runs:
        revision = run.record.git_revision or "no git checkout"
        for name, version in {**run.record.versions, "git revision": revision}.items():
            found.setdefault(name, set()).add(version)
    return {name: ", ".join(sorted(versions)) for name, versions in found.items()}


def _data_uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
