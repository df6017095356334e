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

    While a run validates, the file stays as it is and is written again, so that whoever watches
    sees that the run goes on.

    Args:
        seconds: least time between two writes.
    """

    def __init__(self, seconds: float = 3.0) -> None:
        self.seconds = seconds
        self.last_write = float("-inf")
        self.state: dict[str, float] = {"step": 0, "total": 1}

    def due(self) -> bool:
        """Whether it is time to write again."""
        return time.monotonic() - self.last_write >= self.seconds

    def write(self, runner: Runner) -> None:
        """Write how far the run is."""
        self.last_write = time.monotonic()
        write_json_atomic(self.state, Path(runner.work_dir, PROGRESS_NAME))

    @master_only
    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Write at most every ``seconds``; only then is the loss read from the device."""
        if not self.due():
            return
        self.state = {"step": runner.iter + 1, "total": runner.max_iters}
        if outputs and "loss" in outputs:
            loss = float(outputs["loss"].detach())
            if math.isfinite(loss):  # JSON has no NaN, and a progress file must not end a run
                self.state["loss"] = loss
        self.write(runner)

    @master_only
    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Show that the run goes on."""
        if self.due():
            self.write(runner)

    @master_only
    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Count the batches of a test."""
        if self.due():
            self.state = {"step": batch_idx + 1, "total": len(runner.test_dataloader)}
            self.write(runner)
