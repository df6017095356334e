"""Moving average of the weights as the result of a run."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.runner import Runner

from ...registry import HOOKS


def averaging_hooks(cfg: Config) -> list[type[EMAHook]]:
    """Classes of the config's hooks that keep an average of the weights, each a second model."""
    named = [hook["type"] for hook in cfg.get("custom_hooks") or []]
    kinds = [HOOKS.get(kind) if isinstance(kind, str) else kind for kind in named]
    return [kind for kind in kinds if inspect.isclass(kind) and issubclass(kind, EMAHook)]


@contextmanager
def measured_weights(runner: Runner) -> Iterator[None]:
    """Put the weights that validations measure into the model: averages, where a hook keeps some.

    MMEngine's ``EMAHook``, those derived from it, and mmpretrain's, which may measure the plain
    weights instead, swap the average in for a validation only.
    """
    hooks = [
        hook
        for hook in runner.hooks
        if isinstance(hook, EMAHook) and getattr(hook, "evaluate_on_ema", True)
    ]
    for hook in hooks:
        hook._swap_ema_parameters()
    try:
        yield
    finally:
        for hook in reversed(hooks):
            hook._swap_ema_parameters()


@HOOKS.register_module()
class WeightAverage(EMAHook):
    """Exponential moving average of the weights: validated, recorded and exported.

    MMEngine's hook counts each batch where several are accumulated for a step, and validates the
    average only. Here every validation is run on both; the metrics of the plain weights have the
    suffix ``_without_ema``.

    Args:
        decay: share of the average that each iteration keeps.
        kwargs: of MMEngine's EMAHook.

    Source: MAE Table 11 (decay 0.9999); Appendix A.2 reports both figures.
    """

    def __init__(self, decay: float = 0.9999, **kwargs: Any) -> None:
        super().__init__(momentum=1 - decay, **kwargs)

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Average once for each step of the optimizer, also where it accumulates batches."""
        if runner.optim_wrapper.should_update():
            super().after_train_iter(runner, *args, **kwargs)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Take the plain weights back, and add their metrics."""
        super().after_val_epoch(runner, metrics)
        loop = runner.val_loop
        runner.model.eval()
        for i, batch in enumerate(loop.dataloader):
            loop.run_iter(i, batch)
        plain = loop.evaluator.evaluate(len(loop.dataloader.dataset))
        if metrics is not None:
            metrics.update({f"{name}_without_ema": value for name, value in plain.items()})
