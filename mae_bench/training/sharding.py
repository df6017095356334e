"""Fully sharded data parallel: each process keeps its part of weights, gradients and moments.

By PyTorch's ``fully_shard``. States are whole where they are saved and loaded, so checkpoints do
not show how a run was distributed.
"""

from collections.abc import Iterable
from itertools import chain
from typing import Any

from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.utils import apply_to
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer


def is_sharded(value: Any) -> bool:
    """Whether a tensor is one process's piece of a whole."""
    return isinstance(value, DTensor)


def _gather(tensor: DTensor) -> Tensor:
    """Whole on the CPU of the main process; the others take part, and keep their piece."""
    whole = tensor.full_tensor()
    return whole.cpu() if is_main_process() else tensor


def _shard_like(tensor: Tensor, parameter: Any) -> Tensor:
    """This process's piece of a whole tensor, cut as the parameter is."""
    if not is_sharded(parameter) or is_sharded(tensor) or tensor.shape != parameter.shape:
        return tensor
    # No data of other processes: each has read the same file.
    return distribute_tensor(
        tensor, parameter.device_mesh, parameter.placements, src_data_rank=None
    )


def shard_model(model: nn.Module) -> nn.Module:
    """Shard a model in place, each Transformer block and the rest by themselves.

    Afterwards ``state_dict`` gives whole tensors to the main process, and all processes have to
    call it; ``load_state_dict`` takes whole tensors.

    Args:
        model: with the same weights in all processes. On the CPU, it is moved to the device block
            by block, and no device ever holds it as a whole.
    """
    for module in list(model.modules()):
        for block in _blocks(module):
            fully_shard(block)
    fully_shard(model)
    model.to(get_device())  # where MMEngine's preprocessor moves the images
    model.register_state_dict_post_hook(_gather_model)
    model.register_load_state_dict_pre_hook(_shard_loaded_model)
    return model


def _blocks(module: nn.Module) -> Iterable[nn.Module]:
    blocks = getattr(module, "blocks", ())
    return blocks if isinstance(blocks, (nn.ModuleList, nn.Sequential)) else ()


def _gather_model(
    module: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any]
) -> None:
    for name, value in state.items():
        if is_sharded(value):
            state[name] = _gather(value)


def _shard_loaded_model(module: nn.Module, state: dict[str, Any], *args: Any) -> None:
    for name, parameter in module.named_parameters():
        if name in state:
            state[name] = _shard_like(state[name], parameter)


def keep_states_whole(optimizer: Optimizer) -> None:
    """Make the states of a sharded model's optimizer whole, as those of :func:`shard_model`."""
    optimizer.register_state_dict_post_hook(_gather_optimizer)
    optimizer.register_load_state_dict_pre_hook(_shard_loaded_optimizer)


def _gather_optimizer(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    return apply_to(state, is_sharded, _gather)


def _shard_loaded_optimizer(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """PyTorch numbers parameters in the order of their groups."""
    numbers = chain.from_iterable(group["params"] for group in state["param_groups"])
    parameters = chain.from_iterable(group["params"] for group in optimizer.param_groups)
    by_number = dict(zip(numbers, parameters, strict=True))
    moments = {
        number: {name: _shard_like(value, by_number[number]) for name, value in values.items()}
        for number, values in state["state"].items()
    }
    return {**state, "state": moments}


class GatherToValidate(Hook):
    """Gather a sharded model's weights once for a validation, not for each forward pass.

    Processes may then run blocks any number of times, as with sliding windows.
    """

    def before_val(self, runner: Runner) -> None:
        """Keep what the first forward pass gathers."""
        self._drop_after_forward(runner, False)

    def after_val(self, runner: Runner) -> None:
        """Keep the own piece only."""
        self._drop_after_forward(runner, True)

    def _drop_after_forward(self, runner: Runner, drop: bool) -> None:
        for module in runner.model.modules():
            if isinstance(module, FSDPModule):
                # The rest outside of the blocks is needed again as soon as backward begins.
                module.set_reshard_after_forward(drop and module is not runner.model, recurse=False)
                module.reshard()
