"""Which process this is: known by more than its number, which others get again."""

import os
import socket
from pathlib import Path


def machine_id() -> str:
    """What process numbers are unique in: one boot of one machine, or one container of it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # no Linux
        return socket.gethostname()


def process_start(pid: int) -> str | None:
    """When a process of this machine started, so that its number is not mistaken for another's.

    None if there is no such process; ``"unknown"`` where the system does not say.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return "unknown"
    # the name, in parentheses, may hold anything; field 3 is the state and 22 the start in ticks
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def slurm_job() -> str | None:
    """Id of the Slurm job that this process is part of, ``"12"`` or ``"12_3"`` in an array."""
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID")


def slurm_restarts() -> int:
    """How often Slurm has requeued the job that this process is part of."""
    return int(os.environ.get("SLURM_RESTART_COUNT", 0))
