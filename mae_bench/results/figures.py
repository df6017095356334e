"""Drawings of the report: each returns inline SVGs, none where the records have too little."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .curves import Curve, Scalars, draw_curves
from .grid import DOWN
from .measured import MeasuredTable
from .record import Record
from .records import ancestors
from .robustness_page import accuracy_by_severity
from .table import Table

Records = Mapping[str, Record]
Labels = Mapping[str, str]  # run -> what it is called in drawings
# model size -> parameters of the ViT in millions (MAE Table 12; H448 has those of H)
SIZES = {"ViT-B": 86.0, "ViT-L": 304.0, "ViT-H": 632.0}
FULL = 0.95  # share of parameters that train in what counts as full fine-tuning
APART = 1.05  # models differ in size from this ratio on: heads and adapters do not count


@dataclass(frozen=True)
class Column:
    """One metric of one task; drawings show the record's value times `scale`."""

    task: str
    metric: str
    title: str
    scale: float = 1.0
    lower_is_better: bool = False

    @property
    def heading(self) -> str:
        """Title, with an arrow where lower is better."""
        return f"{self.title} {DOWN}" if self.lower_is_better else self.title


def columns_of(tables: Iterable[Table]) -> list[Column]:
    """What tables measure, each once."""
    found: dict[tuple[str, str], Column] = {}
    for table in tables:
        for cell in table.cells.values():
            if cell.task is not None and cell.metric is not None:
                lower = cell.quantity.higher_is_better is False
                column = Column(cell.task, cell.metric, cell.column, cell.scale, lower)
                found.setdefault((cell.task, cell.metric), column)
    return list(found.values())


def training_curves(
    columns: Sequence[Column], labels: Labels, records: Records, logs: Mapping[str, Scalars]
) -> list[tuple[str, list[Markup]]]:
    """(task, drawings): training loss and each metric of the table, initialisations together."""
    found = []
    for task in dict.fromkeys(["pretrain", *(column.task for column in columns)]):
        of_task = {name: logs[name] for name, r in records.items() if same_task(r, task)}
        losses = _by_label(labels, ((n, log.loss) for n, log in of_task.items() if log.loss.points))
        if not losses:  # without training there is one point and no curve
            continue
        drawings = [_draw(losses, labels.values(), f"{task}: training loss", "iteration", "loss")]
        for column in [column for column in columns if column.task == task]:
            metrics = _by_label(
                labels,
                (
                    (name, log.metrics[column.metric].scaled(column.scale))
                    for name, log in of_task.items()
                    if column.metric in log.metrics
                ),
            )
            if metrics:
                unit = next(log.val_unit for log in of_task.values())
                title = f"{task}: {column.title}"
                drawings.append(_draw(metrics, labels.values(), title, unit, column.heading))
        found.append((task, drawings))
    return found


def scaling_of_table_3(tables: Iterable[MeasuredTable]) -> list[Markup]:
    """Accuracy by model size, measured beside published: MAE Figure 8 from the cells of Table 3."""
    table = next((one for one in tables if one.table.name == "Table 3"), None)
    if table is None:
        return []
    curves: dict[str, list[Curve]] = {}
    for row in table.table.rows:
        measured = {
            SIZES[column]: cell.values.mean
            for (own_row, column), cell in table.cells.items()
            if own_row == row and column in SIZES and cell.values.mean is not None
        }
        if measured:
            numbers = [table.table.cell(row, column) for column in SIZES]
            published = {SIZES[n.column]: n.published for n in numbers if n.published is not None}
            curves[f"{row}, measured"] = [Curve(measured)]
            curves[f"{row}, published"] = [Curve(published)]
    title = "Scaling: ImageNet-1K fine-tuning"
    return [_draw(curves, list(curves), title, "parameters of the ViT (M)", "top-1 (%)")]


def scaling(columns: Sequence[Column], labels: Labels, records: Records) -> list[Markup]:
    """Each metric by model size, where full fine-tuning was run at several sizes (Figure 8)."""

    def size(name: str) -> float | None:
        card = records[name].run_card
        if card.get("trainable_parameters", 0) < FULL * card.get("parameters", math.inf):
            return None
        return card["parameters"] / 1e6

    found = []
    for column in columns:
        curves = _by_x(column, labels, records, size)
        sizes = {x for runs in curves.values() for curve in runs for x in curve.points}
        if sizes and max(sizes) > APART * min(sizes):
            title = f"Scaling: {column.title}"
            found.append(_draw(curves, labels.values(), title, "parameters (M)", column.heading))
    return found


