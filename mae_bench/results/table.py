"""A table: what was published, and for each cell how it is measured.

A table is one YAML file in ``configs/suite/`` (its form: docs/suites.md, its reader:
``table_file.py``). It is the suite that measures it as well: a cell names its task and its start,
and `mae_bench.suite.plan` makes a job of each pair. So a cell is stated once, and goes from here
into job and record and back into the drawn table; nothing infers it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .quantity import Quantity

NOT_PUBLISHED = "not published"
RANDOM = "random"  # label of the start without a checkpoint
PRETRAIN = "pretrain"  # task of a cell that measures the pre-training of its start

# dim, depth and patch size; MAE's models_mae.py and models_vit.py
ARCHITECTURES = {
    "ViT-B/16": (768, 12, 16),
    "ViT-L/16": (1024, 24, 16),
    "ViT-H/14": (1280, 32, 14),
    "ViT-H/16": (1280, 32, 16),
}


@dataclass(frozen=True)
class Resources:
    """What a job that trains is given. The batch of its recipe is held whatever this is.

    Args:
        gpus: processes of the job on a node, with a GPU each where there are GPUs; None: one.
        nodes: of a Slurm job; None: one.
        amp: ``bfloat16`` or ``float16``; None: float32.
        cpus_per_gpu: cores for each process, which a Slurm job asks for; None: the cluster decides.
    """

    gpus: int | None = None
    nodes: int | None = None
    amp: str | None = None
    cpus_per_gpu: int | None = None

    @property
    def processes(self) -> int:
        """Processes of the job on all of its nodes."""
        return (self.gpus or 1) * (self.nodes or 1)


@dataclass(frozen=True)
class Start:
    """What backbones start from: a checkpoint, a pre-training, or neither (random weights).

    Args:
        label: name of the start; folder of its jobs.
        checkpoint: file, glob-free, or name of a known checkpoint (``mae:vit_base``).
        pretrain: config that makes the checkpoint.
        overrides: of `pretrain`, dotted key -> value.
        epoch: kept epoch of `pretrain` that is taken; None: its end.
        minutes: rough cost of `pretrain` on one core.
        resources: of `pretrain`.
        method, data, epochs: what the published start is, compared with what a record says. None
            where that was not published.
    """

    label: str
    checkpoint: str | None = None
    pretrain: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    epoch: int | None = None
    minutes: float | None = None
    resources: Resources = Resources()
    method: str | None = None
    data: str | None = None
    epochs: int | None = None


@dataclass(frozen=True)
class Search:
    """A search by Optuna over settings of a task.

    Args:
        space: dotted key -> list of values, or ``low``, ``high`` and ``log``.
        trials, gpu_hours: the budget, for each start; the first that is used up counts.
        sampler: one of `SAMPLERS`.
        seed: of the sampler.
        rungs: steps of the schedule (of a validation) at which all but the best trials stop.
        reduction_factor: one of so many goes on.
        runners: jobs that work on the search.
        name, select, direction: job that the best trial becomes, metric, and ``"max"`` or
            ``"min"``.
    """

    space: Mapping[str, Any]
    trials: int | None = None
    gpu_hours: float | None = None
    sampler: str = "tpe"
    seed: int = 0
    rungs: Sequence[int] = ()
    reduction_factor: int = 3
    runners: int = 1
    name: str = ""
    select: str = ""
    direction: str = "max"


SAMPLERS = ("tpe", "gp", "random")


@dataclass(frozen=True)
class Task:
    """One recipe: a config that trains, or one that tests what another task trained.

    Args:
        label: name of the task; folder of its jobs.
        config: recipe.
        overrides: of it, dotted key -> value.
        test: task whose model is tested; ``"start"``: the start's own checkpoint.
        after: task of the same start that is done first; nothing of it is taken but what it keeps
            for all runs, such as features.
        grid, select: search over values (dotted key -> list); best by this metric.
        search: in place of a grid.
        minutes: rough cost on one core.
        resources: where it trains.
    """

    label: str
    config: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    test: str | None = None
    after: str | None = None
    grid: Mapping[str, list[Any]] = field(default_factory=dict)
    select: str | None = None
    search: Search | None = None
    minutes: float | None = None
    resources: Resources = Resources()


@dataclass(frozen=True)
class Facts:
    """What was published of how a number was made; what was not is None and is not compared.

    Args:
        epochs, batch: of the training that is evaluated; its effective batch.
        train, evaluated: images, several numbers where readers count differently.
        classes: of the data that are evaluated.
        model: key of `ARCHITECTURES`.
        image_size: side of the images the model sees (pixels).
        device: what a duration was measured on.
    """

    epochs: float | None = None
    batch: int | None = None
    train: tuple[int, ...] = ()
    evaluated: tuple[int, ...] = ()
    classes: int | None = None
    model: str | None = None
    image_size: int | None = None
    device: str | None = None


Place = tuple[str, str]  # row and column


@dataclass(frozen=True)
class Cell:
    """One number of a table, published or to be measured, and how it is made.

    Args:
        table, row, column: titles.
        quantity: what it measures.
        published: the printed value; None where there is none.
        note: what a reader must know about `published`, or why there is none.
        task, start: labels; None: nothing here measures the cell.
        overrides: of the task's config, for this cell alone.
        metric: key of the record's metrics, or ``duration_seconds``, or a number of its run card.
        scale: the cell is metric x scale.
        relative_to: row of the same column that the value is divided by.
        inverse: divide that row's value by this one's.
        minus: the value is the difference of these two cells.
        differs: how the recipe here departs from the published one, a sentence each.
        facts: what was published of the recipe.
        unknown: what was not.
    """

    table: str
    row: str
    column: str
    quantity: Quantity
    published: float | None = None
    note: str = ""
    task: str | None = None
    start: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    metric: str | None = None
    scale: float = 1.0
    relative_to: str | None = None
    inverse: bool = False
    minus: tuple[Place, Place] | None = None
    differs: tuple[str, ...] = ()
    facts: Facts = field(default_factory=Facts)
    unknown: tuple[str, ...] = ()

    @property
    def place(self) -> tuple[str, str, str]:
        """Table, row and column."""
        return (self.table, self.row, self.column)


@dataclass(frozen=True)
class Table:
    """A table and all that is needed to measure it.

    Args:
        file: where it was read.
        name: as the paper calls it (``"Table 1a"``), or what the table is.
        about: what it shows: model, data, setting.
        source: where it is printed; empty for a table of nothing published.
        heading: heading of the row titles.
        rows, columns: titles in order.
        cells: by row and column.
        text_columns: heading -> {row: text}, columns that hold no numbers.
        starts, tasks: by label.
        seeds: one run of each job for each.
        data: embedded data set that is built where missing.
        baseline: row that the others are compared with in rows of differences.
        unknown: what was not published of the whole table.
        sources: where recipes and facts come from.
    """

    file: str
    name: str
    about: str
    source: str
    heading: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: Mapping[Place, Cell]
    text_columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    starts: Mapping[str, Start] = field(default_factory=dict)
    tasks: Mapping[str, Task] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    data: str | None = None
    baseline: str | None = None
    unknown: tuple[str, ...] = ()
    sources: str = ""

    def cell(self, row: str, column: str) -> Cell:
        """The cell at `row` and `column`.

        Raises:
            ValueError: the table has no such row or column; the message lists what there is.
        """
        for kind, name, known in (("row", row, self.rows), ("column", column, self.columns)):
            if name not in known:
                titles = ", ".join(f"'{title}'" for title in known)
                raise ValueError(f"{self.name}: no {kind} '{name}'; it has {titles}")
        return self.cells[row, column]

    @property
    def published(self) -> bool:
        """Whether any number of it was published."""
        return any(cell.published is not None for cell in self.cells.values())


def folder_name(label: str) -> str:
    """`label` as the name of a folder: letters, digits and ``_.+=,-``."""
    return re.sub(r"[^A-Za-z0-9_.+=,-]+", "_", label).strip("_") or "_"
