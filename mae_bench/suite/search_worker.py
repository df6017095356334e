"""The process of one runner of a search: it trains trials until the budget is spent."""

import dataclasses
import hashlib
import json
import math
import time
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

from ..attempt import Attempt, newest_attempt
from ..files import read_json, sha256_of, write_json_atomic
from ..results.curves import read_scalars
from ..results.environment import git_revision, package_versions
from ..results.record import Record, read_record, write_record
from ..run_folder import PROGRESS_NAME, RECORD_NAME, diverged
from .job import Job
from .state import failure_of
from .study import Study, Trial
from .worker import DISK_FULL, DONE, FAILED, STOPPED, Worker

LOOK_SECONDS = 2.0


class TrialWorker(Worker):
    """Trains one trial, until it ends or stops where it is not among the best.

    Args:
        search: the worker of the search, whose folder is held meanwhile.
        held: its attempt.
    """

    def __init__(self, search: "SearchWorker", held: Attempt, study: Study, trial: Trial) -> None:
        job = trial_job(search.job, trial)
        failure, before = failure_of(job), newest_attempt(job.folder)
        super().__init__(
            job,
            dead=before.number if before else None,  # nobody else is at the trials of this runner
            retry=failure["attempt"] if failure else None,
            processes=search.processes,
            nodes=search.nodes,
        )
        self.search, self.held, self.study, self.trial = search, held, study, trial
        self.pruned = False
        self._looked = time.monotonic()

    def ended_early(self) -> bool:
        """Whether the search has to stop, or this trial does."""
        if self.search.ended_early():
            return True
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            self._looked = time.monotonic()
            self.pruned = self.pruned or self.look()
            self.search.tell_progress(self.job.folder)
            if not self.held.beat():
                self.search.stopping = True
        return self.pruned

    def look(self) -> bool:
        """Report what has been validated; whether the trial stops here."""
        if (self.job.folder / RECORD_NAME).is_file():
            return False  # at its end it is told whole
        return self.study.report(self.trial, self.curve())

    def curve(self) -> dict[float, float]:
        """What has been validated, by step of the schedule."""
        curve = read_scalars(self.job.folder).metrics.get(self.study.search.select)
        return curve.points if curve else {}


class SearchWorker(Worker):
    """Trains one trial after the other, beside other runners of the same search."""

    def run_command(self, attempt: Attempt, log: IO[bytes]) -> str:
        """Run trials; then leave a record that says so."""
        search = self.job.search
        assert search is not None
        started = datetime.now(timezone.utc)
        study = Study(self.job.work_dir, search, search.direction)
        count = self.processes * self.nodes
        while not self.stopping and (trial := study.next(self.job.name, count)) is not None:
            worker = TrialWorker(self, attempt, study, trial)
            self._note(log, f"{trial.name}: {trial.options}")
            outcome = worker.run()
            if outcome == DONE:
                value = read_record(worker.job.folder / RECORD_NAME).metrics[search.select]
                study.finished(trial, value, worker.curve())
                self._note(log, f"{trial.name}: {search.select} {value:.6g}")
            elif worker.pruned:
                study.stopped(trial)
                self._note(log, f"{trial.name}: stopped, it is not among the best")
            elif outcome == FAILED:
                failure = failure_of(worker.job) or {"reason": "", "log_tail": []}
                if diverged(failure):
                    study.finished(trial, math.nan, {})
                    self._note(log, f"{trial.name}: it diverged")
                    continue
                reason = f"{failure['reason']}, of {trial.name}"
                return self.fail(attempt, reason, failure["log_tail"])
            else:
                return outcome if outcome == DISK_FULL else STOPPED
        if self.ended_early():
            return STOPPED
        self._leave_record(study, started)
        return DONE

    def tell_progress(self, folder: Path) -> None:
        """Hand on what the trial says of its progress."""
        with suppress(OSError, ValueError):
            write_json_atomic(read_json(folder / PROGRESS_NAME), self.job.folder / PROGRESS_NAME)

    def _note(self, log: IO[bytes], line: str) -> None:
        log.write(f"{line}\n".encode())
        log.flush()

    def _leave_record(self, study: Study, started: datetime) -> None:
        job, now = self.job, datetime.now(timezone.utc)
        command = job.command
        checkpoint: dict[str, Any] | None = None
        if job.checkpoint is not None:
            named = {"file": str(job.checkpoint), "sha256": sha256_of(job.checkpoint)}
            checkpoint = {**named, "report": None}
        record = Record(
            task=job.task,
            initialisation=job.initialisation,
            metrics={},
            config_file=command[command.index("--resume") - 1],
            config_sha256=job.config_sha256 or "",
            overrides={},
            seed=job.seed,
            checkpoint=checkpoint,
            run_card={},
            data_counts={},
            versions=package_versions(),
            git_revision=git_revision(),
            device="",
            started=started.isoformat(timespec="seconds"),
            finished=now.isoformat(timespec="seconds"),
            duration_seconds=(now - started).total_seconds(),
            peak_memory_mib=None,
        )
        write_record(record, job.folder / RECORD_NAME)


def trial_job(job: Job, trial: Trial) -> Job:
    """The job of one trial of a search."""
    command = list(job.command)
    folder = job.work_dir / trial.name
    command[command.index("--work-dir") + 1] = str(folder)
    command += [f"{key}={text}" for key, text in trial.options.items()]
    decides = json.dumps([job.signature, trial.options])
    return dataclasses.replace(
        job,
        name=trial.name,
        task=trial.name.rpartition("/")[2],
        folder=folder,
        command=tuple(command),
        config_sha256=None,
        signature=hashlib.sha256(decides.encode()).hexdigest(),
        search=None,
    )
