"""Worker processes of data loaders that end with a reason where they would wait for ever.

A worker hands its batches to a thread that puts their tensors into shared memory. PyTorch prints
what goes wrong there and goes on without that batch, for which the run then waits.
"""

import multiprocessing.popen_fork
import multiprocessing.queues
import multiprocessing.synchronize
import os
import re
import resource
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.structures import BaseDataElement
from torch.utils.data import DataLoader
from torch.utils.data._utils import signal_handling
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from ..files import DISK_FULL_ERRORS, DiskFull

BATCH_SECONDS = 600.0  # to wait for a batch
SHARED_MEMORY = Path("/dev/shm")
FEW_HANDLES = 4096  # below this a tensor is shared by a name, not by a handle that stays open
MIB = 2**20
NO_ROOM_WORDS = r"Bus error|shared memory\(shm\)|out of shared memory"
# Exit codes of a worker that cannot hand a batch over.
NO_ROOM, NO_HANDLES, NOT_SENT = 71, 72, 73


def guard(loader: DataLoader) -> DataLoader:
    """Let a loader fail where it would hang: a batch has a time limit, and must reach the run.

    Args:
        loader: changed; a ``timeout`` of its own is kept.

    Returns:
        the same loader.
    """
    if loader.num_workers:
        loader.timeout = loader.timeout or BATCH_SECONDS
        loader.worker_init_fn = partial(_begin, then=loader.worker_init_fn)
        if raise_handle_limit() < FEW_HANDLES:
            torch.multiprocessing.set_sharing_strategy("file_system")
    return loader


def raise_handle_limit() -> int:
    """Allow this process as many open files as the system lets it have; how many those are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):  # macOS says there is no limit, and has one
            return soft
    return hard if hard != resource.RLIM_INFINITY else sys.maxsize


def _begin(worker: int, then: Callable[[int], None] | None) -> None:
    """First act of a worker."""
    queue: Any = multiprocessing.queues.Queue
    queue._on_queue_feeder_error = staticmethod(_end)
    if then is not None:
        then(worker)


def _end(error: BaseException, batch: object) -> None:
    """End a worker that cannot hand over a batch; its exit code says why."""
    print(f"data loader worker: {error}", file=sys.stderr, flush=True)
    code = NOT_SENT
    if re.search(f"No space left|{NO_ROOM_WORDS}", str(error)):
        code = NO_ROOM
    if "Too many open files" in str(error) or "ancdata" in str(error):
        code = NO_HANDLES
    os._exit(code)


@contextmanager
def named_failures(work_dir: str | None = None) -> Iterator[None]:
    """Say what to do about a failure of the workers, or of a file that MMEngine writes.

    Args:
        work_dir: folder that MMEngine writes to.

    Raises:
        ValueError: workers lack memory or handles, were killed, or do not answer.
        DiskFull: no room in ``work_dir``.
    """
    try:
        try:
            yield
        except (RuntimeError, OSError) as error:
            _name(error, work_dir)
            raise
    except (RuntimeError, OSError) as error:
        # also one of another worker, raised by a signal while the first was looked at
        _name(error, work_dir)
        raise


def _name(error: RuntimeError | OSError, work_dir: str | None) -> None:
    """Raise what says what to do about an error, where that is known."""
    # the exit code of a worker is in the error that this one was raised from
    words: list[str] = []
    reason: BaseException | None = error
    while reason is not None:
        words.append(str(reason))
        reason = reason.__cause__ or reason.__context__
    text = advice(" ".join(words))
    if isinstance(error, OSError):
        text = text or _not_started(error)
        where = error.filename or work_dir
        if text is None and where and error.errno in DISK_FULL_ERRORS:
            raise DiskFull.at(where, "a log or a file of MMEngine") from error
    if text:
        _give_up(error)
        raise ValueError(text) from error


def _give_up(error: BaseException) -> None:
    """End the workers of a loader that could not start all of them, which would complain at its
    own end; and let the death of others raise no more errors, in whatever is done meanwhile.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        iterator = frame.f_locals.get("self")
        if isinstance(iterator, _MultiProcessingDataLoaderIter) and not hasattr(
            iterator, "_workers_status"
        ):
            for worker in getattr(iterator, "_workers", []):
                worker.terminate()
            iterator._shutdown = True
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal_handling._SIGCHLD_handler_set = False  # the next loader sets it again


