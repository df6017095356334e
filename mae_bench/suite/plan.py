"""From a suite to its jobs: one folder, one command and one record each."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..config.overrides import as_options, parse_options
from ..files import sha256_of, write_json_atomic
from ..results.record import config_sha256, read_record
from ..run_folder import ATTEMPTS_NAME, CHECKPOINT_NAME, JOB_NAME, RECORD_NAME
from .search import Cell, cells_of
from .spec import PRETRAIN, SEED_KEY, Initialisation, Suite, Task

TRAIN = "tools/train.py"
TEST = "tools/test.py"
CHOOSE = "mae_bench.suite.choose"


@dataclass(frozen=True)
class Job:
    """One run of a suite.

    Attributes:
        name: ``seed0/MAE/finetune``; also the folder below the work dir.
        task: label of the record; that of a cell of a search grid says which cell it is.
        command: arguments of the Python interpreter.
        config_sha256: of the config with the seed and the overrides; None for a job that chooses
            among others, whose record is a copy of one of theirs.
        checkpoint: file the job starts from; made by the job in `needs` if there is one.
        needs: names of the jobs that have to be done before.
        minutes: estimated cost on one core; None where the suite does not say.
        signature: SHA-256 over everything that decides the job's result and is known before.
    """

    name: str
    task: str
    initialisation: str
    seed: int
    folder: Path
    command: tuple[str, ...]
    config_sha256: str | None
    checkpoint: Path | None
    needs: tuple[str, ...]
    minutes: float | None
    signature: str

    @property
    def work_dir(self) -> Path:
        """The work dir of the suite, in which jobs have the folders that they are named after."""
        return self.folder.parents[self.name.count("/")]

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON holds them."""
        data = dataclasses.asdict(self)
        checkpoint = self.checkpoint and str(self.checkpoint)
        return {**data, "folder": str(self.folder), "checkpoint": checkpoint}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Job":
        """Inverse of `to_json`."""
        checkpoint = Path(data["checkpoint"]) if data["checkpoint"] else None
        fixed = dict(folder=Path(data["folder"]), checkpoint=checkpoint)
        return cls(**{**data, **{key: tuple(data[key]) for key in ("command", "needs")}, **fixed})

    def description(self) -> dict[str, Any]:
        """What ``job.json`` holds."""
        return {
            "name": self.name,
            "task": self.task,
            "initialisation": self.initialisation,
            "seed": self.seed,
            "command": list(self.command),
            "signature": self.signature,
        }

    def claim(self) -> None:
        """Write ``job.json``: from now on the folder belongs to this job."""
        write_json_atomic(self.description(), self.folder / JOB_NAME)

    def done(self) -> bool:
        """Whether the folder holds this job's record.

        Raises:
            ValueError: the folder holds something else: another job or an older form of this one
                (config, command or checkpoint changed), or files that no suite made.
        """
        if not any(path.name != ATTEMPTS_NAME for path in self.folder.glob("[!.]*")):
            return False
        job_file = self.folder / JOB_NAME
        if not job_file.is_file():
            raise ValueError(f"{self.folder}: holds files of no suite's job; {_OTHER_FOLDER}")
        try:
            signature = json.loads(job_file.read_text(encoding="utf-8"))["signature"]
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{job_file}: unreadable; {_OTHER_FOLDER}") from None
        if signature != self.signature:
            raise ValueError(
                f"{self.folder}: its config, command or checkpoint has changed since it was "
                f"started; {_OTHER_FOLDER}"
            )
        if not (self.folder / RECORD_NAME).is_file():
            return False
        self.check_record()
        return True

    def check_record(self) -> None:
        """Raise ValueError or FileNotFoundError unless the record is there and is this job's."""
        path = self.folder / RECORD_NAME
        record = read_record(path)
        expected = {
            "task": self.task,
            "initialisation": self.initialisation,
            "seed": self.seed,
            "status": "completed",
        }
        if self.config_sha256:
            expected["config_sha256"] = self.config_sha256
        for key, value in expected.items():
            if getattr(record, key) != value:
                raise ValueError(
                    f"{path}: key '{key}' is {getattr(record, key)!r} but the suite wants "
                    f"{value!r}; {_OTHER_FOLDER}"
                )
        if self.checkpoint is None or not self.checkpoint.is_file():
            return  # a checkpoint may be removed to save space once its dependents are done
        used = record.checkpoint and record.checkpoint["sha256"]
        if used != _checkpoint_sha256(self.checkpoint):
            raise ValueError(
                f"{path}: was not made from the {self.checkpoint} that is there now; "
                f"{_OTHER_FOLDER}"
            )


_OTHER_FOLDER = "nothing was overwritten: choose another --work-dir, or remove this folder"


def plan_jobs(suite: Suite, work_dir: str | Path) -> list[Job]:
    """Jobs of `suite`, each after the jobs it needs. Reads the configs, changes nothing.

    Raises:
        ValueError: a config does not load, or has no key that an override names; the message
            names the suite file and the config.
    """
    return _Planner(suite, Path(work_dir)).plan()


