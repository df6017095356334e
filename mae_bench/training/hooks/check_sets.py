"""The data of a run, looked at once more before it starts."""

from pathlib import Path
from typing import Any

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner

from ...datasets.set_checks import check_sets, compare_classes, compare_with_training
from ...registry import HOOKS


@HOOKS.register_module()
class CheckSets(Hook):
    """Refuse data that does not fit the model, the evaluator or itself; log what is remarkable.

    Of a test ``cfg.training_folder`` says where the class folders that were trained on may be, and
    ``cfg.trained_classes`` the names in the checkpoint.
    """

    priority = "VERY_HIGH"

    def before_run(self, runner: Runner) -> None:
        """Look at the data sets of the loops that were built.

        Raises:
            ValueError: see :func:`mae_bench.datasets.set_checks.check_sets`.
        """
        loops = {part: getattr(runner, f"_{part}_loop") for part in ("train", "val", "test")}
        sets: dict[str, Any] = {
            f"{part}_dataloader": loop.dataloader.dataset
            for part, loop in loops.items()
            if isinstance(loop, BaseLoop)
        }
        findings = check_sets(runner.cfg, sets, get_world_size())
        if folder := runner.cfg.get("training_folder"):
            for loader, dataset in sets.items():
                findings.add(compare_with_training(Path(folder), dataset), loader)
        if names := runner.cfg.get("trained_classes"):
            for loader, dataset in sets.items():
                findings.add(compare_classes(names, dataset), loader)
        for loader, dataset in sets.items():
            runner.logger.info(f"{loader}: {len(dataset):,} images")
        for remark in findings.remarks:
            runner.logger.warning(remark)
        findings.refuse()
