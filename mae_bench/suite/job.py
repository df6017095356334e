"""One run of a suite: what its folder holds, and whether it is done."""

import dataclasses
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ..files import read_json, sha256_of, write_json_atomic
from ..results.record import CLAIM_KEYS, read_record, write_record
from ..results.table import Resources, Search
from ..run_folder import ATTEMPTS_NAME, JOB_NAME, RECORD_NAME, stated_sum


@dataclass(frozen=True)
class Job:
    """One run of a suite.

    Attributes:
        name: ``seed0/MAE/finetune``; also the folder below the work dir.
        task: label of the record; that of a cell of a search grid says which cell it is.
        command: arguments of the Python interpreter.
        config_sha256: of the config with the seed and the overrides; None for a job that chooses
            among others, whose record is a copy of one of theirs, or takes settings of a search.
        checkpoint: file the job starts from; made by the first one in `needs`, or the user's.
        needs: names of the jobs that have to be done before.
        minutes: estimated cost on one core; None where the suite does not say.
        signature: SHA-256 over everything that decides the job's result and is known before.
        cells: cells of tables that the job's record claims, see ``results.record``.
        resources: what it is given; they change nothing but its duration, except for precision.
        search: for which it trains with one setting after the other; `command` has none yet.
        settings_of: job whose search has found further settings of the command.
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
    cells: list[dict[str, Any]] = field(default_factory=list)
    resources: Resources = Resources()
    search: Search | None = None
    settings_of: str | None = None

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
        resources = Resources(**data["resources"])
        search = Search(**data["search"]) if data["search"] else None
        tuples = {key: tuple(data[key]) for key in ("command", "needs")}
        fixed = dict(folder=Path(data["folder"]), checkpoint=checkpoint, resources=resources)
        return cls(**{**data, **tuples, **fixed, "search": search})

    def description(self) -> dict[str, Any]:
        """What ``job.json`` holds."""
        return {
            "name": self.name,
            "task": self.task,
            "initialisation": self.initialisation,
            "seed": self.seed,
            "command": list(self.command),
            "signature": self.signature,
            "cells": self.cells,
        }

    def claim(self) -> None:
        """Write ``job.json``: from now on the folder belongs to this job."""
        write_json_atomic(self.description(), self.folder / JOB_NAME)

    def refresh_cells(self) -> None:
        """Let the record of a job that is done claim the cells that its tables have now."""
        path = self.folder / RECORD_NAME
        record = read_record(path)
        own = [{key: claim[key] for key in CLAIM_KEYS} for claim in record.cells]
        if own != self.cells:
            write_record(dataclasses.replace(record, cells=self.cells), path)
            self.claim()

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
            signature = read_json(job_file)["signature"]
        except (ValueError, KeyError):
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
        if self.checkpoint is None:
            return
        used = record.checkpoint and record.checkpoint["sha256"]
        made = stated_sum(self.checkpoint)
        if made is not None and used != made:
            raise ValueError(
                f"{path}: was made from other weights than {RECORD_NAME} beside {self.checkpoint} "
                f"says its run left; {_OTHER_FOLDER}"
            )
        if not self.checkpoint.is_file():
            return  # it may be removed to save space once its dependents are done
        if used != file_sha256(self.checkpoint):
            raise ValueError(
                f"{path}: was not made from the {self.checkpoint} that is there now; "
                f"{_OTHER_FOLDER}"
            )


_OTHER_FOLDER = "nothing was overwritten: choose another --work-dir, or remove this folder"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file; that of a file which has not changed is remembered."""
    stat = path.stat()
    return _sha256_of(path, stat.st_mtime_ns, stat.st_size)


@cache
def _sha256_of(path: Path, mtime_ns: int, size: int) -> str:
    """Hash of a file in that state; many jobs start from the same large file."""
    return sha256_of(path)
