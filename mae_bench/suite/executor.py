"""Run what is not done: the loop around the executors, and the executor of this machine.

A job is a process of its own because host libraries keep global state (registries, seeds, thread
pools, CUDA memory) and because a crash must not take the other jobs with it. What is done, failed
or running is read from the job's folders, so several runners may be at one work dir.
"""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Protocol

from .display import StallWatch
from .job import Job
from .order import path_lengths
from .state import State
from .worker import DISK_FULL, EXIT_CODES, TERMINATE_SECONDS

RUN_WORKER = "import sys; from mae_bench.suite.run_job import main; sys.exit(main())"
POLL_SECONDS = 0.1
# reading every open job's folder is work for a network file system
SCAN_SECONDS = 1.0
AGAIN = "the same command tries again"


class Display(Protocol):
    """What shows a person how far the jobs are."""

    def event(self, line: str) -> None:
        """Something happened once."""

    def refresh(self, state: State) -> None:
        """Called several times a second."""


class Executor(Protocol):
    """Where jobs run."""

    def collect(self, state: State) -> bool:
        """Whether the folders of jobs have changed by what this executor runs."""

    def start(self, state: State, order: Sequence[Job]) -> list[str]:
        """Start what can start of the jobs in `order`, most urgent first; a line for each."""

    def stop(self) -> None:
        """The runner ends, be it early."""


def run_jobs(state: State, executor: Executor, display: Display, seconds: float = math.inf) -> None:
    """Run everything that is not done; `state` is up to date afterwards.

    A job that fails is noted in ``failed.json`` in its folder, jobs that need it are blocked and
    the others go on. Jobs that another runner is at are waited for. What is not done after so many
    `seconds` is stopped, as by Ctrl-C.
    """
    end = time.monotonic() + seconds
    lengths = path_lengths(state.jobs)
    order = sorted(state.jobs, key=lambda job: -lengths[job.name])
    told = set(state.done)
    stalls = StallWatch()
    scanned = float("-inf")
    try:
        while True:
            if executor.collect(state) or time.monotonic() - scanned >= SCAN_SECONDS:
                state.refresh()
                scanned = time.monotonic()
                _tell(state, told, display)
                for line in stalls.news(state):
                    display.event(line)
            if not state.open() or time.monotonic() >= end:
                return
            for line in executor.start(state, order):
                display.event(line)
            display.refresh(state)
            time.sleep(POLL_SECONDS)
    finally:
        executor.stop()


def _tell(state: State, told: set[str], display: Display) -> None:
    """Say which jobs are over that have not been `told`."""
    for job in state.jobs:
        name = job.name
        if name in told:
            continue
        if name in state.done:
            display.event(f"done     {name} in {state.seconds[name]:.0f} s")
        elif name in state.failed:
            what = "stopped " if name in state.no_room else "FAILED  "
            display.event(f"{what} {name}: {state.failed[name]}")
        elif name in state.blocked:
            display.event(f"blocked  {name}: it needs {state.blocked[name]}")
        else:
            continue
        told.add(name)


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


def _named(name: str, state: State) -> Job:
    return next(job for job in state.jobs if job.name == name)


class LocalExecutor:
    """Jobs as child processes of this one, as many at once as there are `slots`.

    Each gets its share of the cores, and as many GPUs as its resources say, or all that there are
    where they are fewer. Where there are none, its processes share the cores. Jobs start in order:
    one that has to wait for GPUs is not overtaken by smaller ones.
    """

    def __init__(self, slots: int, gpus: Sequence[str]) -> None:
        self.slots = slots
        self.gpus = gpus
        # name -> GPUs, or as many empty names as processes; and the process that runs the job
        self._processes: dict[str, tuple[list[str], subprocess.Popen[str]]] = {}

    def processes_of(self, job: Job) -> int:
        """Processes that a job has on this machine."""
        return min(job.resources.gpus or 1, len(self.gpus) or cpu_cores())

    def places(self, job: Job) -> list[str] | None:
        """GPUs for a job, or empty names where there are none; None where it has to wait."""
        wanted = self.processes_of(job)
        taken = [name for names, _ in self._processes.values() for name in names]
        if len(self._processes) >= self.slots:
            return None
        if not self.gpus:
            return [""] * wanted if not taken or len(taken) + wanted <= self.slots else None
        most = -(-self.slots // len(self.gpus))  # jobs of one GPU
        free = [gpu for gpu in sorted(self.gpus, key=taken.count) if taken.count(gpu) < most]
        return free[:wanted] if len(free) >= wanted else None

    def environment(self, places: Sequence[str]) -> dict[str, str]:
        """Environment of a job in these places."""
        threads = max(1, cpu_cores() // max(self.slots, len(places)))
        environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(places)
        return environment

    def start(self, state: State, order: Sequence[Job]) -> list[str]:
        """Start jobs while there are slots and GPUs."""
        ready = {job.name for job in state.ready()} - self._processes.keys()
        started = []
        for job in order:
            if job.name not in ready:
                continue
            places = self.places(job)
            if places is None:
                break
            try:
                self._start(job, state, places)
            except OSError as error:
                # no memory for a process, or one that died before it had read what to do
                reason = error.strerror or type(error).__name__
                state.fail(job, f"its process did not start ({reason}); {AGAIN}")
            else:
                several = f" in {len(places)} processes" if len(places) > 1 else ""
                started.append(f"started  {job.name}{several}")
        return started

    def _start(self, job: Job, state: State, places: list[str]) -> None:
        process = subprocess.Popen(
            # not with -m, which warns of a module that its own package has imported
            [sys.executable, "-c", RUN_WORKER],
            stdin=subprocess.PIPE,
            text=True,
            env=self.environment(places),
            # Ctrl-C reaches it through us
            start_new_session=True,
        )
        assert process.stdin is not None
        order = {
            **{"job": job.to_json(), "parent": os.getpid(), "processes": len(places)},
            **{"dead": state.dead.get(job.name), "retry": state.retry.get(job.name)},
        }
        try:
            with process.stdin:
                json.dump(order, process.stdin)
        except OSError:
            process.kill()
            process.wait()
            raise
        self._processes[job.name] = (places, process)

    def collect(self, state: State) -> bool:
        """Notice the jobs that have ended; what a process said is in its job's folder."""
        ended = [name for name, (_, one) in self._processes.items() if one.poll() is not None]
        for name in ended:
            code = self._processes.pop(name)[1].returncode
            if code == EXIT_CODES[DISK_FULL]:
                state.fail(_named(name, state), f"the disk is full: free some space; {AGAIN}")
                state.no_room.add(name)
            elif code not in EXIT_CODES.values():
                # the worker itself: out of memory, killed by a person, a full disk
                how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
                state.fail(_named(name, state), f"its process {how}; {AGAIN}")
        return bool(ended)

    def stop(self) -> None:
        """End the jobs that still run."""
        processes = [process for _, process in self._processes.values()]
        for process in processes:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + TERMINATE_SECONDS + 10
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()
