"""Several processes, by DDP and by FSDP, take the steps of one; with one GPU there is one process.

By NCCL on GPUs.
"""

import pytest

from ..training.test_data_parallel import run_steps
from .device import BACKEND, DEVICE, process_count

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("wrapper", ["ddp", "fsdp"])
def test_processes_take_the_steps_of_one(wrapper, tmp_path, record_property):
    processes = process_count()
    record_property("processes", processes)
    record_property("backend", BACKEND)
    if processes == 1:
        print("one GPU, so one process: what several exchange was not tested")
    assert run_steps(tmp_path, processes, wrapper, DEVICE) == {}
