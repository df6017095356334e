"""Who is at work in a run's folder: locks that outlive neither their process nor their machine.

Each start of a run takes the next number in its folder, ``attempts/1.json``, ``attempts/2.json``
and so on. The file is made complete and at once (a hard link to a finished file, which also a
network file system does for exactly one of several callers), says which process it stands for, and
has its modification time renewed while that process lives. Taking over from a dead process means
making the next file, so nothing is ever removed, and two that find the same dead process cannot
both follow it. What is left is the history of the run.
"""

import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .files import read_json, write_json_atomic
from .processes import machine_id, process_start, slurm_job, slurm_restarts
from .run_folder import ATTEMPTS_NAME

HEARTBEAT_SECONDS = 5.0
# Well above what a network file system may show of the past (Linux NFS: up to 60 s).
STALE_SECONDS = 180.0
# Names the file of the attempt that a command is started for; its process holds the folder then.
ATTEMPT_VARIABLE = "MAE_BENCH_ATTEMPT"
TAKEN_OVER = 3  # exit code of a process that was taken for dead

# What is known of a process whose file is damaged.
UNKNOWN: dict[str, Any] = {
    "host": "a process that its damaged file does not name",
    "machine": "unknown",
    "pid": 0,
    "process_start": None,
    "slurm_job": None,
    "slurm_restarts": 0,
    "started": "1970-01-01T00:00:00.000+00:00",
    "ended": None,
    "outcome": None,
}


@dataclass(frozen=True)
class Attempt:
    """One start of a run.

    Attributes:
        number: 1 for the first.
        data: content of the file: ``host``, ``machine`` (see ``processes.machine_id``), ``pid``,
            ``process_start``, ``slurm_job``, ``slurm_restarts``, ``started``; ``ended`` and
            ``outcome`` are None while it goes on.
    """

    path: Path
    number: int
    data: dict[str, Any]

    @property
    def ended(self) -> bool:
        """Whether its process has said that it is over."""
        return self.data["ended"] is not None

    @property
    def where(self) -> str:
        """The process, for a person."""
        slurm = self.data["slurm_job"]
        place = f"{self.data['host']}:{self.data['pid']}"
        return f"Slurm job {slurm} on {place}" if slurm else place

    @property
    def started(self) -> float:
        """Seconds since the epoch."""
        return datetime.fromisoformat(self.data["started"]).timestamp()

    def beat(self) -> bool:
        """Show that this process is at work; False if another one took it for dead."""
        try:
            if self.path.with_name(f"{self.number + 1}.json").exists():
                return False
            os.utime(self.path)
        except FileNotFoundError:
            return False  # somebody has removed the folder
        except OSError:
            pass  # the file system may be away for a moment
        return True

    def end(self, outcome: str) -> None:
        """Let go of the folder."""
        write_json_atomic({**self.data, "ended": _now(), "outcome": outcome}, self.path)


def newest_attempt(folder: Path) -> Attempt | None:
    """The last start of the run in `folder`, or None before the first.

    One whose file is damaged may be at work: like a process of another machine it is judged by
    whether its file is touched.
    """
    names = (path.stem for path in (folder / ATTEMPTS_NAME).glob("*.json"))
    numbers = [int(name) for name in names if name.isdecimal()]
    if not numbers:
        return None
    path = folder / ATTEMPTS_NAME / f"{max(numbers)}.json"
    try:
        data = read_json(path)
        datetime.fromisoformat(data["started"])
        for key, value in UNKNOWN.items():
            if not isinstance(data[key], (str, type(None)) if value is None else type(value)):
                raise TypeError(key)
    except (ValueError, KeyError, TypeError):
        data = UNKNOWN
    return Attempt(path, max(numbers), data)