class _Planner:
    def __init__(self, suite: Suite, work_dir: Path) -> None:
        self.suite = suite
        self.work_dir = work_dir
        self.jobs: dict[str, Job] = {}

    def plan(self) -> list[Job]:
        # tasks that train come first: a task that tests needs their jobs
        tasks = sorted(self.suite.tasks.items(), key=lambda item: item[1].test is not None)
        for name, source in self.suite.initialisations.items():
            pretrained = {seed: self._pretrain(seed, name, source) for seed in self.suite.seeds}
            for label, task in tasks:
                cells = cells_of(label, task)
                for seed in self.suite.seeds:
                    for cell in cells:
                        self._add_cell(seed, name, cell, task, source, pretrained[seed])
                if task.grid:
                    self._add_choices(name, label, task, cells)
        # all of the first seed, then all of the second, but a job's needs always before it
        ordered: dict[str, Job] = {}
        for job in sorted(self.jobs.values(), key=lambda job: self.suite.seeds.index(job.seed)):
            self._append(job, ordered)
        return list(ordered.values())

    def _append(self, job: Job, ordered: dict[str, Job]) -> None:
        for need in job.needs:
            if need not in ordered:
                self._append(self.jobs[need], ordered)
        ordered[job.name] = job

    def _pretrain(self, seed: int, name: str, source: Initialisation) -> Job | None:
        if not source.pretrain:
            return None
        options = as_options(source.overrides)
        return self._add(seed, name, PRETRAIN, source.pretrain, options, source.minutes)

    def _add_cell(
        self,
        seed: int,
        name: str,
        cell: Cell,
        task: Task,
        source: Initialisation,
        pretrained: Job | None,
    ) -> None:
        needs, checkpoint = pretrained, Path(source.checkpoint) if source.checkpoint else None
        if task.test:
            needs = self.jobs[f"seed{seed}/{name}/{task.test}"]
        if needs:
            checkpoint = needs.folder / CHECKPOINT_NAME
        self._add(
            seed,
            name,
            cell.label,
            task.config,
            cell.options,
            task.minutes,
            needs,
            checkpoint,
            test=task.test is not None,
        )

    def _add(
        self,
        seed: int,
        initialisation: str,
        task: str,
        config: str,
        options: dict[str, str],
        minutes: float | None,
        needs: Job | None = None,
        checkpoint: Path | None = None,
        test: bool = False,
    ) -> Job:
        name = f"seed{seed}/{initialisation}/{task}"
        folder = self.work_dir / name
        if test:
            head = [TEST, config, str(checkpoint), "--out", str(folder / RECORD_NAME)]
        else:
            head = [TRAIN, config, "--resume"]
        command = [*head, "--work-dir", str(folder)]
        if checkpoint and not test:
            command += ["--checkpoint", str(checkpoint)]
        options = {SEED_KEY: str(seed), **options}
        command += ["--cfg-options", *(f"{key}={text}" for key, text in options.items())]
        config_sha = self._config_hash(config, tuple(options.items()))
        # what the checkpoint is: the job that makes it, or the bytes of a file given by the user
        origin = needs.signature if needs else checkpoint and _checkpoint_sha256(checkpoint)
        # no paths in here, so that a work dir can be moved
        decides = [task, initialisation, head[0], config_sha, seed, origin]
        self.jobs[name] = Job(
            name=name,
            task=task,
            initialisation=initialisation,
            seed=seed,
            folder=folder,
            command=tuple(command),
            config_sha256=config_sha,
            checkpoint=checkpoint,
            needs=(needs.name,) if needs else (),
            minutes=minutes,
            signature=_hash(decides),
        )
        return self.jobs[name]

    def _add_choices(self, name: str, label: str, task: Task, cells: Sequence[Cell]) -> None:
        """For each seed the job that takes the best cell's run of that seed for the task's own.

        The best is best on average over the seeds, so all seeds have the same hyper-parameters.
        """
        searched = [
            self.jobs[f"seed{seed}/{name}/{cell.label}"]
            for cell in cells
            for seed in self.suite.seeds
        ]
        direction = "min" if task.lower_is_better else "max"
        for seed in self.suite.seeds:
            job_name = f"seed{seed}/{name}/{label}"
            decides = [label, CHOOSE, task.select, direction, [job.signature for job in searched]]
            command = ["-m", CHOOSE, str(self.work_dir), job_name]
            command += ["--metric", str(task.select), "--best", direction, "--among"]
            self.jobs[job_name] = Job(
                name=job_name,
                task=label,
                initialisation=name,
                seed=seed,
                folder=self.work_dir / job_name,
                command=(*command, *(job.name for job in searched)),
                config_sha256=None,
                checkpoint=None,
                needs=tuple(job.name for job in searched),
                minutes=0.01,
                signature=_hash([*decides, seed]),
            )

    @cache  # noqa: B019 (a planner lives as long as the call that made it)
    def _config_hash(self, config: str, options: tuple[tuple[str, str], ...]) -> str:
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


def _hash(decides: list[Any]) -> str:
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()


def _checkpoint_sha256(path: Path) -> str:
    stat = path.stat()
    return _sha256_of(path, stat.st_mtime_ns, stat.st_size)


@cache
def _sha256_of(path: Path, mtime_ns: int, size: int) -> str:
    """Hash of a file in that state; many jobs start from the same large file."""
    return sha256_of(path)
