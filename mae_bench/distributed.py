"""What MMEngine's wrappers for distributed training need of everyone."""

import os
import subprocess
from collections.abc import Callable
from typing import Any, TypeVar

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.model import is_model_wrapper
from torch import nn

T = TypeVar("T")
RANK_VARIABLES = {"pytorch": "RANK", "slurm": "SLURM_PROCID", "mpi": "OMPI_COMM_WORLD_RANK"}


def unwrap(model: nn.Module) -> Any:
    """The model inside a distributed wrapper, or the model itself."""
    return model.get_submodule("module") if is_model_wrapper(model) else model


def starts_first(launcher: str) -> bool:
    """Whether this process will be the main one, before MMEngine has asked.

    Without a launcher it is the only one, wherever it was started.
    """
    return os.environ.get(RANK_VARIABLES.get(launcher, ""), "0") == "0"


def name_slurm_task() -> None:
    """Say in PyTorch's variables which of the processes that ``srun`` has started this one is."""
    for name, own in (("RANK", "PROCID"), ("LOCAL_RANK", "LOCALID"), ("WORLD_SIZE", "NTASKS")):
        os.environ[name] = os.environ[f"SLURM_{own}"]
    os.environ.setdefault("MASTER_PORT", "29500")
    if "MASTER_ADDR" not in os.environ:
        command = ["scontrol", "show", "hostnames", os.environ["SLURM_NODELIST"]]
        os.environ["MASTER_ADDR"] = subprocess.check_output(command, text=True).split()[0]


def same_everywhere(find: Callable[[], T]) -> T:
    """What the main process finds, in all processes.

    Raises:
        ValueError: it raised one there; here too, so that no process waits for the others.
    """
    found: list[Any] = [None, None]
    if is_main_process():
        try:
            found[0] = find()
        except ValueError as error:
            found[1] = str(error)
    broadcast_object_list(found)
    if found[1] is not None:
        raise ValueError(found[1])
    return found[0]
