"""Workers that lack something end the run with advice; none of these tests may hang."""

import errno
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
import torch
from mmengine.structures import BaseDataElement
from torch.utils.data import DataLoader, Dataset

from mae_bench.datasets import loader_workers
from mae_bench.datasets.loader_workers import (
    SharedMemory,
    advice,
    check_room,
    guard,
    named_failures,
    tensor_bytes,
)
from mae_bench.files import DiskFull

pytestmark = pytest.mark.faults

# A loader as OpenMMLab's: a list of samples, whose tensors a thread of the worker shares.
LOAD = """
import sys, time, os, signal
from types import SimpleNamespace
import torch
from torch.utils.data import DataLoader
from mae_bench.files import DiskFull
from mae_bench.datasets import loader_workers

class Pictures(torch.utils.data.Dataset):
    def __len__(self):
        return 64
    def __getitem__(self, index):
        if sys.argv[1] == "killed" and index == 40:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.ones(200_000)

if sys.argv[1] == "handles":
    # not to be told before, by the switch to sharing by name
    loader_workers.FEW_HANDLES = 0
loader = loader_workers.guard(
    DataLoader(
        Pictures(), batch_size=8, num_workers=int(sys.argv[2]), collate_fn=lambda batch: batch
    )
)
kept = []
try:
    with loader_workers.named_failures("work"):
        for batch in loader:
            kept.append(batch)
            time.sleep(0.05)
    print("loaded", len(kept))
except ValueError as error:
    print("advice:", error)
"""


# Predictions have a loader of their own.
PREDICT = """
from pathlib import Path
import torch
from mae_bench.evaluation.applied import predict

class Large(torch.nn.Module):
    def forward(self, sample):
        return dict(inputs=torch.ones(800_000), data_samples=None)

class Model(torch.nn.Module):
    def test_step(self, batch):
        return list(batch["inputs"])

images = {str(number): Path("x.png") for number in range(64)}
loader = dict(dataset=dict(pipeline=[dict(type=Large)]))
try:
    print("predicted", len(list(predict(Model(), loader, images, batch_size=8, num_workers=2))))
except ValueError as error:
    print("advice:", error)
"""


def load(
    kind: str, prefix: Sequence[str] = (), handles: int | None = None, workers: int = 2
) -> str:
    def limit():
        if handles:
            resource.setrlimit(resource.RLIMIT_NOFILE, (handles, handles))

    script = PREDICT if kind == "predict" else LOAD
    command = [*prefix, sys.executable, "-W", "ignore", "-c", script, kind, str(workers)]
    ended = subprocess.run(
        command, preexec_fn=limit, capture_output=True, text=True, timeout=600, check=False
    )
    assert "Exception ignored" not in ended.stderr  # what torch says of an unfinished loader
    return ended.stdout


def small(setup: str) -> list[str]:
    """Prefix of a command that runs it with another /dev/shm."""
    return ["unshare", "-m", "sh", "-c", f'{setup} && exec "$@"', "-"]


SMALL = small("mount -t tmpfs -o size=4m tmpfs /dev/shm")
FULL = small(
    "mount -t tmpfs -o size=1m tmpfs /dev/shm && "
    "{ cat /dev/zero > /dev/shm/taken 2> /dev/null; true; }"
)
READ_ONLY = small("mount -t tmpfs -o ro tmpfs /dev/shm")


def can_mount() -> bool:
    command = [*SMALL, "true"]
    return bool(shutil.which("unshare")) and not subprocess.run(command, check=False).returncode


@pytest.mark.skipif(not can_mount(), reason="needs the right to mount")
@pytest.mark.parametrize("kind", ["room", pytest.param("predict", marks=pytest.mark.slow)])
def test_too_little_shared_memory(kind):
    output = load(kind, prefix=SMALL)
    advice = "advice: the data loader's workers have too little shared memory: /dev/shm has 4 MiB"
    assert advice in output and "--shm-size" in output


@pytest.mark.skipif(not can_mount(), reason="needs the right to mount")
@pytest.mark.parametrize(
    ("prefix", "reason"),
    [(FULL, "No space left on device"), (READ_ONLY, "Read-only file system")],
    ids=["full", "read-only"],
)
def test_shared_memory_that_has_no_room_for_a_lock(prefix, reason):
    output = load("room", prefix=prefix)
    assert f"advice: the data loader's workers get no locks ({reason}): /dev/shm has" in output


def test_no_process_for_a_worker(monkeypatch):
    def refuse():
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", refuse)
    advice = "gets no process \\(Resource temporarily unavailable\\): raise the limit .ulimit -u"
    with pytest.raises(ValueError, match=advice), named_failures("work"):
        list(guard(DataLoader([1], num_workers=1, multiprocessing_context="fork")))


