"""From a suite to its jobs: one folder, one command and one record each."""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..files import sha256_of, write_json_atomic
from ..results.labels import JOB_NAME
from ..results.record import RECORD_NAME, config_sha256, read_record
from .spec import PRETRAIN, Initialisation, Suite

TRAIN = "tools/train.py"
TEST = "tools/test.py"
SEED_KEY = "randomness.seed"
CHECKPOINT = "checkpoint.safetensors"  # what a training job exports into its folder


@dataclass(frozen=True)
class Job:
    """One run of a suite.

    Attributes:
        name: ``seed0/MAE/finetune``; also the folder below the work dir.
        command: script and arguments, without the interpreter.
        checkpoint: file the job starts from; made by the job in `needs` if there is one.
        needs: name of the job that has to be done before, or None.
        minutes: estimated cost on one core.
        signature: SHA-256 over everything that decides the job's result and is known before.
    """

    name: str
    task: str
    initialisation: str
    seed: int
    folder: Path
    command: tuple[str, ...]
    config_sha256: str
    checkpoint: Path | None
    needs: str | None
    minutes: float
    signature: str

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
        if not self.folder.is_dir() or not any(self.folder.glob("[!.]*")):
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
            "config_sha256": self.config_sha256,
            "status": "completed",
        }
        for key, value in expected.items():
            if getattr(record, key) != value:
                raise ValueError(
                    f"{path}: key '{key}' is {getattr(record, key)!r} but the suite wants "
                    f"{value!r}; {_OTHER_FOLDER}"
                )
        if self.checkpoint is None or not self.checkpoint.is_file():
            return  # a checkpoint may be removed to save space once its dependents are done
        used = record.checkpoint and record.checkpoint["sha256"]
        if used != sha256_of(self.checkpoint):
            raise ValueError(
                f"{path}: was not made from the {self.checkpoint} that is there now; "
                f"{_OTHER_FOLDER}"
            )


_OTHER_FOLDER = "nothing was overwritten: choose another --work-dir, or remove this folder"


def plan_jobs(suite: Suite, work_dir: str | Path) -> list[Job]:
    """Jobs of `suite`, each after the job it needs. Reads the configs, changes nothing.

    Raises:
        ValueError: a config does not load; the message names the suite file and the config.
    """

    @cache
    def config_hash(config: str, seed: int) -> str:
        try:
            return config_sha256(config, {SEED_KEY: seed})
        except Exception as error:  # a config is Python: anything can go wrong in it
            reason = " ".join(str(error).split())
            raise ValueError(f"{suite.file}: config {config} does not load: {reason}") from error

    jobs: dict[str, Job] = {}

    def add(
        seed: int,
        initialisation: str,
        task: str,
        config: str,
        minutes: float,
        needs: Job | None,
        checkpoint: Path | None,
        test: bool = False,
    ) -> Job:
        name = f"seed{seed}/{initialisation}/{task}"
        folder = Path(work_dir) / name
        if test:
            head: tuple[str, ...] = (
                TEST,
                config,
                str(checkpoint),
                "--out",
                str(folder / RECORD_NAME),
            )
            initial: tuple[str, ...] = ()
        else:
            head = (TRAIN, config, "--resume")
            initial = ("--checkpoint", str(checkpoint)) if checkpoint else ()
        paths = ("--work-dir", str(folder))
        command = (*head, *paths, *initial, "--cfg-options", f"{SEED_KEY}={seed}")
        config_sha = config_hash(config, seed)
        # what the checkpoint is: the job that makes it, or the bytes of a file given by the user
        origin = needs.signature if needs else checkpoint and sha256_of(checkpoint)
        # no paths in here, so that a work dir can be moved
        decides = [task, initialisation, command[0], config_sha, seed, origin]
        signature = hashlib.sha256(json.dumps(decides).encode()).hexdigest()
        jobs[name] = Job(
            name=name,
            task=task,
            initialisation=initialisation,
            seed=seed,
            folder=folder,
            command=command,
            config_sha256=config_sha,
            checkpoint=checkpoint,
            needs=needs.name if needs else None,
            minutes=minutes,
            signature=signature,
        )
        return jobs[name]

    def add_initialisation(seed: int, name: str, source: Initialisation) -> None:
        pretrain, checkpoint = None, None
        if source.checkpoint:
            checkpoint = Path(source.checkpoint)
        if source.pretrain:
            pretrain = add(seed, name, PRETRAIN, source.pretrain, source.minutes, None, None)
            checkpoint = pretrain.folder / CHECKPOINT
        # tasks that train come first: a task that tests needs their jobs
        for label, task in sorted(suite.tasks.items(), key=lambda item: item[1].test is not None):
            if task.test is None:
                add(seed, name, label, task.config, task.minutes, pretrain, checkpoint)
            else:
                tested = jobs[f"seed{seed}/{name}/{task.test}"]
                model = tested.folder / CHECKPOINT
                add(seed, name, label, task.config, task.minutes, tested, model, test=True)

    for seed in suite.seeds:
        for name, source in suite.initialisations.items():
            add_initialisation(seed, name, source)
    return list(jobs.values())
