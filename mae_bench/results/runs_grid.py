"""Runs that are in no table, as tables of their own: one for each recipe, seeds joined."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..config.neutral_keys import is_neutral
from .facts import COCO, is_defined
from .grid import PLUS_MINUS, Grid, GridCell, GridRow
from .measured import Values
from .quantity import Quantity
from .record import Record
from .records import SEED_KEY, ancestors, setting
from .table_grid import values_text

MOST_METRICS = 8  # of a table; those of single corruptions and classes come last
OF_SIZES = re.compile(r"_mAP_[sml]$|_AR(@\d+|_[sml]@\d+)$")  # COCO's lesser figures, left out
ABOUT = (
    f"Runs by hand: mean over seeds {PLUS_MINUS} sample standard deviation. A line is a recipe "
    "with its overrides and what it started from."
)


def runs_grids(runs: Iterable[str], records: Mapping[str, Record]) -> list[Grid]:
    """Tables of `runs`, by config.

    Args:
        runs: names of those to show.
        records: run name -> record; those they come from are looked up here.
    """
    by_config: dict[str, dict[str, list[str]]] = {}
    for run in runs:
        settings = by_config.setdefault(records[run].config_file, {})
        settings.setdefault(setting(run, records), []).append(run)
    return [_grid(config, list(of.values()), records) for config, of in by_config.items()]


def _grid(config: str, settings: list[list[str]], records: Mapping[str, Record]) -> Grid:
    metrics: dict[str, None] = {}
    for names in settings:
        for name in names:
            metrics |= dict.fromkeys(records[name].metrics)
    chosen = [metric for metric in metrics if not OF_SIZES.search(metric)]
    shown = sorted(chosen, key=lambda metric: metric.count("/"))[:MOST_METRICS]
    everywhere = _everywhere(settings, records)
    labels = _labels(settings, records, everywhere)
    rows = []
    for label, names in zip(labels, settings, strict=True):
        cells = []
        for metric in shown:
            scale = 100 if metric.startswith(COCO) else 1  # as in all tables
            by_seed = {
                records[name].seed: scale * records[name].metrics[metric]
                for name in names
                if is_defined(metric, records[name].metrics.get(metric))
            }
            unit = "nat" if "loss" in metric else "%"
            text = values_text(Values(by_seed), Quantity(metric, unit, None))
            cells.append(GridCell(text, runs=tuple((f"seed {records[n].seed}", n) for n in names)))
        seeds = {records[name].seed for name in names}
        rows.append(GridRow(label, [*cells, GridCell(str(len(seeds)))]))
    about = f"{ABOUT} All with {', '.join(everywhere)}." if everywhere else ABOUT
    return Grid(Path(config).stem, about, ["start", *_headings(shown), "seeds"], rows)


def _headings(metrics: list[str]) -> list[str]:
    """Metrics without what is before the slash, where they still differ: ``top1``."""
    short = [metric.rpartition("/")[2] for metric in metrics]
    return short if len(set(short)) == len(short) else metrics


def _overrides(record: Record) -> list[str]:
    return [f"{k}={v}" for k, v in record.overrides.items() if k != SEED_KEY and not is_neutral(k)]


def _everywhere(settings: list[list[str]], records: Mapping[str, Record]) -> list[str]:
    """Overrides that all of several settings have."""
    found = [_overrides(records[names[0]]) for names in settings]
    return [text for text in found[0] if len(found) > 1 and all(text in own for own in found)]


def _labels(
    settings: list[list[str]], records: Mapping[str, Record], left_out: list[str]
) -> list[str]:
    """What each setting started from and its overrides; the run's name too where those agree."""
    found = []
    for names in settings:
        record = records[names[0]]
        start = "random"
        if record.checkpoint is not None:
            made_by = ancestors(names[0], records)
            start = made_by[0] if made_by else str(record.checkpoint["file"])
        own = [text for text in _overrides(record) if text not in left_out]
        found.append(", ".join([start, *own]))
    return [
        label if found.count(label) == 1 else f"{label} ({names[0]})"
        for label, names in zip(found, settings, strict=True)
    ]
