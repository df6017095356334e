"""From tables to jobs: one folder, one command and one record each.

A cell names its task and its start; cells that need the same run share a job, whatever their tables
are, and the job's record claims all of them.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from ..config.locate import find_config
from ..config.overrides import as_options, parse_options
from ..results.record import config_sha256
from ..results.records import SEED_KEY
from ..results.table import PRETRAIN, Cell, Resources, Search, Start, Table, Task, folder_name
from ..results.table_file import Suite
from ..run_folder import CHECKPOINT_NAME, KEPT_CHECKPOINT_NAME, RECORD_NAME
from .job import Job, file_sha256
from .search import grid_points, settings_label

# The commands of the current folder, which in a checkout are the checkout's own; or the installed.
TRAIN, TEST = "tools/train.py", "tools/test.py"
CHOOSE = "mae_bench.suite.choose"
KEPT_EPOCHS = "kept_epochs"  # argument of ExportCheckpoint
# Top-level keys of a config that no test reads.
OF_TRAINING = (
    *("auto_scale_lr", "optim_wrapper", "param_scheduler", "total_batch_size"),
    *("train_cfg", "train_dataloader"),
)


@dataclass
class Plan:
    """Jobs, each after those it needs, and what is missing on disk.

    `missing` maps a file or a config to the cells that want it; `absent` are the checkpoints among
    them, as they were named.
    """

    jobs: list[Job]
    missing: dict[str, list[str]] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)


def plan_jobs(
    suite: Suite,
    work_dir: str | Path,
    only: str | None = None,
    resources: Mapping[str, Any] | None = None,
) -> Plan:
    """Make the jobs of a suite. Reads configs, changes nothing.

    Args:
        suite: from ``load_suite``.
        work_dir: where jobs have their folders.
        only: parts of titles, divided by commas; a cell counts where each part is, as whole words,
            in its table, row or column.
        resources: fields of ``Resources`` that take the place of the suite's.

    Raises:
        ValueError: a config does not load, has no key that an override names, or no cell is left.
    """
    from ..config.read_file import keep_files  # imports MMEngine

    with keep_files():
        return _Planner(suite, Path(work_dir), resources or {}).plan(only)


def chosen_cells(table: Table, only: str | None) -> list[Cell]:
    """Cells of a table that are measured, and that `only` names (see :func:`plan_jobs`)."""
    parts = [part.strip() for part in only.split(",")] if only else []
    return [
        cell
        for cell in table.cells.values()
        if cell.task is not None and all(_named(part, cell) for part in parts)
    ]


def _named(part: str, cell: Cell) -> bool:
    words = f" {part} ".casefold()
    titles = (cell.table, cell.row, cell.column, cell.task or "", cell.start or "")
    return any(words in f" {title} ".casefold().replace(",", " ,") for title in titles)


class _Planner:
    def __init__(self, suite: Suite, work_dir: Path, resources: Mapping[str, Any]) -> None:
        self.suite = suite
        self.work_dir = work_dir
        self.resources = resources
        self.jobs: dict[str, Job] = {}
        self.names: dict[str, str] = {}  # of jobs, by signature
        self.missing: dict[str, list[str]] = {}
        self.files: dict[str, Path | None] = {}  # of checkpoints, by the names they are given
        self.absent: list[str] = []  # names of those that are not here

    def plan(self, only: str | None) -> Plan:
        wanted = 0
        for table in self.suite.tables:
            cells = chosen_cells(table, only)
            kept = _kept_epochs(table, cells)
            wanted += len(cells)
            for seed in table.seeds:
                for cell in cells:
                    self.add_cell(_Place(table, cell, seed, kept))
        if not wanted:
            raise ValueError(f"{self.suite.file}: no cell to measure is named by --only {only!r}")
        return Plan(self.ordered(), self.missing, list(dict.fromkeys(self.absent)))

    def ordered(self) -> list[Job]:
        """All of the first seed, then all of the second, but a job's needs always before it."""
        found: dict[str, Job] = {}

        def append(job: Job) -> None:
            for need in job.needs:
                if need not in found:
                    append(self.jobs[need])
            found[job.name] = job

        seeds = list(dict.fromkeys(seed for table in self.suite.tables for seed in table.seeds))
        for job in sorted(self.jobs.values(), key=lambda job: seeds.index(job.seed)):
            append(job)
        return list(found.values())

    def add_cell(self, place: "_Place") -> None:
        cell = place.cell
        job = self.pretraining(place) if cell.task == PRETRAIN else self.task_job(place)
        if job is not None:
            claim = {"table": cell.table, "row": cell.row, "column": cell.column}
            if claim not in job.cells:
                job.cells.append(claim)

    def pretraining(self, place: "_Place") -> Job | None:
        """The job that makes the start of a cell; None where it is a file or random weights."""
        start = place.start
        if start.pretrain is None:
            return None
        overrides = dict(start.overrides)
        kept = place.kept.get(_maker(start), [])
        if kept:
            overrides[self.kept_key(start.pretrain)] = kept
        group = next(
            one.label for one in place.table.starts.values() if _maker(one) == _maker(start)
        )
        options = as_options(overrides)
        own = (start.minutes, start.resources)
        job = self.describe(_Run(place, group, PRETRAIN, start.pretrain, options, *own))
        return self.jobs.setdefault(job.name, job)

    def kept_key(self, config: str) -> str:
        """Key of the epochs that a pre-training keeps: its hook has no fixed place in configs."""
        from ..config.load import load_config  # imports torch

        hooks = load_config(find_config(config)).get("custom_hooks") or []
        for index, hook in enumerate(hooks):
            kind = hook.get("type")
            if str(getattr(kind, "__name__", kind)).endswith("ExportCheckpoint"):
                return f"custom_hooks.{index}.{KEPT_EPOCHS}"
        raise ValueError(f"{config}: has no hook ExportCheckpoint to keep epochs with")

    def task_job(self, place: "_Place") -> Job:
        """The job of a cell's task; of a task with a grid the one that chooses among its points."""
        task = place.table.tasks[place.cell.task or ""]
        if task.search is not None:
            return self.searched_job(place, task, task.search)
        if not task.grid:
            return self.point_jobs(place, task)[0]
        jobs = [
            job
            for seed in place.table.seeds
            for job in self.point_jobs(replace(place, seed=seed), task)
        ]
        return self.choice(place, task, jobs)

    def point_jobs(self, place: "_Place", task: Task) -> list[Job]:
        """The jobs of a task for one seed: one for each point of its grid."""
        return [self.jobs.setdefault(job.name, job) for job in self.points(place, task)]

    def points(self, place: "_Place", task: Task, besides: Sequence[Any] = ()) -> list[Job]:
        """The same jobs, not added; `besides`: what else decides their results."""
        needs, checkpoint = self.started_from(place, task)
        own = as_options(place.cell.overrides)
        read = own
        if task.test not in (None, "start"):  # the training that is tested has the others
            read = {key: text for key, text in own.items() if key.split(".")[0] not in OF_TRAINING}
        found = []
        for point in grid_points(task):
            label = settings_label(task.label, {**own, **point})
            options = {**as_options(task.overrides), **read, **point}
            cost = (task.minutes, task.resources)
            run = _Run(place, place.cell.start or "", label, task.config, options, *cost)
            test = task.test is not None
            job = self.describe(run, needs, checkpoint, test, besides)
            found.append(replace(job, needs=(*job.needs, *self.before(place, task))))
        return found

    def before(self, place: "_Place", task: Task) -> tuple[str, ...]:
        """The job that a task comes after, if it comes after one."""
        if task.after is None:
            return ()
        cell = replace(place.cell, task=task.after)  # with the cell's overrides, as where it tests
        return (self.task_job(replace(place, cell=cell)).name,)

    def started_from(self, place: "_Place", task: Task) -> tuple[Job | None, Path | None]:
        """The job that makes the checkpoint a task starts from or tests, and the file."""
        if task.test is not None and task.test != "start":
            trained = replace(place.cell, task=task.test)  # with the cell's overrides, as the test
            tested = self.task_job(replace(place, cell=trained))
            return tested, tested.folder / CHECKPOINT_NAME
        made = self.pretraining(place)
        if made is not None:
            epoch = place.start.epoch
            name = CHECKPOINT_NAME if epoch is None else KEPT_CHECKPOINT_NAME.format(epoch)
            return made, made.folder / name
        return None, self.file(place) if place.start.checkpoint else None

    def file(self, place: "_Place") -> Path:
        """The checkpoint file of a start; one that is not there is noted as missing."""
        named = str(place.start.checkpoint)
        if named not in self.files:
            self.files[named] = Path(named) if Path(named).is_file() else _find(named)
        path = self.files[named]
        if path is None:
            from ..checkpoint.known import describe_missing

            self.note_missing(describe_missing(named), place)
            self.absent.append(named)
        return path or Path(named)

    def note_missing(self, what: str, place: "_Place") -> None:
        cells = self.missing.setdefault(what, [])
        text = f"{place.cell.table}: {place.cell.row}, {place.cell.column}"
        if text not in cells:
            cells.append(text)

    def describe(
        self,
        run: "_Run",
        needs: Job | None = None,
        checkpoint: Path | None = None,
        test: bool = False,
        besides: Sequence[Any] = (),
    ) -> Job:
        seed = run.place.seed
        options = {SEED_KEY: str(seed), **run.options}
        config = str(find_config(run.config))
        if not Path(config).is_file():
            self.note_missing(config, run.place)
        config_sha = self.config_hash(config, tuple(options.items()))
        # what the checkpoint is: the job that makes it, or the bytes of a file given by the user
        origin: Any = None
        if needs is not None:
            origin = [needs.signature, checkpoint.name if checkpoint else None]
        elif checkpoint is not None:
            origin = file_sha256(checkpoint) if checkpoint.is_file() else str(checkpoint)
        resources = Resources() if test else replace(run.resources, **self.resources)
        # no paths in here, so that a work dir can be moved, and no number of GPUs
        decides = [TEST if test else TRAIN, config_sha, seed, origin, *besides]
        signature = _hash([*decides, resources.amp] if resources.amp else decides)
        name = self.name(f"seed{seed}/{run.group}/{run.task}", signature, run.place)
        folder = self.work_dir / name
        # by the name that the suite gives it, which says more than a path
        named = str(checkpoint if needs is not None else run.place.start.checkpoint)
        if test:
            # Without a checkpoint: random weights, or those that a model of timm has itself.
            head = [*command_words(TEST), config, *([named] if checkpoint else [])]
            head += ["--out", str(folder / RECORD_NAME)]
        else:
            head = [*command_words(TRAIN), config, "--resume"]
        command = [*head, "--work-dir", str(folder)]
        if checkpoint and not test:
            command += ["--checkpoint", named]
        if resources.amp:
            command += ["--amp", resources.amp]
        command += ["--cfg-options", *(f"{key}={text}" for key, text in options.items())]
        return Job(
            name=name,
            task=run.task,
            initialisation=run.group,
            seed=seed,
            folder=folder,
            command=tuple(command),
            config_sha256=config_sha,
            checkpoint=checkpoint,
            needs=(needs.name,) if needs else (),
            minutes=run.minutes,
            signature=signature,
            resources=resources,
        )

    def name(self, wanted: str, signature: str, place: "_Place") -> str:
        """The name of a job; where another one has it already, with the table or the column."""
        if signature not in self.names:
            column, table = folder_name(place.cell.column), folder_name(place.cell.table)
            names = [f"{wanted}{suffix}" for suffix in ("", f",{column}", f",{table}")]
            free = [name for name in names if name not in self.jobs]
            self.names[signature] = free[0] if free else f"{wanted},{signature[:8]}"
        return self.names[signature]

    def choice(self, place: "_Place", task: Task, among: list[Job]) -> Job:
        """The job that takes the best point's run of this seed for the task's own.

        The best is best on average over the seeds, so all seeds have the same hyper-parameters.
        """
        direction = _direction(place.cell)
        decides = [task.select, direction, [job.signature for job in among], place.seed]
        signature = _hash([CHOOSE, *decides])
        label = settings_label(task.label, as_options(place.cell.overrides))
        name = self.name(f"seed{place.seed}/{place.cell.start}/{label}", signature, place)
        if name not in self.jobs:
            command = ["-m", CHOOSE, str(self.work_dir), name]
            command += ["--metric", str(task.select), "--best", direction, "--among"]
            self.jobs[name] = Job(
                name=name,
                task=label,
                initialisation=place.cell.start or "",
                seed=place.seed,
                folder=self.work_dir / name,
                command=(*command, *(job.name for job in among)),
                config_sha256=None,
                checkpoint=None,
                needs=tuple(job.name for job in among),
                minutes=0.01,
                signature=signature,
            )
        return self.jobs[name]

    def searched_job(self, place: "_Place", task: Task, search: Search) -> Job:
        """The job of a task whose settings are searched with the first seed and taken by all."""
        first = place.table.seeds[0]
        search = replace(search, select=str(task.select), direction=_direction(place.cell))
        besides = [dataclasses.asdict(search)]
        (training,) = self.points(replace(place, seed=first), task, besides)
        if training.name not in self.jobs:
            self.search(training, replace(search, name=training.name))
        chosen = self.jobs[training.name]
        if place.seed == first:
            return chosen
        (training,) = self.points(place, task, [*besides, chosen.signature])
        following = replace(
            training,
            config_sha256=None,
            needs=(*training.needs, chosen.name),
            settings_of=chosen.name,
        )
        return self.jobs.setdefault(following.name, following)

    def search(self, training: Job, search: Search) -> None:
        """Add the runners of a search, and the job that takes the best trial's run for its own."""
        runners = []
        for number in range(search.runners):
            name = f"{training.name},search{number}"
            command = list(training.command)
            command[command.index("--work-dir") + 1] = str(self.work_dir / name)
            minutes = training.minutes
            if minutes is not None and search.trials:
                minutes *= search.trials / search.runners
            self.jobs[name] = replace(
                training,
                name=name,
                task=f"search{number} of {training.task}",
                folder=self.work_dir / name,
                command=tuple(command),
                minutes=minutes,
                cells=[],
                search=search,
            )
            runners.append(name)
        command = ["-m", CHOOSE, str(self.work_dir), training.name]
        command += ["--metric", search.select, "--best", search.direction]
        command += ["--study", json.dumps(dataclasses.asdict(search))]
        self.jobs[training.name] = replace(
            training,
            command=tuple(command),
            config_sha256=None,
            checkpoint=None,
            needs=tuple(runners),
            minutes=0.01,
            signature=_hash([CHOOSE, training.signature]),
            cells=[],
            resources=Resources(),
        )

    @cache  # noqa: B019 (a planner lives as long as the call that made it)
    def config_hash(self, config: str, options: tuple[tuple[str, str], ...]) -> str:
        if not Path(config).is_file():
            return f"missing {config}"
        overrides = parse_options(dict(options))
        try:
            if len(overrides) > 1:  # more than the seed: a misspelt key is to be found now
                from ..config.load import load_config  # imports torch

                load_config(config, overrides)
            return config_sha256(config, overrides)
        except Exception as error:  # a config is Python: anything can go wrong in it
            reason = " ".join(str(error).split())
            message = f"{self.suite.file}: config {config} does not load: {reason}"
            raise ValueError(message) from error


