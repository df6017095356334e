"""What MMEngine's wrappers for distributed training need of everyone."""

import os
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
