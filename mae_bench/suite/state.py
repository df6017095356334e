"""Where a suite stands, read from the files in its work dir, whoever wrote them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..attempt import Attempt, Watch, newest_attempt
from ..files import read_json
from ..results.record import read_record
from ..run_folder import FAILED_NAME, RECORD_NAME, failure_text
from .job import Job


@dataclass(frozen=True)
class Running:
    """A job somebody is at: where, and since when (seconds since the epoch)."""

    job: Job
    where: str
    started: float


@dataclass
class State:
    """Where a suite stands. Names of jobs, except for `running`.

    Attributes:
        slots: jobs at once, for the estimate of the time left.
        retry: failed jobs that are to be tried once more -> the number of the failed attempt.
    """

    jobs: Sequence[Job]
    slots: int
    done: set[str] = field(default_factory=set)
    seconds: dict[str, float] = field(default_factory=dict)  # how long the done ones took
    failed: dict[str, str] = field(default_factory=dict)  # name -> reason
    no_room: set[str] = field(default_factory=set)  # of those, where only a full disk is the reason
    blocked: dict[str, str] = field(default_factory=dict)  # name -> the failed job it needs
    running: dict[str, Running] = field(default_factory=dict)
    queued: set[str] = field(default_factory=set)  # by a cluster, and not running yet
    dead: dict[str, int] = field(default_factory=dict)  # name -> attempt whose process died
    retry: dict[str, int] = field(default_factory=dict)
    watch: Watch = field(default_factory=Watch)

    def open(self) -> list[Job]:
        """Jobs that may still become done."""
        over = self.done | self.failed.keys() | self.blocked.keys()
        return [job for job in self.jobs if job.name not in over]

    def waiting(self) -> list[Job]:
        """Jobs that have not started."""
        return [job for job in self.open() if job.name not in self.running]

    def ready(self) -> list[Job]:
        """Jobs that can start: nobody is at them, and what they need is done."""
        return [
            job
            for job in self.waiting()
            if job.name not in self.queued and self.done.issuperset(job.needs)
        ]

    def fail(self, job: Job, reason: str) -> None:
        """Count a job as failed."""
        self.failed[job.name] = reason

    def refresh(self) -> None:
        """Read the folders of the jobs that are open."""
        for job in self.open():
            failure = failure_of(job)
            if failure and self.retry.get(job.name) != failure["attempt"]:
                self.fail(job, failure_text(failure))
            elif (job.folder / RECORD_NAME).is_file():
                self._take_record(job)
            self._take_attempt(job)
        # a job stands after those it needs, so one pass blocks whole chains
        for job in self.open():
            for need in job.needs:
                if need in self.failed or need in self.blocked:
                    self.blocked[job.name] = need

    def _take_record(self, job: Job) -> None:
        try:
            job.check_record()
            record = read_record(job.folder / RECORD_NAME)
        except ValueError as error:
            self.fail(job, str(error))
            return
        self.done.add(job.name)
        self.seconds[job.name] = record.duration_seconds

    def _take_attempt(self, job: Job) -> None:
        self.running.pop(job.name, None)
        self.dead.pop(job.name, None)
        over = job.name in self.done or job.name in self.failed
        attempt: Attempt | None = None if over else newest_attempt(job.folder)
        if attempt is None or attempt.ended:
            return
        if self.watch.alive(attempt):
            self.running[job.name] = Running(job, attempt.where, attempt.started)
        else:
            self.dead[job.name] = attempt.number


def current_state(jobs: Sequence[Job], slots: int, retry_failed: bool = False) -> State:
    """State of the work dir before anything is started.

    Args:
        retry_failed: open the jobs that have failed, and those blocked by them.

    Raises:
        ValueError: a folder holds something else than its job, or a job is done whose
            predecessor is not: its checkpoint would be replaced by another one.
    """
    done: set[str] = set()
    for job in jobs:
        if not job.done():
            continue
        for need in job.needs:
            if need not in done:
                raise ValueError(
                    f"{job.folder}: is done, but {need}, which comes before it, is not; "
                    "nothing was overwritten: choose another --work-dir, or remove this folder"
                )
        done.add(job.name)
    state = State(jobs, slots)
    if retry_failed:
        failures = {job.name: failure_of(job) for job in jobs}
        state.retry = {name: one["attempt"] for name, one in failures.items() if one}
    state.refresh()
    return state


def failure_of(job: Job) -> dict[str, Any] | None:
    """What ``failed.json`` says; a damaged one says that the job failed, unless it has a record."""
    path = job.folder / FAILED_NAME
    try:
        found = read_json(path)
    except FileNotFoundError:
        return None
    except ValueError as error:
        if (job.folder / RECORD_NAME).is_file():
            return None
        found = {"reason": str(error)}
    tail = found.get("log_tail")
    return {
        "reason": str(found.get("reason", f"{path} names no reason")),
        "attempt": found.get("attempt", 0),
        "log_tail": [str(line) for line in tail] if isinstance(tail, list) else [],
    }