def test_a_second_worker_that_ends_while_the_first_is_looked_at(monkeypatch):
    died = "DataLoader worker (pid 5) exited unexpectedly with exit code 71. Details are lost"
    looks = []

    def look(words):
        looks.append(words)
        if len(looks) == 1:
            raise RuntimeError(died)  # by PyTorch's handler of SIGCHLD
        return advice(words)

    monkeypatch.setattr(loader_workers, "advice", look)
    with (
        pytest.raises(ValueError, match="too little shared memory"),
        loader_workers.named_failures("work"),
    ):
        raise RuntimeError("DataLoader worker (pid(s) 4) exited unexpectedly")
    assert len(looks) == 2


@pytest.mark.parametrize(("handles", "workers"), [(40, 2), (60, 2), (40, 8)])
def test_too_few_handles(handles, workers):
    output = load("handles", handles=handles, workers=workers)
    assert f"advice: the data loader's workers have too few file handles ({handles})" in output


def test_few_handles_are_enough_where_tensors_are_shared_by_name():
    assert "loaded 8" in load("room", handles=100)


def test_a_worker_that_is_killed():
    assert "advice: a data loader's worker was killed, most likely because" in load("killed")


class Sleepy(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        time.sleep(600 if index == 3 else 0)
        return index


def test_a_batch_that_never_comes():
    loader = guard(DataLoader(Sleepy(), batch_size=1, num_workers=1, timeout=2))
    start = time.monotonic()
    with (
        pytest.raises(ValueError, match="gave no batch in 2 s: a file system that does not answer"),
        named_failures("work"),
    ):
        list(loader)
    assert time.monotonic() - start < 60


def test_a_loader_has_a_time_limit_where_it_has_workers():
    assert guard(DataLoader([1], num_workers=1)).timeout == loader_workers.BATCH_SECONDS
    assert guard(DataLoader([1], num_workers=0)).timeout == 0


def test_what_the_worker_began_with_before_it_still_begins_with():
    begun = []
    loader = guard(DataLoader([1], num_workers=1, worker_init_fn=begun.append))
    from multiprocessing.queues import Queue

    before = Queue._on_queue_feeder_error
    try:
        loader.worker_init_fn(7)
    finally:
        Queue._on_queue_feeder_error = before
    assert begun == [7]


def test_other_errors_stay_what_they_are():
    assert advice("CUDA out of memory") is None
    with pytest.raises(RuntimeError, match="CUDA"), named_failures("work"):
        raise RuntimeError("CUDA out of memory")
    assert "could not hand over a batch" in advice(
        "DataLoader worker (pid 5) exited unexpectedly with exit code 73. Details are lost"
    )


def test_a_full_disk_names_the_folder_where_the_error_does_not():
    with pytest.raises(DiskFull, match="^work: the disk is full"), named_failures("work"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(DiskFull, match="^a/b.json: the disk is full"), named_failures("work"):
        raise OSError(errno.ENOSPC, "No space left on device", "a/b.json")


def test_bytes_of_a_batch_by_hand():
    sample = BaseDataElement(metainfo=dict(a=1), gt=torch.ones(3, dtype=torch.int64))
    inputs = [torch.ones(2, 5), torch.ones(4, dtype=torch.uint8)]
    batch = {"inputs": inputs, "data_samples": [sample]}
    assert tensor_bytes(batch) == 40 + 4 + 24
    assert tensor_bytes("text") == tensor_bytes(None) == 0


def test_room_is_compared_before_it_runs_out(monkeypatch):
    loader = SimpleNamespace(num_workers=4, prefetch_factor=3)
    batch = torch.ones(2**18)  # 1 MiB
    room = SharedMemory(12 * 2**20, 5 * 2**19)
    monkeypatch.setattr(loader_workers, "shared_memory", lambda: room)
    check_room(loader, batch)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(
        ValueError, match="24 batches .* take up to 24 MiB .*/dev/shm has 12 MiB, of which 2.5 are"
    ):
        check_room(loader, batch)
    loader.num_workers = 0
    check_room(loader, batch)


def test_shared_memory_is_that_of_the_system(monkeypatch):
    if os.path.isdir("/dev/shm"):
        assert loader_workers.shared_memory().total == shutil.disk_usage("/dev/shm").total
    monkeypatch.setattr(loader_workers, "SHARED_MEMORY", "/nowhere")
    assert loader_workers.shared_memory() == (sys.maxsize, sys.maxsize)
