"""The table of the robustness sets, and drawings of accuracy against severity, from records."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup
from rich.box import SIMPLE_HEAD
from rich.table import Table

from ..text import PlainConsole
from .curves import Curve, draw_curves
from .record import Record
from .shipped import shipped_tables

NOT_DISTRIBUTED = "made here from ImageNet val, not the distributed files"
# metric's group -> what the table calls it
SETS = {
    "imagenet_val": "ImageNet val",
    "imagenet_a": "ImageNet-A",
    "imagenet_r": "ImageNet-R",
    "imagenet_sketch": "ImageNet-Sketch",
    "imagenet_v2": "ImageNet-V2, matched frequency",
    "imagenet_v2_threshold": "ImageNet-V2, threshold 0.7",
    "imagenet_v2_top": "ImageNet-V2, top images",
    "imagenet_c": "ImageNet-C",
    "corrupted_val": f"corrupted val ({NOT_DISTRIBUTED})",
    "cue_conflict": "cue conflict",
}
FIGURES = {
    "top1": "top-1",
    "top5": "top-5",
    "real_top1": "top-1, ReaL labels",
    "clean_top1": "top-1 of the same 200 classes on val",
    "top1_1000way": "top-1 among all 1000 classes",
    "mCE": "mCE, AlexNet = 100 \u2193",
    "relative_mCE": "relative mCE, AlexNet = 100 \u2193",
    "mean_error": "mean error, not normalised \u2193",
    "shape_bias": "shape bias",
    "shape": "decided by shape",
    "texture": "decided by texture",
    "confidence": "mean confidence",
    "ece": "expected calibration error \u2193",
}
# row -> metric
TABLE_13_METRICS = {
    "IN-Corruption": "imagenet_c/mCE",
    "IN-Adversarial": "imagenet_a/top1",
    "IN-Rendition": "imagenet_r/top1",
    "IN-Sketch": "imagenet_sketch/top1",
}
CALIBRATION = (
    "Confidence is the probability of the best class, and ECE the expected calibration error in 15 "
    "bins; both are of the classes that the accuracy is of. The clean accuracy is that on ImageNet "
    "val, for A and R on their 200 classes."
)
MODELS = {"ViT-B": 86.0, "ViT-L": 304.0, "ViT-H": 632.0}  # parameters in millions
COLUMNS = (
    *("set", "model", "accuracy", "less the clean one", "confidence", "ECE", "ReaL labels"),
    "shape bias",
)
MORE_FIGURES = ("confidence", "ece", "real_top1", "shape_bias")
# What stands before <corruption>/<severity>; the last is MiniWorld's, whose images have no clean
# set beside them.
ERROR_PREFIXES = ("imagenet_c/error/", "corrupted_val/error/")


def print_table(
    metrics: Mapping[str, float],
    counts: Mapping[str, int],
    cells: Sequence[Mapping[str, Any]] = (),
    missing: Iterable[str] = (),
) -> None:
    """Print every set's figures, the published ones beside them, and what was missing.

    Args:
        metrics: of ``RobustnessLoop``.
        counts: images of each set.
        cells: cells of shipped tables that the run claims.
        missing: sets that were not there, one line each.
    """
    table = Table(box=SIMPLE_HEAD)
    for heading in ("set", "images", "figure", "%", "published"):
        right = heading in ("images", "%", "published")
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    published = {}
    for claim in cells:
        if claim["table"] in shipped_tables():
            cell = shipped_tables()[claim["table"]].cell(claim["row"], claim["column"])
            published[cell.metric] = "" if cell.published is None else f"{cell.published}"
    for group in [*SETS, *(group for group in counts if group not in SETS)]:
        first = True
        for figure, name in table_figures(metrics, group):
            row = (SETS.get(group, group), f"{counts.get(group, 0):,}") if first else ("", "")
            key = f"{group}/{figure}"
            table.add_row(*row, name, f"{metrics[key]:.2f}", published.get(key, ""))
            first = False
        difference = difference_to_clean(metrics, group)
        if difference is not None:
            table.add_row("", "", "accuracy less the clean one", f"{difference:+.2f}", "")
    console = PlainConsole()
    console.print(table)
    for line in missing:
        console.print(f"missing: {line}", soft_wrap=True)


def table_figures(metrics: Mapping[str, float], group: str) -> list[tuple[str, str]]:
    """Figures of a set that there are, (key, title): the main ones, then each corruption's mean."""
    shown = [(key, title) for key, title in FIGURES.items() if f"{group}/{key}" in metrics]
    prefix = f"{group}/error/"
    for name in metrics:
        corruption = name.removeprefix(prefix)
        if name.startswith(prefix) and "/" not in corruption:
            shown.append((f"error/{corruption}", f"error, {corruption.replace('_', ' ')} \u2193"))
    return shown


def accuracy(metrics: Mapping[str, float], group: str) -> float | None:
    """Top-1 of a set in percent; of corruptions 100 less their mean error."""
    error = metrics.get(f"{group}/mean_error")
    return metrics.get(f"{group}/top1") if error is None else 100 - error


def difference_to_clean(metrics: Mapping[str, float], group: str) -> float | None:
    """Accuracy of a set less that on ImageNet val, of the same 200 classes for A and R."""
    own = accuracy(metrics, group)
    of_200 = f"{group}/top1_1000way" in metrics
    clean = metrics.get(f"{group}/clean_top1" if of_200 else "imagenet_val/top1")
    return None if own is None or clean is None or group == "imagenet_val" else own - clean