@dataclass
class Watch:
    """Tells the living from the dead; keep one, since other machines are judged by watching.

    A process of this machine is looked up. Of another machine only the file's time is seen, and
    clocks of machines differ, so it is dead once that time has not moved for `stale_seconds` of
    our own clock.
    """

    stale_seconds: float = STALE_SECONDS
    _seen: dict[Path, tuple[float, float]] = field(default_factory=dict)

    def alive(self, attempt: Attempt) -> bool:
        """Whether the process of `attempt` is at work."""
        if attempt.ended:
            return False
        data = attempt.data
        requeued = slurm_job() and data["slurm_job"] == slurm_job()
        if requeued and data["slurm_restarts"] < slurm_restarts():
            return False  # Slurm runs a job again only after its last run has ended
        if data["machine"] == machine_id():
            return process_start(data["pid"]) == data["process_start"]
        # opened rather than asked for its state: a network file system then asks the server
        with attempt.path.open("rb") as file:
            beat = os.fstat(file.fileno()).st_mtime
        now = time.monotonic()
        last, since = self._seen.get(attempt.path, (None, now))
        if last != beat:
            since = now
            self._seen[attempt.path] = (beat, now)
        return now - since < self.stale_seconds


def take(folder: Path, watch: Watch, dead: int | None = None) -> Attempt | None:
    """Take hold of a job's folder for this process, or None where another one is at work.

    Args:
        dead: number of an attempt that is known to be dead, from a watch that lasted longer.
    """
    last = newest_attempt(folder)
    if last and last.number != dead and watch.alive(last):
        return None
    number = last.number + 1 if last else 1
    data = {
        "host": socket.gethostname(),
        "machine": machine_id(),
        "pid": os.getpid(),
        "process_start": process_start(os.getpid()),
        "slurm_job": slurm_job(),
        "slurm_restarts": slurm_restarts(),
        "started": _now(),
        "ended": None,
        "outcome": None,
    }
    attempt = Attempt(folder / ATTEMPTS_NAME / f"{number}.json", number, data)
    temporary = attempt.path.with_name(f".{uuid.uuid4().hex}.json")
    write_json_atomic(data, temporary)
    try:
        os.link(temporary, attempt.path)
    except FileExistsError:
        # over a network the answer to a successful call may be lost and the call repeated
        if temporary.stat().st_nlink != 2:
            return None
    finally:
        temporary.unlink()
    return attempt


@contextmanager
def held(folder: Path) -> Iterator[Attempt]:
    """Hold a run's folder while this process, or the one that started it for that, is at work.

    Of a process on another machine it may take three minutes to see whether it still lives.

    Raises:
        ValueError: another process is at work there.
    """
    folder = folder.resolve()
    last = newest_attempt(folder)
    given = os.environ.get(ATTEMPT_VARIABLE)
    if given and Path(given).parent.parent == folder:
        if last is None or last.path != Path(given) or last.ended:
            raise _busy(folder, last)
        yield last
        return
    watch = Watch()
    attempt = take(folder, watch)
    if attempt is None and last is not None and last.data["machine"] != machine_id():
        print(f"{folder}: looking whether {last.where} is still at work there", file=sys.stderr)
        attempt = _take_once_dead(folder, watch, last)
    if attempt is None:
        raise _busy(folder, newest_attempt(folder))
    stop = threading.Event()
    beating = threading.Thread(target=_beat, args=(attempt, stop), daemon=True)
    beating.start()
    outcome = "failed"
    try:
        yield attempt
        outcome = "done"
    except KeyboardInterrupt:
        outcome = "stopped"
        raise
    finally:
        stop.set()
        beating.join()
        with suppress(OSError, ValueError):  # on a full disk: a dead process holds nothing either
            attempt.end(outcome)


def _busy(folder: Path, attempt: Attempt | None) -> ValueError:
    who = f"{attempt.where}, since {attempt.data['started']}," if attempt else "another process"
    return ValueError(
        f"{folder}: {who} is at work there; wait for it, or choose another --work-dir (nothing was "
        "changed)"
    )


def _take_once_dead(folder: Path, watch: Watch, last: Attempt) -> Attempt | None:
    """Watch a process of another machine until its file has moved, or has not for long."""
    beat = last.path.stat().st_mtime
    while watch.alive(last):
        time.sleep(1)
        if last.path.stat().st_mtime != beat:
            return None
    return take(folder, watch, last.number)


def _beat(attempt: Attempt, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        if not attempt.beat():
            # suspended, and given up meanwhile: the folder is another's, down to its files
            print(f"{attempt.path}: another process has taken this folder over", file=sys.stderr)
            os._exit(TAKEN_OVER)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
