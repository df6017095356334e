"""Leave the linear classifier of a frozen backbone behind, so that it can be tested further."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...checkpoint.format import save_checkpoint
from ...checkpoint.whole_model import model_tensors
from ...distributed import unwrap
from ...evaluation.frozen.frozen_loop import CLASS_TOKEN, TOKENS, FrozenLoop
from ...registry import HOOKS
from ...run_folder import CHECKPOINT_NAME
from .recording import metadata_of


@HOOKS.register_module()
class ExportClassifier(Hook):
    """Write backbone and linear head as ``checkpoint.safetensors``, the head as ``head.fc``.

    It is of the feature that the backbone gives by itself: the class token, or what
    ``model.backbone.output`` says. A config with that output and mmpretrain's ``LinearClsHead``
    tests it. Where no measure trained such a head nothing is written.

    Args:
        data: what the head was trained on.
    """

    priority = "LOW"  # before the record, which says what was exported

    def __init__(self, data: str) -> None:
        self.data = data

    @master_only
    def after_test_epoch(self, runner: Runner, metrics: dict[str, Any] | None = None) -> None:
        """Export the head of the loop's measures."""
        loop = runner.test_loop
        assert isinstance(loop, FrozenLoop)
        feature = CLASS_TOKEN if loop.output == TOKENS else loop.output
        if feature not in loop.heads:
            return
        head = loop.heads[feature]
        tensors = {
            **model_tensors(unwrap(runner.model)),
            "head.fc.weight": head[:, :-1],
            "head.fc.bias": head[:, -1],
        }
        metadata = metadata_of(runner, "linear heads", self.data, loop.sets["train"])
        architecture = {**metadata.architecture, "output": feature}
        path = Path(runner.work_dir, CHECKPOINT_NAME)
        save_checkpoint(path, tensors, replace(metadata, architecture=architecture))
        runner.logger.info(f"exported {path}: linear classifier on {feature}")
