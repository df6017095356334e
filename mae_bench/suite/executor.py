"""Run jobs as child processes, several at once, each as soon as the job it needs is done.

A job is a process of its own because host libraries keep global state (registries, seeds, thread
pools, CUDA memory) and because a crash must not take the other jobs with it.
"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from ..files import write_json_atomic
from ..results.record import RECORD_NAME, read_record
from .plan import Job
from .schedule import path_lengths

LOG_NAME = "log.txt"
FAILED_NAME = "failed.json"
LOCK_NAME = ".lock"
LOG_TAIL_LINES = 20
POLL_SECONDS = 0.1
# a training process may be in the middle of writing a checkpoint
TERMINATE_SECONDS = 20.0


@dataclass
class Running:
    """A job with its process; `slot` is a number below the number of jobs at once."""

    job: Job
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    log_start: int
    slot: int
    started: float = field(default_factory=time.monotonic)


@dataclass
class State:
    """Where a suite stands. Names of jobs, except for `running`."""

    jobs: Sequence[Job]
    slots: int
    done: set[str]
    seconds: dict[str, float]  # how long the done ones took
    failed: dict[str, str] = field(default_factory=dict)  # name -> reason
    skipped: dict[str, str] = field(default_factory=dict)  # name -> the failed job it needs
    running: dict[str, Running] = field(default_factory=dict)

    def waiting(self) -> list[Job]:
        """Jobs that have not started."""
        seen = self.done | self.failed.keys() | self.skipped.keys() | self.running.keys()
        return [job for job in self.jobs if job.name not in seen]


class Display(Protocol):
    """What shows a person how far the jobs are."""

    def event(self, line: str) -> None:
        """Something happened once."""

    def refresh(self, state: State) -> None:
        """Called several times a second."""


def current_state(jobs: Sequence[Job], slots: int) -> State:
    """State of the work dir before anything is started.

    Raises:
        ValueError: a folder holds something else than its job, or a job is done whose
            predecessor is not: its checkpoint would be replaced by another one.
    """
    done: set[str] = set()
    for job in jobs:
        if not job.done():
            continue
        if job.needs and job.needs not in done:
            raise ValueError(
                f"{job.folder}: is done, but {job.needs} which it was made from is not; "
                "nothing was overwritten: choose another --work-dir, or remove this folder"
            )
        done.add(job.name)
    seconds = {
        job.name: read_record(job.folder / RECORD_NAME).duration_seconds
        for job in jobs
        if job.name in done
    }
    return State(jobs, slots, done, seconds)


def run_jobs(state: State, display: Display, work_dir: Path) -> None:
    """Run everything that is not done; `state` is up to date afterwards.

    A job that fails is noted in ``failed.json`` in its folder, jobs that need it are skipped and
    the others go on. On KeyboardInterrupt the children are stopped before it is raised again.

    Raises:
        ValueError: another process runs jobs in `work_dir`.
    """
    lengths = path_lengths(state.jobs)
    order = sorted(state.jobs, key=lambda job: -lengths[job.name])
    gpus = visible_gpus()
    with _lock(work_dir) as lock:
        try:
            while state.waiting() or state.running:
                waiting = {job.name for job in state.waiting()}
                for job in order:
                    if job.name not in waiting:
                        continue
                    if job.needs in state.failed or job.needs in state.skipped:
                        state.skipped[job.name] = str(job.needs)
                        display.event(f"skipped  {job.name}: it needs {job.needs}")
                    elif len(state.running) < state.slots and (
                        job.needs is None or job.needs in state.done
                    ):
                        state.running[job.name] = _start(job, state, gpus, lock)
                        display.event(f"started  {job.name}")
                for running in list(state.running.values()):
                    if running.process.poll() is not None:
                        _finish(running, state, display)
                display.refresh(state)
                time.sleep(POLL_SECONDS)
        finally:
            _stop(list(state.running.values()))


def cpu_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """GPUs this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def child_environment(slot: int, slots: int, gpus: Sequence[str]) -> dict[str, str]:
    """Environment of a job: its share of the cores, and one GPU if there are any."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(max(1, cpu_cores() // slots)))
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]
    return environment


def _start(job: Job, state: State, gpus: Sequence[str], lock: int) -> Running:
    used = {running.slot for running in state.running.values()}
    slot = min(set(range(state.slots)) - used)
    job.claim()
    (job.folder / FAILED_NAME).unlink(missing_ok=True)
    log = open(job.folder / LOG_NAME, "ab")  # noqa: SIM115 (closed when the job ends)
    process = subprocess.Popen(
        [sys.executable, *job.command],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=child_environment(slot, state.slots, gpus),
        # its own process group: Ctrl-C reaches it through us, and so do its data loaders
        start_new_session=True,
        # a child that outlives us keeps the work dir locked
        pass_fds=[lock],
    )
    return Running(job, process, log, log.tell(), slot)


def _finish(running: Running, state: State, display: Display) -> None:
    job, code = running.job, running.process.returncode
    running.log.close()
    del state.running[job.name]
    reason = None
    if code != 0:
        reason = f"exit code {code}" if code > 0 else f"killed by signal {-code}"
    else:
        try:
            job.check_record()
        except (ValueError, FileNotFoundError) as error:
            reason = f"left no valid record: {error}"
    elapsed = time.monotonic() - running.started
    if reason is None:
        state.done.add(job.name)
        state.seconds[job.name] = elapsed
        display.event(f"done     {job.name} in {elapsed:.0f} s")
        return
    with open(job.folder / LOG_NAME, "rb") as log:
        log.seek(running.log_start)
        lines = log.read().decode(errors="replace").splitlines()
    failure = {
        "job": job.name,
        "command": list(job.command),
        "reason": reason,
        "log_tail": lines[-LOG_TAIL_LINES:],
    }
    write_json_atomic(failure, job.folder / FAILED_NAME)
    # the error itself: what is indented only says where it came from
    last = next((line for line in reversed(lines) if line[:1].strip()), "no output")
    state.failed[job.name] = f"{reason}: {last}" if code else reason
    display.event(f"FAILED   {job.name}: {state.failed[job.name]}")


def _stop(running: Sequence[Running]) -> None:
    """End children and what they have started, politely first."""
    for one in running:
        _signal_group(one.process, signal.SIGTERM)
    deadline = time.monotonic() + TERMINATE_SECONDS
    for one in running:
        try:
            one.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _signal_group(one.process, signal.SIGKILL)
            one.process.wait()
        one.log.close()


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):  # it may have ended by itself
        os.killpg(process.pid, number)


@contextmanager
def _lock(work_dir: Path) -> Iterator[int]:
    """Hold the work dir's lock; the operating system releases it when the last holder ends."""
    work_dir.mkdir(parents=True, exist_ok=True)
    handle = os.open(work_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"{work_dir}: another run_suite, or a job it has left behind, is at work here"
            ) from None
        yield handle
    finally:
        os.close(handle)
