"""What jobs cost: by records of the past, else by the suite, else unknown."""

import statistics
from dataclasses import dataclass

from .job import Job
from .state import State


@dataclass(frozen=True)
class Cost:
    """Seconds a job takes, and what says so: ``"record"``, ``"suite"`` or ``"unknown"``."""

    seconds: float | None
    source: str


def _kind(job: Job) -> tuple[str, ...]:
    """Jobs that cost the same: one task (whatever the cell of a search), one config."""
    return (job.task.partition(",")[0], *job.command[:2])


def costs(state: State) -> dict[str, Cost]:
    """Cost of every job of a suite by its name.

    A done job took what its record says. Another one takes the mean of the done ones of the same
    task and config, or else the minutes that the suite gives, scaled by how the done ones compare
    with theirs.
    """
    records: dict[tuple[str, ...], list[float]] = {}
    taken = expected = 0.0
    for job in state.jobs:
        if job.name not in state.done:
            continue
        records.setdefault(_kind(job), []).append(state.seconds[job.name])
        if job.minutes is not None:
            taken += state.seconds[job.name]
            expected += 60 * job.minutes
    factor = taken / expected if expected else 1.0
    found = {}
    for job in state.jobs:
        if job.name in state.done:
            found[job.name] = Cost(state.seconds[job.name], "record")
        elif _kind(job) in records:
            found[job.name] = Cost(statistics.fmean(records[_kind(job)]), "record")
        elif job.minutes is not None:
            found[job.name] = Cost(60 * job.minutes * factor, "suite")
        else:
            found[job.name] = Cost(None, "unknown")
    return found
