"""Learning rate and weight decay of a whole run, by the config's own optimizer and schedulers."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS
from torch import nn

from .built import Run, optim_wrapper, peak_rate

POINTS = 400  # evenly spread over the run, besides the extremes


@dataclass(frozen=True)
class RateCurve:
    """Values by iteration.

    Attributes:
        iterations: (n,), from 0, in order.
        highest: (n,) rate of the parameter group of the highest one, that of the head.
        lowest: (n,) rate of the group of the lowest one: with layer decay that of the embeddings.
        decay: (n,) largest weight decay of any group.
        length: iterations in all.
    """

    iterations: np.ndarray
    highest: np.ndarray
    lowest: np.ndarray
    decay: np.ndarray
    length: int


def rate_curve(cfg: Config, model: nn.Module, batch: int, epoch_length: int) -> RateCurve:
    """Step the schedulers through all iterations of a run, without data or gradients.

    Args:
        cfg: with ``optim_wrapper`` and ``train_cfg``.
        model: built from it.
        batch: samples of an optimizer step, by which the rate may be scaled.
        epoch_length: optimizer steps of an epoch.
    """
    epochs = cfg.train_cfg.get("max_epochs")
    length = epochs * epoch_length if epochs else cfg.train_cfg.max_iters
    wrapper = optim_wrapper(cfg, model)
    scale = peak_rate(cfg, Run(0, batch)) / cfg.optim_wrapper.optimizer.lr
    groups = wrapper.optimizer.param_groups
    for group in groups:
        group["lr"] *= scale
    ends = (
        min(groups, key=lambda group: group["lr"]),
        max(groups, key=lambda group: group["lr"]),
        max(groups, key=lambda group: group["weight_decay"]),
    )
    # the others would take time and are between them
    groups[:] = list({id(group): group for group in ends}.values())
    values = np.array(list(_values(cfg, wrapper, ends, length, epochs, epoch_length)))
    chosen = {*np.linspace(0, length - 1, POINTS).round().astype(int).tolist()}
    chosen |= {int(find(column)) for column in values.T for find in (np.argmin, np.argmax)}
    steps = np.array(sorted(chosen))
    lowest, highest, decay = values[steps].T
    return RateCurve(steps, highest, lowest, decay, length)


def _values(
    cfg: Config,
    wrapper: OptimWrapper,
    groups: tuple[dict[str, Any], ...],
    length: int,
    epochs: int | None,
    epoch_length: int,
) -> Iterator[tuple[float, float, float]]:
    """Lowest and highest rate and the largest weight decay of each iteration."""
    lowest, highest, decayed = groups
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the optimizer takes no steps
        schedulers = []
        for options in cfg.get("param_scheduler") or []:
            by_epoch = options.get("by_epoch", True)
            end = epochs if by_epoch and epochs else length
            schedulers.append(
                PARAM_SCHEDULERS.build(
                    {"end": end, **options},
                    default_args=dict(optimizer=wrapper, epoch_length=epoch_length),
                )
            )
        for step in range(1, length + 1):
            yield lowest["lr"], highest["lr"], decayed["weight_decay"]
            for scheduler in schedulers:
                if not scheduler.by_epoch or (epochs and step % epoch_length == 0):
                    scheduler.step()