def accuracy_by_severity(record: Record) -> dict[str, Curve]:
    """Top-1 accuracy in percent against severity, by corruption; severity 0 is the clean set."""
    curves: dict[str, Curve] = {}
    top1 = record.metrics.get("imagenet_val/top1")
    clean: dict[float, float] = {} if top1 is None else {0: top1}
    for prefix in ERROR_PREFIXES:
        for name, error in record.metrics.items():
            corruption, _, severity = name.removeprefix(prefix).partition("/")
            if not name.startswith(prefix) or not severity.isdecimal():
                continue
            curve = curves.setdefault(corruption, Curve(dict(clean)))
            curve.points[int(severity)] = 100 - error
    return curves


def write_pictures(records: Mapping[str, Record]) -> str:
    """A page of HTML: a table of the sets, a drawing for each corruption, model against model, and
    Table 13.

    Each part is left out where no record has figures for it.

    Args:
        records: label -> record of a robustness run.

    Raises:
        ValueError: a record has figures for neither.
    """
    curves = {label: accuracy_by_severity(record) for label, record in records.items()}
    in_table_13 = [
        label for label, r in records.items() if r.metrics.keys() & TABLE_13_METRICS.values()
    ]
    for label, of_model in curves.items():
        if not of_model and label not in in_table_13:
            raise ValueError(
                f"{label}: no errors by corruption and severity and no figure of Table 13; "
                "evaluate with a robustness config"
            )
    styles = {label: index for index, label in enumerate(records)}
    corruptions = list(dict.fromkeys(name for of_model in curves.values() for name in of_model))
    drawings = [
        draw_curves(
            {label: [c[corruption]] for label, c in curves.items() if corruption in c},
            styles,
            corruption.replace("_", " "),
            "severity",
            "top-1 accuracy, %",
        )
        for corruption in corruptions
    ]
    notes = [
        f"{label}: corruptions {NOT_DISTRIBUTED}"
        for label, record in records.items()
        if any(name.startswith("corrupted_val/") for name in record.metrics)
    ]
    if any(0 in curve.points for of_model in curves.values() for curve in of_model.values()):
        notes.insert(0, "Severity 0 is ImageNet's validation set.")
    table_13 = draw_table_13(records) if in_table_13 else []
    return _page(_table_of_sets(records), drawings, notes, table_13)


def _table_of_sets(records: Mapping[str, Record]) -> list[Markup]:
    """Accuracy, its difference to the clean one, and calibration of each set and record."""
    found = {key.partition("/")[0]: None for record in records.values() for key in record.metrics}
    lines = []
    for group in [*(name for name in SETS if name in found), *(n for n in found if n not in SETS)]:
        for label, record in records.items():
            metrics = record.metrics
            values = [
                accuracy(metrics, group),
                difference_to_clean(metrics, group),
                *(metrics.get(f"{group}/{figure}") for figure in MORE_FIGURES),
            ]
            if any(value is not None for value in values):
                lines.append((SETS.get(group, group), label, *map(_number, values)))
    if not lines:
        return []
    rows = [_row("th", COLUMNS), *(_row("td", line) for line in lines)]
    return [Markup("<table>{}</table>").format(Markup("").join(rows))]


def _row(tag: str, cells: Iterable[str]) -> Markup:
    cell = Markup(f"<{tag}>{{}}</{tag}>")
    return Markup("<tr>{}</tr>").format(Markup("").join(cell.format(text) for text in cells))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def draw_table_13(records: Mapping[str, Record]) -> list[Markup]:
    """MAE against supervised by model size, one drawing for each set, measured models as points."""
    drawings = []
    for row, metric in TABLE_13_METRICS.items():
        lines = {"MAE, published": row, "supervised, published": f"supervised, {row}"}
        curves = {
            label: [Curve({size: _cell(title, model) for model, size in MODELS.items()})]
            for label, title in lines.items()
        }
        for label, record in records.items():
            if metric in record.metrics and "parameters" in record.run_card:
                size = record.run_card["parameters"] / 1e6
                curves[label] = [Curve({size: record.metrics[metric]})]
        styles = {label: index for index, label in enumerate(curves)}
        unit = "mCE, % (lower is better)" if row == "IN-Corruption" else "top-1 accuracy, %"
        drawings.append(draw_curves(curves, styles, row, "parameters, millions", unit))
    return drawings


def _cell(row: str, column: str) -> float:
    value = shipped_tables()["Table 13"].cell(row, column).published
    assert value is not None, "Table 13 has these models in every row"
    return value


def _page(
    sets: list[Markup], drawings: list[Markup], notes: list[str], table_13: list[Markup]
) -> str:
    parts = [
        ("Every set, in percent", [CALIBRATION], sets),
        ("Accuracy against severity", notes, drawings),
        ("MAE against supervised, Table 13", [shipped_tables()["Table 13"].about], table_13),
    ]
    body = Markup("").join(
        Markup("<h1>{}</h1>{}<div>{}</div>").format(
            heading,
            Markup("").join(Markup("<p>{}</p>").format(line) for line in lines),
            Markup("").join(Markup("<figure>{}</figure>").format(d) for d in figures),
        )
        for heading, lines, figures in parts
        if figures
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Robustness</title>'
        "<style>body{font:16px sans-serif;margin:2em;color-scheme:light dark}"
        "div{display:flex;flex-wrap:wrap}figure{margin:.5em}"
        "td,th{padding:.1em .6em;text-align:right}td:nth-child(-n+2){text-align:left}</style>"
        f"{body}</html>\n"
    )
