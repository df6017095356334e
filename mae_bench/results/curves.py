"""Loss and validation curves from the scalars that MMEngine writes, drawn as SVG."""

import hashlib
import io
import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..run_folder import SCALARS_PATTERN
from ..text import printable

# Wong, "Points of view: Color blindness", Nature Methods 8 (2011): blue, orange, green, purple;
# they stand out on white and on black. Line styles and markers tell them apart without colour.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7")
LINE_STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D")
# stands for the colour of the surrounding text, so that a drawing follows light and dark
TEXT_COLOUR = "#012345"


@dataclass
class Curve:
    """Points (x, y) in order of x."""

    points: dict[float, float] = field(default_factory=dict)

    def scaled(self, factor: float) -> "Curve":
        """The curve with every y times `factor`."""
        return Curve({x: y * factor for x, y in self.points.items()})

    def xy(self) -> tuple[list[float], list[float]]:
        """Coordinates for plotting."""
        ordered = sorted(self.points.items())
        return [x for x, _ in ordered], [y for _, y in ordered]


@dataclass
class Scalars:
    """What one run has logged: training loss by iteration, validation metrics by `val_unit`.

    `problems` names what of it is damaged.
    """

    loss: Curve = field(default_factory=Curve)
    metrics: dict[str, Curve] = field(default_factory=dict)
    val_unit: str = "iteration"
    problems: list[str] = field(default_factory=list)


def read_scalars(job_dir: str | Path) -> Scalars:
    """Scalars of a run from all its starts: where a resumed run repeats a step, the later counts.

    A last line that was cut off by an interruption is left out, and a loss that is no number.
    """
    scalars = Scalars()
    for file in sorted(Path(job_dir).glob(SCALARS_PATTERN)):
        try:
            lines = file.read_bytes().splitlines()
        except OSError as error:
            scalars.problems.append(f"{file}: left out, it cannot be read ({error.strerror})")
            continue
        damaged = [n for n, line in enumerate(lines, 1) if not _take_line(scalars, line)]
        if damaged and damaged != [len(lines)]:
            scalars.problems.append(f"{file}: line {damaged[0]} is damaged and left out")
    return scalars


def _take_line(scalars: Scalars, line: bytes) -> bool:
    """Add what MMEngine has logged in one line; False where it is damaged."""
    try:
        entry = json.loads(line.decode())
    except (ValueError, RecursionError):
        return False
    if not isinstance(entry, dict):
        return False
    numbers = {
        key: float(value)
        for key, value in entry.items()
        if isinstance(value, (int, float)) and abs(value) <= sys.float_info.max
    }
    step = numbers.pop("step", None)
    if step is None:
        return "step" not in entry  # MMEngine logs some lines without one
    if "loss" in entry:
        # MMEngine counts validations in epochs exactly where it logs epochs
        scalars.val_unit = "epoch" if "epoch" in entry else "iteration"
        if "loss" in numbers:
            scalars.loss.points[step] = numbers["loss"]
        return True
    for key, value in numbers.items():
        scalars.metrics.setdefault(key, Curve()).points[step] = value
    return True


def draw_curves(
    curves: Mapping[str, Sequence[Curve]],
    styles: Mapping[str, int],
    title: str,
    x_label: str,
    y_label: str,
) -> Markup:
    """Inline SVG of curves on the same axes.

    Args:
        curves: label -> one curve per seed; all seeds of a label look the same.
        styles: label -> index of its colour and line style, the same in every drawing.
        title: heading of the drawing and, with the labels, its text for screen readers.
    """
    coloured = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    # text stays text, and ids are the same in every run but differ between drawings of a page
    salt = hashlib.sha256(repr((title, curves)).encode()).hexdigest()
    options: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": salt, "font.size": 9}
    options |= dict.fromkeys(coloured, TEXT_COLOUR)
    options["text.parse_math"] = False  # a label with dollar signs is a label
    title, y_label = printable(title), printable(y_label)
    with rc_context(options):
        figure = Figure(figsize=(4.2, 2.6), layout="constrained")
        axes = figure.add_subplot()
        for label, runs in curves.items():
            style = styles[label]
            points = [curve.xy() for curve in runs]
            few = all(len(xs) < 20 for xs, _ in points)
            # one line with gaps: a line for each of thousands of runs takes seconds to draw
            axes.plot(
                [x for xs, _ in points for x in (*xs, math.nan)],
                [y for _, ys in points for y in (*ys, math.nan)],
                color=COLOURS[style % len(COLOURS)],
                linestyle=LINE_STYLES[(style + style // len(COLOURS)) % len(LINE_STYLES)],
                marker=MARKERS[style % len(MARKERS)] if few else None,
                markersize=4,
                linewidth=1.4,
                label=printable(label),
            )
        axes.set(title=title, xlabel=x_label, ylabel=y_label)
        whole = all(
            float(x).is_integer() for runs in curves.values() for c in runs for x in c.points
        )
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=whole))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
        out = io.StringIO()
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=no_metadata)
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :].replace(TEXT_COLOUR, "currentColor")
    # not needed inside HTML, and so the page holds no address at all
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg)
    # ids of groups repeat from drawing to drawing, and nothing refers to them
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    text = Markup.escape(printable(f"{title}: {y_label} by {x_label}, {', '.join(curves)}"))
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{text}"', 1))
