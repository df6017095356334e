"""What a config builds: layers, first weights, parameter groups, learning rates."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS
from torch import nn

from ..models.dvae import DVAETarget
from .first_weights import Start, build_and_start


@dataclass(frozen=True)
class Run:
    """How long a recipe runs.

    Args:
        images: of an epoch; 0 where the length is one of iterations.
        batch: of all processes, accumulation included.
    """

    images: int
    batch: int

    @property
    def epoch_length(self) -> int:
        """Iterations of an epoch; the last, smaller batch is left out."""
        return self.images // self.batch


def build(cfg: Config) -> tuple[nn.Module, dict[str, Start]]:
    """The model on the meta device, and what each parameter starts from without a checkpoint."""

    def make() -> nn.Module:
        model = MODELS.build(cfg.model)
        if isinstance(getattr(model, "target", None), DVAETarget):
            model.target.__dict__["init_weights"] = lambda: None  # it would read the tokenizer
        return model

    return build_and_start(make)


def kind_of(name: str) -> str:
    """Name without the numbers of its blocks and levels."""
    return re.sub(r"\.\d+(?=\.|$)", ".*", name)


def _grouped(rows: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], int]:
    counts: dict[tuple[str, ...], int] = {}
    for row in rows:
        counts[row] = counts.get(row, 0) + 1
    return counts


def layers(model: nn.Module) -> Iterator[tuple[str, str, int]]:
    """(name, layer, count) of each kind of leaf module, in order.

    Layers of one class that differ from block to block, as in their drop path, are one row.
    """
    leaves = (
        (kind_of(name), repr(module).replace("\n", " "))
        for name, module in model.named_modules()
        if name and not list(module.children()) and not isinstance(module, nn.ModuleList)
    )
    by_class: dict[tuple[str, str], dict[str, int]] = {}
    for (name, text), count in _grouped(leaves).items():
        by_class.setdefault((name, text.partition("(")[0]), {})[text] = count
    for (name, _), variants in by_class.items():
        first, *rest = variants
        text = f"{first} to {rest[-1]}" if rest else first
        yield name, text, sum(variants.values())


def parameters(
    model: nn.Module, starts: dict[str, Start]
) -> Iterator[tuple[str, str, str, str, int]]:
    """(name, shape, first weights, "" or "frozen", count) of each kind of parameter, in order."""
    rows = (
        (
            kind_of(name),
            " x ".join(map(str, parameter.shape)),
            str(starts[name]),
            "" if parameter.requires_grad else "frozen",
        )
        for name, parameter in model.named_parameters()
    )
    for row, count in _grouped(rows).items():
        yield (*row, count)  # type: ignore[misc]


def groups(cfg: Config, model: nn.Module) -> Iterator[tuple[float, float, int, int]]:
    """(lr over the peak, weight decay, tensors, values) of each group of the optimizer."""
    for group in optim_wrapper(cfg, model).optimizer.param_groups:
        sizes = [parameter.numel() for parameter in group["params"]]
        yield group["lr_scale"], group["weight_decay"], len(sizes), sum(sizes)


def optim_wrapper(cfg: Config, model: nn.Module) -> OptimWrapper:
    """The optimizer of a config; the model may be on the meta device."""
    options = ConfigDict(cfg.optim_wrapper)
    options.optimizer = ConfigDict(options.optimizer)
    options.optimizer.pop("fused", None)  # needs a real device
    return build_optim_wrapper(model, options)


def peak_rate(cfg: Config, run: Run) -> float:
    """The config's rate, scaled to the batch where the config says so."""
    scaling = cfg.get("auto_scale_lr") or {}
    scale = run.batch / scaling["base_batch_size"] if scaling.get("enable") else 1.0
    return cfg.optim_wrapper.optimizer.lr * scale


def rates(cfg: Config, run: Run) -> list[tuple[int, float]]:
    """(iteration, share of the peak) at ten iterations: five of the warm-up, five after it."""
    epochs = cfg.train_cfg.get("max_epochs")
    length = epochs * run.epoch_length if epochs else cfg.train_cfg.max_iters
    warm = _warmup(cfg, run)
    wanted = {0, 1, warm // 2, warm - 1, warm}
    wanted |= {warm + (length - 1 - warm) * i // 5 for i in range(1, 6)}
    share = _shares(cfg, run, epochs or length, max(wanted))
    return [(step, share(step)) for step in sorted(step for step in wanted if step >= 0)]


def _warmup(cfg: Config, run: Run) -> int:
    for scheduler in cfg.param_scheduler:
        length = scheduler.get("warmup", scheduler.get("end") if "start_factor" in scheduler else 0)
        if length:
            return round(length * (run.epoch_length if scheduler.get("by_epoch", True) else 1))
    return 0


def _shares(cfg: Config, run: Run, end: int, last: int) -> Callable[[int], float]:
    """Share of the peak as a function of the iteration, up to ``last``."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    wrapper = OptimWrapper(optimizer)
    built = []
    for options in cfg.param_scheduler:
        options = ConfigDict(options)
        if "min_lr" in options:
            options.min_lr /= peak_rate(cfg, run)  # of a peak of 1
        defaults: dict[str, Any] = dict(optimizer=wrapper, end=end)
        if options.get("convert_to_iter_based"):
            defaults["epoch_length"] = run.epoch_length
        built.append(PARAM_SCHEDULERS.build(options, default_args=defaults))
    if len(built) == 1 and hasattr(built[0], "factor"):
        return built[0].factor
    shares = [optimizer.param_groups[0]["lr"]]
    for _ in range(last):
        for scheduler in built:
            scheduler.step()
        shares.append(optimizer.param_groups[0]["lr"])
    return shares.__getitem__