@dataclass(frozen=True)
class _Place:
    """A cell of a table for one seed; `kept`: epochs that each pre-training is to keep."""

    table: Table
    cell: Cell
    seed: int
    kept: Mapping[str, list[int]]

    @property
    def start(self) -> Start:
        return self.table.starts[self.cell.start or ""]


@dataclass(frozen=True)
class _Run:
    """What a job runs: `group` and `task` name its folder."""

    place: _Place
    group: str
    task: str
    config: str
    options: dict[str, str]
    minutes: float | None
    resources: Resources


def _direction(cell: Cell) -> str:
    return "min" if cell.quantity.higher_is_better is False else "max"


def _maker(start: Start) -> str:
    """What a pre-training is, whatever epoch of it is taken."""
    return repr((start.pretrain, sorted((k, repr(v)) for k, v in start.overrides.items())))


def _kept_epochs(table: Table, cells: Iterable[Cell]) -> dict[str, list[int]]:
    """Pre-training -> epochs of it that cells start from."""
    found: dict[str, set[int]] = {}
    for cell in cells:
        start = table.starts[cell.start or ""]
        if start.pretrain and start.epoch is not None:
            found.setdefault(_maker(start), set()).add(start.epoch)
    return {maker: sorted(epochs) for maker, epochs in found.items()}


def _find(checkpoint: str) -> Path | None:
    from ..checkpoint.locate_checkpoint import find_here  # imports torch

    return find_here(checkpoint)


def command_words(name: str) -> list[str]:
    """Words after ``python`` that run a command: the checkout's own script, or the package."""
    return [name] if Path(name).is_file() else ["-m", "mae_bench", Path(name).stem]


def _hash(decides: list[Any]) -> str:
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()
