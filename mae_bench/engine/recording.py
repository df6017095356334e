"""Leave a record and a checkpoint behind: what a run found, and what it learned."""

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..checkpoint.format import CheckpointMetadata
from ..checkpoint.transfer import export_model
from ..files import sha256_of
from ..registry import HOOKS
from ..results.environment import device_name, git_revision, package_versions, peak_memory_mib
from ..results.labels import run_labels
from ..results.record import RECORD_NAME, Record, config_sha256, write_record
from .run_card import unwrap

CHECKPOINT_NAME = "checkpoint.safetensors"


@HOOKS.register_module()
class ExportCheckpoint(Hook):
    """Write the trained model as ``checkpoint.safetensors`` into the work directory.

    Args:
        method: how the backbone was trained, such as ``"mae"`` or ``"supervised"``.
        data: what it was trained on.
    """

    priority = "LOW"

    def __init__(self, method: str, data: str) -> None:
        self.method = method
        self.data = data

    @master_only
    def after_train(self, runner: Runner) -> None:
        """Export once, at the end."""
        backbone = runner.cfg.model.backbone
        preprocessor = runner.cfg.model.data_preprocessor
        architecture = {
            key: value for key, value in backbone.items() if key not in ("type", "init_cfg")
        }
        metadata = CheckpointMetadata(
            architecture=architecture,
            img_size=backbone.get("img_size", 224),
            patch_size=backbone.get("patch_size", 16),
            mean=list(preprocessor.mean),
            std=list(preprocessor.std),
            method=self.method,
            data=self.data,
            epochs=runner.max_epochs,
        )
        path = Path(runner.work_dir, CHECKPOINT_NAME)
        export_model(runner.model, path, metadata)
        runner.logger.info(f"exported {path}")


@HOOKS.register_module()
class WriteRecord(Hook):
    """Write ``record.json`` as the last act of a training or test run.

    Of a training run the metrics are those of the last validation, or the last training loss
    where the run has none; never the best of several.
    """

    priority = "LOWEST"

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}

    def before_run(self, runner: Runner) -> None:
        """Start the clock, and hash the config as it is now: its file may be edited meanwhile."""
        self.started = datetime.now(timezone.utc)
        self.overrides = dict(runner.cfg.get("overrides", {}))
        self.config_sha256 = config_sha256(runner.cfg.filename, self.overrides)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Keep the last loss as a tensor: reading it would wait for the device."""
        self.loss = outputs["loss"].detach() if outputs and "loss" in outputs else None

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Keep the newest validation."""
        self.metrics = dict(metrics or {})

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Keep the test's metrics and write the record: a test has no later moment."""
        self.metrics = dict(metrics or {})
        self.write(runner, {"test": len(runner.test_dataloader.dataset)})

    def after_train(self, runner: Runner) -> None:
        """Write the record of a training run."""
        counts = {"train": len(runner.train_dataloader.dataset)}
        if runner.val_loop is not None:
            counts["val"] = len(runner.val_dataloader.dataset)
        elif self.loss is not None:
            self.metrics = {"loss": float(self.loss)}
        self.write(runner, counts)

    @master_only
    def write(self, runner: Runner, data_counts: dict[str, int]) -> None:
        """Collect the record's fields and write it where ``cfg.record_file`` says."""
        cfg = runner.cfg
        finished = datetime.now(timezone.utc)
        report = getattr(unwrap(runner.model).backbone, "loading_report", None)
        checkpoint_file = cfg.get("checkpoint_file")
        checkpoint = None
        if checkpoint_file:
            checkpoint = {
                "file": str(checkpoint_file),
                "sha256": sha256_of(checkpoint_file),
                "report": report.as_dict() if report else None,
            }
        task, initialisation = run_labels(runner.work_dir, cfg.filename, checkpoint_file)
        record = Record(
            task=task,
            initialisation=initialisation,
            metrics={name: float(value) for name, value in self.metrics.items()},
            config_file=str(cfg.filename),
            config_sha256=self.config_sha256,
            overrides=self.overrides,
            seed=runner.seed,
            checkpoint=checkpoint,
            run_card=getattr(runner, "run_card", {}),
            data_counts=data_counts,
            versions=package_versions(),
            git_revision=git_revision(),
            device=device_name(),
            started=self.started.isoformat(timespec="seconds"),
            finished=finished.isoformat(timespec="seconds"),
            duration_seconds=(finished - self.started).total_seconds(),
            peak_memory_mib=peak_memory_mib(),
        )
        path = Path(cfg.get("record_file") or Path(runner.work_dir, RECORD_NAME))
        write_record(record, path)
        runner.logger.info(f"wrote {path}")
