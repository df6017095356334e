"""The run card: what a run really uses, printed before it starts and kept in its record."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.runner import Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from ...config.keys import BATCH_KEY
from ...distributed import unwrap
from ...registry import HOOKS
from ..bfloat16 import Bfloat16OptimWrapper
from ..step_batch import StepBatch


def _cpu_attention_flops(query, key, value, *args, out_shape=None, **kwargs) -> int:
    """Operations of the fused attention kernel for CPUs, from the shapes of its inputs."""
    return sdpa_flop_count(query, key, value)


def _cpu_attention_backward_flops(grad, query, key, value, *args, out_shape=None, **kwargs) -> int:
    """The same of its backward pass."""
    return sdpa_backward_flop_count(grad, query, key, value)


# PyTorch counts its kernels for GPUs, but not these.
CPU_KERNELS: dict[Any, Callable[..., int]] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _cpu_attention_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        _cpu_attention_backward_flops
    ),
}


def loaded_from(model: nn.Module) -> dict[str, str]:
    """What became of the tensors of the model's checkpoint, in words; empty without one."""
    report = getattr(getattr(model, "backbone", None), "loading_report", None)
    return {} if report is None else {"checkpoint": report.summary()}


def precision_in_use(optim_wrapper: OptimWrapper) -> str:
    """Number format of the forward pass, from the wrapper that will run it."""
    if isinstance(optim_wrapper, Bfloat16OptimWrapper):
        return "mixed bfloat16"
    if not isinstance(optim_wrapper, AmpOptimWrapper):
        return "float32"
    return _mixed(optim_wrapper.cast_dtype)


def _mixed(dtype: torch.dtype | None = None) -> str:
    """Name of mixed precision; that of autocast where no format is given."""
    dtype = dtype or torch.get_autocast_dtype("cuda" if torch.cuda.is_available() else "cpu")
    return f"mixed {str(dtype).removeprefix('torch.')}"


def batch_size(loader: DataLoader) -> int:
    """Samples of a batch in one process, also of a batch sampler; 0 where nothing says it."""
    if loader.batch_size is not None:
        return loader.batch_size
    return getattr(loader.batch_sampler, "batch_size", 0)


def _norm_samples(runner: Runner, model: nn.Module) -> dict[str, int]:
    """Samples that BatchNorm sees, and as many as in the recipe where that states its batch.

    Warns where they are fewer: norms take no part in accumulation.
    """
    batch: StepBatch | None = getattr(runner, "step_batch", None)
    if batch is None or not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return {}
    stated = runner.cfg.get(BATCH_KEY)
    synchronised = bool(runner.cfg.get("sync_bn"))
    seen = batch.size * (batch.processes if synchronised else 1)
    if not stated:
        return {"norm_samples": seen}
    recipe = stated if synchronised else runner.cfg.train_dataloader.batch_size
    if seen < recipe:
        runner.logger.warning(
            f"BatchNorm sees {seen} samples of each batch, and {recipe} in the recipe; more GPUs, "
            "or a larger train_dataloader.batch_size, bring them nearer"
        )
    return {"norm_samples": seen, "recipe_norm_samples": recipe}


@torch.no_grad()
def count_forward_flops(
    model: BaseModel, data_batch: dict[str, Any], padded: bool = False
) -> float:
    """Floating-point operations of a forward pass on one image, a multiply-add counting as two.

    The model is put back as it was and the random state is kept, so counting changes no result.

    Args:
        model: an MMEngine model that takes ``mode="tensor"``.
        data_batch: a batch from the training loader, or the test loader.
        padded: pad the image as in training, where the model does so.

    Returns:
        operations per image, without those of heads that need labels.
    """
    training = model.training
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices):
        model.eval()
        # One image, so that images of several sizes need not be padded to one.
        # And a copy: preprocessors write into the samples, one-hot labels for instance.
        data_batch = deepcopy({key: value[:1] for key, value in data_batch.items()})
        # Batch augmentations such as mixup need more than one image.
        augments = getattr(model.data_preprocessor, "batch_augments", None)
        data = model.data_preprocessor(data_batch, padded and not augments)
        with FlopCounterMode(display=False, custom_mapping=CPU_KERNELS) as counter:
            model(data["inputs"], data.get("data_samples"), mode="tensor")
    model.train(training)
    return float(counter.get_total_flops())


@HOOKS.register_module()
class RunCard(Hook):
    """Log effective batch, peak lr, precision, parameters and FLOPs, and keep them for the record.

    The card is ``runner.run_card``, a flat dict of JSON values.
    """

    def before_train(self, runner: Runner) -> None:
        """Everything that is known before the first batch."""
        model = unwrap(runner.model)
        wrapper = runner.optim_wrapper
        accumulation = getattr(wrapper, "_accumulative_counts", 1)
        groups = wrapper.optimizer.param_groups
        parameters = list(model.parameters())
        runner.run_card = {
            "model": type(model).__name__.removeprefix("FSDP"),  # PyTorch's of a sharded one
            "effective_batch": batch_size(runner.train_dataloader)
            * runner.world_size
            * accumulation,
            "processes": runner.world_size,
            "accumulation": accumulation,
            "peak_lr": max(group.get("initial_lr", group["lr"]) for group in groups),
            "precision": precision_in_use(wrapper),
            "threads": torch.get_num_threads(),
            "optimizer": type(wrapper.optimizer).__name__,
            "parameters": sum(p.numel() for p in parameters),
            "trainable_parameters": sum(p.numel() for p in parameters if p.requires_grad),
            "iterations": runner.max_iters,
            "training_samples": len(runner.train_dataloader.dataset),
            **_norm_samples(runner, model),
            **loaded_from(model),
        }
        self.counted = False

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Count operations on the first batch, then print the card."""
        if self.counted:
            return
        self.counted = True
        self._count(runner, data_batch, padded=True)
        self._print(runner)

    def before_test(self, runner: Runner) -> None:
        """Everything that is known before the first batch of a test."""
        model = unwrap(runner.model)
        parameters = list(model.parameters())
        mixed = getattr(runner.test_loop, "fp16", False)
        runner.run_card = {
            "model": type(model).__name__,
            "effective_batch": batch_size(runner.test_dataloader) * runner.world_size,
            "processes": runner.world_size,
            "precision": _mixed() if mixed else str(parameters[0].dtype).removeprefix("torch."),
            "parameters": sum(p.numel() for p in parameters),
            **loaded_from(model),
        }
        self.counted = False

    def before_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Count operations on the first batch, then print the card."""
        if self.counted:
            return
        self.counted = True
        self._count(runner, data_batch)
        self._print(runner)

    def _count(self, runner: Runner, data_batch: Any, padded: bool = False) -> None:
        try:
            flops = count_forward_flops(unwrap(runner.model), data_batch, padded)
            runner.run_card["forward_gflops_per_image"] = round(flops / 1e9, 6)
        except Exception as error:
            # Such as images that a sliding window cuts to what fits, or a model or batch of one's
            # own: what is only counted must not end a run.
            runner.logger.warning(f"operations of the forward pass not counted: {error}")

    def _print(self, runner: Runner) -> None:
        lines = [f"  {key.replace('_', ' ')}: {value}" for key, value in runner.run_card.items()]
        runner.logger.info("run card\n" + "\n".join(lines))
