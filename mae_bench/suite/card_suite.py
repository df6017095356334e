"""The suite of a card: a table of frozen measures with a row for each checkpoint so far."""

import copy
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..checkpoint.metadata import Unseen
from ..checkpoint.names import visible_architecture, visible_options
from ..checkpoint.reader import Checkpoint
from ..config.load import load_config
from ..config.locate import find_config
from ..results.table import RANDOM, folder_name
from ..results.table_file import Suite, load_suite, read_suite
from ..run_folder import SUITE_NAME
from .card_data import CardData, fit_to_own, overrides_of
from .cost import costs
from .job import Job
from .rows import measuring
from .state import State

MEASURES = "test_cfg.measures"


def row_of(checkpoint: Checkpoint, file: str, data: CardData) -> dict[str, Any]:
    """A row of the table: the checkpoint as a start, with the recipe's model made the file's.

    Args:
        checkpoint: read.
        file: as it is named.
        data: what it is measured on.

    Raises:
        ValueError: no ViT, or one whose architecture does not show.
    """
    tensors = checkpoint.imported.tensors
    channels = visible_architecture(tensors).get("in_channels", 3)
    unseen = Unseen(mean=[0.0] * channels, std=[1.0] * channels)
    model = checkpoint.describe(unseen).architecture
    row: dict[str, Any] = {"start": {"checkpoint": file}}
    options: dict[str, Any] = {**visible_options(tensors)}
    arch, patch_size = model["arch"], model["patch_size"]
    if isinstance(arch, str) and data.sizes.get(arch) == patch_size:
        row["vars"] = {"size": arch}
    else:
        options |= {"arch": arch, "patch_size": patch_size}
    if "cls_token" not in tensors:
        options["class_token"] = False
    if "cls_token" not in tensors or "fc_norm.weight" in tensors:
        options["output"] = "mean"  # the norm of a fine-tuned MAE is behind the mean
    usual = load_config(find_config(data.recipe)).model.backbone
    options = {key: value for key, value in options.items() if usual.get(key) != value}
    if options:
        row["overrides"] = {f"model.backbone.{key}": value for key, value in options.items()}
    return row


def card_suite(data: CardData, work_dir: Path, name: str, row: Mapping[str, Any]) -> Suite:
    """The table of the data with the rows that the work dir has already, and a new one.

    Raises:
        ValueError: the name of random weights, a damaged file in the work dir, or too few
            images of one's own.
        FileNotFoundError: as of ``find_own_data``.
    """
    base = load_suite(find_config(data.suite))
    described = copy.deepcopy(dict(base.data[0]))
    if name == RANDOM:
        raise ValueError(f"{name}: is what random weights are called; give NAME=FILE")
    before = work_dir / SUITE_NAME
    if before.is_file():
        described["rows"] = {**read_suite(before).data[0]["rows"], **described["rows"]}
    described["rows"][name] = dict(row)
    for task in described["tasks"].values():
        own = overrides_of(data, task.get("test"))
        task["overrides"] = {**(task.get("overrides") or {}), **own}
    if data.usual is None:
        _fit_to_own(described, data)
    return base.with_tables([described])


def _fit_to_own(described: dict[str, Any], data: CardData) -> None:
    """Leave to the table of own images what so many images can be measured by."""
    counts = data.class_counts
    for task in described["tasks"].values():
        measures = task["overrides"][MEASURES]
        task["overrides"][MEASURES] = [fit_to_own(measure, counts) for measure in measures]
    for title, column in list(described["columns"].items()):
        images = re.search(r"top1_n(\d+)$", column["metric"])
        if images and int(images[1]) > min(counts.values()):
            del described["columns"][title]


def measured_here(suite: Suite, name: str) -> Suite:
    """The suite with nothing to run but one row, and the baseline where the table has one."""
    (table,) = suite.tables
    starts = {folder_name(name), *([RANDOM] if table.baseline == RANDOM else [])}
    return Suite(suite.file, suite.name, (measuring(table, starts),), suite.data)


def without_sets(state: State, suite: Suite, data: CardData) -> dict[str, str]:
    """Jobs of robustness sets of which none is there, and which; `state` keeps the others."""
    from ..datasets.robustness_sets import FOLDERS

    (table,) = suite.tables
    out = {}
    for job in state.open():
        metrics = [table.cell(claim["row"], claim["column"]).metric for claim in job.cells]
        sets = [metric.partition("/")[0] for metric in metrics if metric]
        folders = [FOLDERS[one] for one in sets if one in FOLDERS]
        if folders and not any((data.root / folder).is_dir() for folder in folders):
            out[job.name] = f"none of {', '.join(folders)} is in {data.root}"
    state.jobs = [job for job in state.jobs if job.name not in out]
    return out


def within(budget: float, state: State) -> dict[str, str]:
    """Jobs that a budget in seconds does not reach to, and why; `state` keeps the others.

    A job whose cost nobody knows is started while there is time.
    """
    known, left, out = costs(state), budget * state.slots, dict[str, str]()
    for job in state.open():
        seconds = known[job.name].seconds
        needed = next((need for need in job.needs if need in out), None)
        if needed:
            out[job.name] = f"needs {needed}"
        elif seconds is not None and seconds > left:
            out[job.name] = f"takes about {seconds:,.0f} s, and {max(left, 0):,.0f} s are left"
        else:
            left -= seconds or 0.0
    state.jobs = [job for job in state.jobs if job.name not in out]
    return out


def command_of(job: Job) -> str:
    """The command of a job as a person types it."""
    return " ".join(map(_quoted, ["python", *job.command]))


def _quoted(word: str) -> str:
    """A word for a shell; double quotes around single ones, which shlex would cut in pieces."""
    plain = "'" in word and not set('"$`\\!') & set(word)
    return f'"{word}"' if plain else shlex.quote(word)
