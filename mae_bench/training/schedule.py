"""The learning-rate schedule of every stage of MAE."""

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


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(_ParamScheduler):
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

    def __init__(
        self,
        optimizer: Any,
        warmup: float,
        end: float | None = None,
        min_lr: float = 0.0,
        by_epoch: bool = True,
        **kwargs: Any,
    ) -> None:
        if end is None:
            raise ValueError("WarmupCosineLR needs 'end' where no run gives it one")
        if not 0 <= warmup < end:
            raise ValueError(f"warmup={warmup} must be at least 0 and less than end={end}")
        self.warmup, self.total, self.min_ratio = warmup, end, 0.0
        # The end is not handed on: the floor holds after it.
        super().__init__(optimizer, "lr", by_epoch=by_epoch, **kwargs)
        peak = max(self.base_values)
        if not 0 <= min_lr <= peak:
            raise ValueError(f"min_lr={min_lr} must be at least 0 and at most the peak, {peak:g}")
        self.min_ratio = min_lr / peak if peak else 0.0

    @classmethod
    def build_iter_from_epoch(
        cls, *, warmup: float, epoch_length: int, end: float, **kwargs: Any
    ) -> "WarmupCosineLR":
        """Made by MMEngine where the config says ``convert_to_iter_based=True``."""
        kwargs["by_epoch"] = False
        return cls(warmup=warmup * epoch_length, end=end * epoch_length, **kwargs)

    def _get_value(self) -> list[float]:
        # All batches accumulated for one step have the rate of the first, as in the official code:
        # accumulation then equals a larger batch.
        step = self.last_step - self.last_step % getattr(self.optimizer, "_accumulative_counts", 1)
        factor = warmup_cosine_factor(step, self.warmup, self.total, self.min_ratio)
        return [base * factor for base in self.base_values]