def partial_fine_tuning(
    columns: Sequence[Column],
    labels: Labels,
    records: Records,
    tables: Iterable[MeasuredTable],
) -> list[Markup]:
    """Accuracy by the number of blocks that train: MAE Figure 9, with its numbers where measured.

    0 is linear probing. Runs of several configs are joined: those that have the metric and as many
    validation images.
    """
    found = []
    for metric in dict.fromkeys(c.metric for c in columns if c.metric.endswith("top1")):
        column = next(column for column in columns if column.metric == metric)
        counts = {
            record.data_counts["val"]
            for record in records.values()
            if metric in record.metrics and "val" in record.data_counts
        }
        for count in sorted(counts):
            own = {n: r for n, r in records.items() if r.data_counts.get("val") == count}
            blocks = {n: r.run_card.get("trained_blocks") for n, r in own.items()}
            tasks = [c.task for c in columns if c.metric == metric]
            curves = _by_x(column, labels, own, blocks.get, tasks)
            if len({x for runs in curves.values() for c in runs for x in c.points}) < 2:
                continue
            shown = list(labels.values())
            figure = next((one for one in tables if one.table.name == "Figure 9"), None)
            for method in ("MAE", "MoCo v3") if figure else ():
                assert figure is not None
                numbers = [figure.table.cell(row, method) for row in figure.table.rows]
                points = {float(n.row): n.published for n in numbers if n.published is not None}
                curves[f"{method}, published"] = [Curve(points)]
                shown.append(f"{method}, published")
            title = f"Partial fine-tuning, {count:,} validation images"
            found.append(_draw(curves, shown, title, "blocks that train", "top-1 (%)"))
    return found


def severity(labels: Labels, records: Records) -> list[Markup]:
    """Accuracy by severity, of the mean of all corruptions and of each, where records have it."""
    by_corruption: dict[str, dict[str, list[Curve]]] = {}
    for name, record in records.items():
        curves = accuracy_by_severity(record)
        if not curves or name not in labels:
            continue
        levels = set.intersection(*(set(curve.points) for curve in curves.values()))
        means = {x: sum(c.points[x] for c in curves.values()) / len(curves) for x in levels}
        for corruption, curve in {"mean of all": Curve(means), **curves}.items():
            own = by_corruption.setdefault(corruption, {})
            own.setdefault(labels[name], []).append(curve)
    return [
        _draw(curves, labels.values(), f"Severity: {corruption}", "severity", "top-1 (%)")
        for corruption, curves in by_corruption.items()
        if any(len(curve.points) > 1 for runs in curves.values() for curve in runs)
    ]


def speed(columns: Sequence[Column], labels: Labels, records: Records) -> list[Markup]:
    """Each metric by the wall-clock minutes it took, with those of the runs it comes from."""

    def minutes(name: str) -> float:
        runs = [name, *ancestors(name, records)]
        return sum(records[run].duration_seconds for run in runs) / 60

    found = []
    for column in columns:
        curves = _by_label(
            labels,
            (
                (name, Curve({minutes(name): record.metrics[column.metric] * column.scale}))
                for name, record in records.items()
                if same_task(record, column.task) and column.metric in record.metrics
            ),
        )
        if curves:
            title = f"Speed: {column.title}"
            found.append(_draw(curves, labels.values(), title, "run time (min)", column.heading))
    return found


def _by_x(
    column: Column,
    labels: Labels,
    records: Records,
    x_of: Callable[[str], float | None],
    tasks: Sequence[str] | None = None,
) -> dict[str, list[Curve]]:
    """Label -> one curve per seed; of several runs at one x the better one counts."""
    seeds: dict[str, dict[int | None, Curve]] = {}
    pick = min if column.lower_is_better else max
    for name, record in records.items():
        x = x_of(name)
        known = name in labels and column.metric in record.metrics
        if x is None or not known:
            continue
        if not any(same_task(record, task) for task in tasks or [column.task]):
            continue
        points = seeds.setdefault(labels[name], {}).setdefault(record.seed, Curve()).points
        value = record.metrics[column.metric] * column.scale
        points[x] = pick(points.get(x, value), value)
    shown = dict.fromkeys(labels.values())
    return {label: list(seeds[label].values()) for label in shown if label in seeds}


def _by_label(labels: Labels, pairs: Iterable[tuple[str, Curve]]) -> dict[str, list[Curve]]:
    """Curves of runs by their initialisation, in the order of the table."""
    values: dict[str, list[Curve]] = {label: [] for label in labels.values()}
    for name, curve in pairs:
        if name in labels:
            values[labels[name]].append(curve)
    return {label: found for label, found in values.items() if found}


def same_task(record: Record, task: str) -> bool:
    """Whether a record is of a task, whatever the overrides that a suite names it by."""
    return record.task.partition(",")[0] == task


def _draw(
    curves: Mapping[str, Sequence[Curve]], labels: Iterable[str], title: str, x: str, y: str
) -> Markup:
    """A label looks the same in every drawing: its place among `labels` decides."""
    styles = {label: index for index, label in enumerate(dict.fromkeys([*labels, *curves]))}
    return draw_curves(curves, styles, title, x, y)
