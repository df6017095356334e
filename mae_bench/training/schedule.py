"""Learning-rate schedules in closed form: MAE's own, and that of BEiT's segmentation code."""

import math
from typing import Any

from mmengine.optim import _ParamScheduler

from ..registry import PARAM_SCHEDULERS


def warmup_cosine_factor(step: int, warmup: float, total: float, min_ratio: float = 0.0) -> float:
    """Share of the peak learning rate at an iteration.

    Args:
        step: iteration, from 0.
        warmup: iterations of linear warm-up; the first has exactly 0.
        total: iterations in all.
        min_ratio: share at the end of the half cosine.

    Source: MAE Tables 8-11 (cosine, warm-up epochs); closed form per iteration from the official
    code.
    """
    if step < warmup:
        return step / warmup
    progress = min(1.0, (step - warmup) / (total - warmup))
    return min_ratio + (1 - min_ratio) * 0.5 * (1 + math.cos(math.pi * progress))


def warmup_linear_factor(step: int, warmup: float, total: float, start: float) -> float:
    """Share of the peak learning rate at an iteration of a linear decay to 0.

    The decay runs from the first iteration on, and the warm-up multiplies it.

    Args:
        step: iteration, from 0.
        warmup: iterations of linear warm-up.
        total: iterations in all.
        start: share of the decayed rate in the first iteration.

    Source: BEiT's and implus/mae_segmentation's ADE20K configs (``policy="poly"`` of power 1,
    ``warmup="linear"``), as mmcv 1 computes them.
    """
    warm = min(1.0, step / warmup) if warmup else 1.0
    return max(0.0, 1 - step / total) * (1 - (1 - warm) * (1 - start))


class _ClosedFormLR(_ParamScheduler):
    """A rate that is a function of the iteration: :meth:`factor` times each group's own peak."""

    def __init__(
        self,
        optimizer: Any,
        warmup: float,
        end: float | None = None,
        by_epoch: bool = True,
        **kwargs: Any,
    ) -> None:
        if end is None:
            raise ValueError(f"{type(self).__name__} needs 'end' where no run gives it one")
        if not 0 <= warmup < end:
            raise ValueError(f"warmup={warmup} must be at least 0 and less than end={end}")
        self.warmup, self.total = warmup, end
        # The end is not handed on: the last value holds after it.
        super().__init__(optimizer, "lr", by_epoch=by_epoch, **kwargs)

    @classmethod
    def build_iter_from_epoch(
        cls, *, warmup: float, epoch_length: int, end: float, **kwargs: Any
    ) -> "_ClosedFormLR":
        """Made by MMEngine where the config says ``convert_to_iter_based=True``."""
        kwargs["by_epoch"] = False
        return cls(warmup=warmup * epoch_length, end=end * epoch_length, **kwargs)

    def factor(self, step: int) -> float:
        """Share of the peak at an iteration."""
        raise NotImplementedError

    def _get_value(self) -> list[float]:
        factor = self.factor(self.last_step)
        return [base * factor for base in self.base_values]


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(_ClosedFormLR):
    """Linear warm-up from 0 and half a cosine, set at every iteration.

    The factor multiplies each group's own peak, so the floor is scaled by layer decay too, as in
    the official code. MMEngine's LinearLR cannot start from 0.

    Args:
        optimizer: wrapper whose groups are scheduled.
        warmup: epochs of warm-up (iterations where ``by_epoch=False``).
        end: epochs in all (likewise); MMEngine gives those of the run where it is left out.
        min_lr: rate at the end for the group of the highest peak, that of the head.

    Raises:
        ValueError: a warm-up as long as all of it, no ``end``, or a floor above the peak.
    """

    def __init__(self, *args: Any, min_lr: float = 0.0, **kwargs: Any) -> None:
        self.min_ratio = 0.0
        super().__init__(*args, **kwargs)
        peak = max(self.base_values)
        if not 0 <= min_lr <= peak:
            raise ValueError(f"min_lr={min_lr} must be at least 0 and at most the peak, {peak:g}")
        self.min_ratio = min_lr / peak if peak else 0.0

    def factor(self, step: int) -> float:
        """Share of the peak at an iteration."""
        return warmup_cosine_factor(step, self.warmup, self.total, self.min_ratio)


@PARAM_SCHEDULERS.register_module()
class WarmupLinearLR(_ClosedFormLR):
    """Linear decay to 0 from the first iteration, multiplied by a linear warm-up.

    MMEngine's ``LinearLR`` and ``PolyLR`` one after the other differ by up to 1 % of the peak at
    ADE20K's lengths: there the decay waits for the end of the warm-up.

    Args:
        optimizer: wrapper whose groups are scheduled.
        warmup: iterations of warm-up (epochs where ``by_epoch=True``).
        end: iterations in all (likewise); MMEngine gives those of the run where it is left out.
        start_factor: share of the decayed rate in the first iteration.

    Raises:
        ValueError: a warm-up as long as all of it, or no ``end``.
    """

    def __init__(self, *args: Any, start_factor: float = 1e-6, **kwargs: Any) -> None:
        self.start_factor = start_factor
        super().__init__(*args, **kwargs)

    def factor(self, step: int) -> float:
        """Share of the peak at an iteration."""
        return warmup_linear_factor(step, self.warmup, self.total, self.start_factor)
