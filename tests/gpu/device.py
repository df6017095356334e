"""The one place that says where the tests of this folder run.

On a GPU, unless ``GPU_TESTS_DEVICE=cpu`` rehearses them: the same tests, gloo in place of NCCL.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

DEVICE = os.environ.get("GPU_TESTS_DEVICE", "cuda")
ON_GPU = DEVICE == "cuda"
BACKEND = "nccl" if ON_GPU else "gloo"
PRECISIONS = ("bfloat16", "float16")


def process_count() -> int:
    """Of the tests of several processes: one for each GPU, as NCCL wants it."""
    return torch.cuda.device_count() if ON_GPU else 2


class DrawnOnCPU(TorchDispatchMode):
    """Random numbers of the CPU's generator whichever device asks, so that all get the same."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        draws = torch.Tag.nondeterministic_seeded in operation.tags
        if not draws or "attention" in str(operation):  # whose dropout nothing here uses
            return operation(*args, **kwargs)
        tensors = [value for value in args if isinstance(value, Tensor)]
        device = kwargs.get("device") or (tensors[0].device if tensors else "cpu")
        if "device" in kwargs:
            kwargs["device"] = torch.device("cpu")
        drawn = operation(*tree_map_only(Tensor, lambda tensor: tensor.cpu(), args), **kwargs)
        if operation.__name__.partition(".")[0].endswith("_"):  # in place
            return args[0].copy_(drawn)
        return tree_map_only(Tensor, lambda tensor: tensor.to(device), drawn)


@contextmanager
def sync_debug_mode(mode: str) -> Iterator[list]:
    """Refuse (``"error"``) or list (``"warn"``) what makes the host wait for the GPU."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        if ON_GPU:
            torch.cuda.set_sync_debug_mode(mode)
        try:
            yield found
        finally:
            if ON_GPU:
                torch.cuda.set_sync_debug_mode("default")
    found[:] = [warning for warning in found if "called a synchronizing" in str(warning.message)]


def wait() -> None:
    """Until everything that was given to the device is done."""
    if ON_GPU:
        torch.cuda.synchronize()
