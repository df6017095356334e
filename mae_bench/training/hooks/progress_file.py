"""How far a run is, for whoever watches it from outside."""

import math
import time
from pathlib import Path
from typing import Any

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...files import write_json_atomic
from ...registry import HOOKS
from ...run_folder import PROGRESS_NAME


@HOOKS.register_module()
class ProgressFile(Hook):
    """Write ``progress.json`` into the work directory: ``{"step": i, "total": n, "loss": x}``.

    Args:
        seconds: least time between two writes.
    """

    def __init__(self, seconds: float = 3.0) -> None:
        self.seconds = seconds
        self.last_write = float("-inf")

    @master_only
    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Write at most every ``seconds``; only then is the loss read from the device."""
        now = time.monotonic()
        if now - self.last_write < self.seconds:
            return
        self.last_write = now
        state: dict[str, float] = {"step": runner.iter + 1, "total": runner.max_iters}
        if outputs and "loss" in outputs:
            loss = float(outputs["loss"].detach())
            if math.isfinite(loss):  # JSON has no NaN, and a progress file must not end a run
                state["loss"] = loss
        write_json_atomic(state, Path(runner.work_dir, PROGRESS_NAME))
