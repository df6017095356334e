"""The process of one job: it holds the job's folder, runs its command and says how it went.

It imports no torch, so it starts at once and survives what may befall the command: a crash, a want
of memory, a hang.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO

from ..attempt import ATTEMPT_VARIABLE, HEARTBEAT_SECONDS, Attempt, Watch, take
from ..files import EXIT_DISK_FULL, write_json_atomic
from ..processes import slurm_job
from ..results.record import read_record
from ..run_folder import FAILED_NAME, LOG_NAME, RECORD_NAME, clear_remains
from .job import Job
from .state import failure_of

Process = subprocess.Popen[bytes]
# What a step has to know of its Slurm job; the other variables are of the step that we are in.
OF_SLURM_JOB = ("CONF", "JOB_ID", "ARRAY_JOB_ID", "ARRAY_TASK_ID", "RESTART_COUNT")
# submitit's signal before the end is for this process alone; ending the step is up to it
IGNORE_WARNING = ("sh", "-c", 'trap "" USR2; exec "$@"', "sh")
LOG_TAIL_LINES = 20
LOG_TAIL_BYTES = 1 << 16
POLL_SECONDS = 0.1
# a training process may be in the middle of writing a checkpoint
TERMINATE_SECONDS = 20.0

DONE, FAILED, BUSY, NOT_READY, STOPPED = "done", "failed", "busy", "not ready", "stopped"
DISK_FULL = "disk full"  # nothing is wrong with the job: it is to be started again
TERMINATED = (signal.SIGTERM, 128 + signal.SIGTERM)  # of a process, and as srun says it
EXIT_CODES = {DONE: 0, FAILED: 1, BUSY: 3, NOT_READY: 4, STOPPED: 5, DISK_FULL: EXIT_DISK_FULL}
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Worker:
    """Runs a job once.

    Args:
        dead: number of an attempt at the job that is known to be dead, see `take`.
        retry: number of a failed attempt, after which the job is tried once more.
        parent: process that the job must not outlive; None for any.
        processes: of the job's command on a node, which share its batch.
        nodes: of the Slurm job that this process is in.
    """

    def __init__(
        self,
        job: Job,
        dead: int | None = None,
        retry: int | None = None,
        parent: int | None = None,
        processes: int = 1,
        nodes: int = 1,
    ) -> None:
        self.job = job
        self.nodes = nodes
        self.processes = processes
        self.dead = dead
        self.retry = retry
        self.parent = parent
        self.stopping = False

    def run(self) -> str:
        """Run the job unless it is done or somebody is at it; one of the keys of `EXIT_CODES`.

        Raises:
            ValueError: the folder holds something else than the job.
        """
        if self.job.done():
            return DONE
        attempt = take(self.job.folder, Watch(), self.dead)
        if attempt is None:
            return BUSY
        outcome = STOPPED
        try:
            outcome = self._run_held(attempt)
        finally:
            attempt.end(outcome)
        return outcome

    def stop(self) -> None:
        """Make `run` end the command and return; safe in a signal handler."""
        self.stopping = True

    def _run_held(self, attempt: Attempt) -> str:
        if self.job.done():  # by somebody who let go of the folder since we looked
            return DONE
        if not all((self.job.work_dir / need / RECORD_NAME).is_file() for need in self.job.needs):
            return NOT_READY
        self.job.claim()
        # What a network file system shows may be a minute old, but not of a folder just written to.
        if (self.job.folder / RECORD_NAME).is_file() and self.job.done():
            return DONE
        failure = failure_of(self.job)
        if failure and failure["attempt"] != self.retry:
            return FAILED  # with another runner, since ours looked
        (self.job.folder / FAILED_NAME).unlink(missing_ok=True)
        clear_remains(self.job.folder)
        with (self.job.folder / LOG_NAME).open("ab") as log:
            return self.run_command(attempt, log)

    def run_command(self, attempt: Attempt, log: IO[bytes]) -> str:
        """Run the command of the job, whose folder is held, to its end."""
        start = log.tell()
        started = [self._start(log, attempt, *one) for one in self._commands()]
        try:
            finished = self._wait(started, attempt)
        finally:
            code = _first_code(started)
            _end(started)  # also what they have left behind, and when Slurm interrupts us
        if code is None:
            code = started[0].returncode
        reason = self._failure(code)
        if reason is None:
            return DONE
        # Slurm ends all processes of a job at once, the command maybe before us
        if not finished or (abs(code) in TERMINATED and slurm_job()):
            return STOPPED
        if code == EXIT_DISK_FULL:
            return DISK_FULL
        path = self.job.folder / LOG_NAME
        with path.open("rb") as said:
            said.seek(max(start, path.stat().st_size - LOG_TAIL_BYTES))
            lines = said.read().decode(errors="replace").splitlines()
        return self.fail(attempt, reason, lines[-LOG_TAIL_LINES:])

    def fail(self, attempt: Attempt, reason: str, tail: list[str]) -> str:
        """Leave a note of what went wrong."""
        failure = {
            "job": self.job.name,
            "command": list(self.job.command),
            "attempt": attempt.number,
            "reason": reason,
            "log_tail": tail,
        }
        write_json_atomic(failure, self.job.folder / FAILED_NAME)
        return FAILED

    def ended_early(self) -> bool:
        """Whether the command has to be ended."""
        return self.stopping or self.parent not in (None, os.getppid())

    def _commands(self) -> list[tuple[list[str], dict[str, str]]]:
        """The processes to start, and the environment of each, in which PyTorch finds the others.

        Not by torchrun, whose processes have sessions of their own and outlive it when it is
        killed.
        """
        command, environment = [sys.executable, *self.job.command], dict(os.environ)
        if self.job.settings_of:
            chosen = read_record(self.job.work_dir / self.job.settings_of / RECORD_NAME)
            settings = chosen.run_card["search"]["settings"]
            command += [f"{key}={text}" for key, text in settings.items()]
        if self.processes * self.nodes == 1:
            return [(command, environment)]
        with socket.socket() as free:
            free.bind(("", 0))
            environment["MASTER_PORT"] = str(free.getsockname()[1])
        if self.nodes > 1:
            return [self._step([*command, "--launcher", "slurm"], environment)]
        environment |= {"MASTER_ADDR": "127.0.0.1", "WORLD_SIZE": str(self.processes)}
        environment["LOCAL_WORLD_SIZE"] = str(self.processes)
        command += ["--launcher", "pytorch"]
        ranks = map(str, range(self.processes))
        return [(command, {**environment, "RANK": rank, "LOCAL_RANK": rank}) for rank in ranks]

    def _step(
        self, command: list[str], environment: dict[str, str]
    ) -> tuple[list[str], dict[str, str]]:
        """The command as a step of a Slurm job: a task for each GPU, from this node on."""
        kept = {f"SLURM_{name}" for name in OF_SLURM_JOB}
        environment = {
            key: value
            for key, value in environment.items()
            if not key.startswith("SLURM_") or key in kept
        }
        environment["MASTER_ADDR"] = socket.gethostname()
        step = ["srun", "--overlap", "--kill-on-bad-exit=1", f"--nodes={self.nodes}"]
        step += [f"--ntasks={self.nodes * self.processes}", f"--ntasks-per-node={self.processes}"]
        if cores := os.environ.get("SLURM_CPUS_PER_TASK"):
            step.append(f"--cpus-per-task={cores}")
        return [*step, *IGNORE_WARNING, *command], environment

    def _start(
        self, log: IO[bytes], attempt: Attempt, command: list[str], environment: dict[str, str]
    ) -> Process:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**environment, ATTEMPT_VARIABLE: str(attempt.path.resolve())},
            # its own process group, so that its data loaders can be ended with it
            start_new_session=True,
            preexec_fn=_die_with_parent(),
        )

    def _wait(self, processes: list[Process], attempt: Attempt) -> bool:
        """Wait until all have ended, or one has failed; False if they have to be ended."""
        beat = time.monotonic()
        while True:
            with suppress(subprocess.TimeoutExpired):
                processes[0].wait(POLL_SECONDS)
            if _first_code(processes) or all(one.poll() == 0 for one in processes):
                return True
            if processes[0].returncode is not None:
                time.sleep(POLL_SECONDS)  # the first has ended, and wait returns at once
            if self.ended_early():
                return False
            if time.monotonic() - beat >= HEARTBEAT_SECONDS:
                beat = time.monotonic()
                if not attempt.beat():
                    # We were suspended and given up: the job is another's, down to its files.
                    for process in processes:
                        process.kill()
                    return False

    def _failure(self, code: int) -> str | None:
        """Why the job is not done. The record is a run's last act: with it, all else is well."""
        try:
            self.job.check_record()
        except (ValueError, FileNotFoundError) as error:
            if code:
                return f"exit code {code}" if code > 0 else f"killed by signal {-code}"
            return f"left no valid record: {error}"
        return None


def _first_code(processes: list[Process]) -> int | None:
    """Exit code of the first process that has failed; None where none has."""
    return next((code for one in processes if (code := one.poll())), None)


def _end(processes: list[Process]) -> None:
    """End processes and what they have started, politely first."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        _signal_group(process, signal.SIGTERM)
    deadline = time.monotonic() + TERMINATE_SECONDS
    for process in running:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
    for process in processes:
        _signal_group(process, signal.SIGKILL)
        process.wait()


def _signal_group(process: Process, number: int) -> None:
    with suppress(ProcessLookupError):  # all of it may have ended by itself
        os.killpg(process.pid, number)


def _die_with_parent() -> Callable[[], None] | None:
    """What the new process calls to be killed when this one is, whatever kills it (Linux)."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we could ask
            os._exit(1)

    return ask