def _not_started(error: OSError) -> str | None:
    """What to do where the system refuses the workers' locks or one of their processes."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    if multiprocessing.synchronize.__file__ in files:
        return f"the data loader's workers get no locks ({error.strerror}): {_more_room()}"
    if multiprocessing.popen_fork.__file__ in files:
        return (
            f"a data loader's worker gets no process ({error.strerror}): raise the limit (ulimit "
            "-u, docker run --pids-limit), or set fewer num_workers"
        )
    return None


def advice(error: str) -> str | None:
    """What to do about an error of the workers; None for any other error."""
    code = re.search(r"DataLoader worker .*exit code (\d+)", error)
    number = int(code[1]) if code else None
    if number == NO_ROOM or re.search(NO_ROOM_WORDS, error):
        return f"the data loader's workers have too little shared memory: {_more_room()}"
    if number == NO_HANDLES or "Too many open files" in error or "ancdata" in error:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        return (
            f"the data loader's workers have too few file handles ({limit}): raise the limit "
            "(ulimit -n, docker run --ulimit nofile=65536), or set fewer num_workers"
        )
    if number == NOT_SENT:
        return "a data loader's worker could not hand over a batch; its own words are above"
    if "DataLoader worker" in error and "Killed" in error:
        return (
            "a data loader's worker was killed, most likely because the machine has no memory "
            "left: set fewer num_workers, or a smaller prefetch_factor"
        )
    if timeout := re.search(r"DataLoader timed out after ([\d.]+) seconds", error):
        return (
            f"the data loader's workers gave no batch in {float(timeout[1]):.0f} s: a file system "
            "that does not answer, or a worker that hangs; num_workers=0 shows where, and "
            "train_dataloader.timeout=SECONDS waits longer"
        )
    return None


def _more_room() -> str:
    return (
        f"{SHARED_MEMORY} has {shared_memory().total / MIB:.4g} MiB, of which "
        f"{shared_memory().free / MIB:.4g} are free. Give the container more (docker run "
        "--shm-size=8g or --ipc=host; Kubernetes: an emptyDir with medium Memory there), or set "
        "fewer num_workers or prefetch_factor=1"
    )


class SharedMemory(NamedTuple):
    """Bytes of shared memory: all, and those that nobody has taken."""

    total: int
    free: int


def shared_memory() -> SharedMemory:
    """Size of the shared memory; without a limit where the system has no such folder."""
    try:
        found = shutil.disk_usage(SHARED_MEMORY)
    except OSError:
        return SharedMemory(sys.maxsize, sys.maxsize)
    return SharedMemory(found.total, found.free)


def check_room(loader: DataLoader, batch: Any) -> None:
    """Compare what the workers may have ready at once with the shared memory.

    Args:
        loader: that the batch is from.
        batch: of the size that others are too.

    Raises:
        ValueError: too little of it.
    """
    if not loader.num_workers:
        return
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    batches = here * loader.num_workers * (loader.prefetch_factor or 1)
    needed = batches * tensor_bytes(batch)
    if needed > shared_memory().total:
        raise ValueError(
            f"{batches} batches that the data loader's workers may have ready take up to "
            f"{-(-needed // MIB)} MiB of shared memory: {_more_room()}"
        )


def tensor_bytes(value: Any) -> int:
    """Bytes of all tensors in a batch, however it is nested; other things are sent by a pipe."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, BaseDataElement):
        value = dict(value.all_items())
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return sum(map(tensor_bytes, value))
    return 0
