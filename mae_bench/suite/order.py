"""Which job comes next, and how long the rest takes."""

import heapq
from collections.abc import Mapping, Sequence

from .job import Job

UNKNOWN_MINUTES = 1.0  # of a job for which the suite gives none


def path_lengths(jobs: Sequence[Job]) -> dict[str, float]:
    """Minutes from the start of each job to the end of the longest chain of jobs behind it.

    A job that is needed but not among `jobs` is over, and counts for nothing.
    """
    minutes = {job.name: UNKNOWN_MINUTES if job.minutes is None else job.minutes for job in jobs}
    lengths = dict(minutes)
    # a job stands after those it needs, so in reverse every dependent is final when read
    for job in reversed(jobs):
        for need in job.needs:
            if need in minutes:
                lengths[need] = max(lengths[need], minutes[need] + lengths[job.name])
    return lengths


def time_left(
    jobs: Sequence[Job], seconds: Mapping[str, float], running: set[str], slots: int
) -> float:
    """Seconds until all of `jobs` are done, `slots` at a time, longest chain first.

    Args:
        jobs: those that are running or still to run.
        seconds: what each of them still takes.
        running: names of those that have started.
        slots: jobs at once; other runners may have started more.
    """
    lengths = path_lengths(jobs)
    slots = max(slots, len(running))
    names = {job.name for job in jobs}
    waiting = sorted(jobs, key=lambda job: (job.name not in running, -lengths[job.name]))
    done = {need for job in jobs for need in job.needs} - names
    active: list[tuple[float, str]] = []
    now = 0.0
    while waiting or active:
        for job in list(waiting):
            if len(active) < slots and done.issuperset(job.needs):
                waiting.remove(job)
                heapq.heappush(active, (now + seconds[job.name], job.name))
        now, name = heapq.heappop(active)
        done.add(name)
    return now
