"""Stop a run whose loss is not a number, while the last good checkpoint is still the last."""

import math
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from ...registry import HOOKS

NAMES_IN_MESSAGE = 4


def sample_names(data_batch: Any) -> list[str]:
    """File of each data element of a batch, or its number in the data set, where it says one."""
    samples = data_batch.get("data_samples", []) if isinstance(data_batch, dict) else []
    return [
        str(sample.get("img_path", sample.get("sample_idx", "?")))
        for sample in samples
        if isinstance(sample, BaseDataElement)
    ]


@HOOKS.register_module()
class StopOnNonFiniteLoss(Hook):
    """Stop at the first loss that is infinite or NaN, with step, learning rate and samples.

    MMEngine's RuntimeInfoHook reads the loss from the device at every step, for the log; this hook
    comes after it, so it does not make the device wait a second time. It comes before the hooks
    that average weights and save them.

    Raises:
        ValueError: at that step. The names of all samples are in the log.
    """

    priority = "HIGH"

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Look at the loss."""
        if not outputs or "loss" not in outputs:
            return
        loss = float(outputs["loss"].detach())
        if math.isfinite(loss):
            return
        names = sample_names(data_batch)
        rates = [group["lr"] for group in runner.optim_wrapper.optimizer.param_groups]
        runner.logger.error(f"samples of step {runner.iter + 1}: {', '.join(names)}")
        more = f" and {len(names) - NAMES_IN_MESSAGE} more" if len(names) > NAMES_IN_MESSAGE else ""
        raise ValueError(
            f"the loss is {loss} at step {runner.iter + 1} with lr {max(rates):.3g}, samples "
            f"{', '.join(names[:NAMES_IN_MESSAGE])}{more} (see the log); nothing was saved since "
            "the last checkpoint. Try a lower learning rate, or bfloat16 for float16"
        )
