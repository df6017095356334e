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
        total: epochs in all (likewise); None: those of the run, which MMEngine gives as ``end``.
        min_ratio: floor over peak.

    Raises:
        ValueError: a warm-up as long as all of it, or neither ``total`` nor ``end``.
    """

    def __init__(
        self,
        optimizer: Any,
        warmup: float,
        total: float | None = None,
        min_ratio: float = 0.0,
        by_epoch: bool = True,
        **kwargs: Any,
    ) -> None:
        total = kwargs.get("end") if total is None else total
        if total is None:
            raise ValueError("WarmupCosineLR needs 'total' where no run gives it an end")
        if not 0 <= warmup < total:
            raise ValueError(f"warmup={warmup} must be at least 0 and less than total={total}")
        self.warmup, self.total, self.min_ratio = warmup, total, min_ratio
        super().__init__(optimizer, "lr", by_epoch=by_epoch, **kwargs)

    @classmethod
    def build_iter_from_epoch(
        cls,
        *,
        warmup: float,
        epoch_length: int,
        end: float,
        total: float | None = None,
        **kwargs: Any,
    ) -> "WarmupCosineLR":
        """Made by MMEngine where the config says ``convert_to_iter_based=True``.

        ``end`` is the last epoch of the run, which ``total`` replaces.
        """
        kwargs["by_epoch"] = False
        total = end if total is None else total
        return cls(warmup=warmup * epoch_length, total=total * epoch_length, **kwargs)

    def _get_value(self) -> list[float]:
        # All batches accumulated for one step have the rate of the first, as in the official code:
        # accumulation then equals a larger batch.
        step = self.last_step - self.last_step % getattr(self.optimizer, "_accumulative_counts", 1)
        factor = warmup_cosine_factor(step, self.warmup, self.total, self.min_ratio)
        return [base * factor for base in self.base_values]
