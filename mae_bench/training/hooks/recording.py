"""Leave a record and a checkpoint behind: what a run found, and what it learned."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process, master_only
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from ...checkpoint.format import METADATA_KEY, CheckpointMetadata
from ...checkpoint.whole_model import export_model
from ...config.model_input import channel_order
from ...datasets.identity import changed_since, data_identity
from ...datasets.one_set import class_names, innermost
from ...distributed import unwrap
from ...files import sha256_of
from ...models.backbone import as_backbone, keeps_contract, optional
from ...registry import HOOKS
from ...results.environment import device_name, git_revision, package_versions, peak_memory_mib
from ...results.labels import run_labels
from ...results.record import Record, config_sha256, write_record
from ...run_folder import (
    CHECKPOINT_NAME,
    KEPT_CHECKPOINT_NAME,
    RECORD_NAME,
    exported_checkpoints,
)
from ..start import Start
from .ema import measured_weights

SECONDS_KEY = "mae_bench_seconds"  # in MMEngine's checkpoints: run time up to then
START_KEY = "mae_bench_start"  # what the run started from


def trained_blocks(backbone: Any) -> float | None:
    """How many blocks of a backbone train; one of which only a part does counts as a half.

    None for a backbone without ``blocks``. Source of the count: MAE, Section 4.3 and Figure 9.
    """
    if not hasattr(backbone, "blocks"):
        return None
    shares = []
    for block in backbone.blocks:
        flags = {parameter.requires_grad for parameter in block.parameters()}
        shares.append(0.5 if len(flags) == 2 else float(True in flags))
    return sum(shares)


def describe_model(model: Any, config: dict[str, Any]) -> dict[str, Any] | None:
    """What of a model decides which published number it can be compared with.

    None for a model without a backbone of our contract, such as one of another library.
    """
    if not hasattr(model, "backbone") or not keeps_contract(type(model.backbone)):
        return None
    backbone = as_backbone(model.backbone)
    return {
        "backbone": type(backbone).__name__.removeprefix("FSDP"),
        "embed_dim": backbone.embed_dim,
        "num_layers": backbone.num_layers,
        "patch_size": backbone.patch_size,
        "img_size": config.get("backbone", {}).get("img_size"),
        "classes": _classes(config),
    }


def _classes(config: dict[str, Any]) -> int | None:
    """Classes of a model's head, by the keys of the host libraries; None where it has none."""
    for path in (("head",), ("roi_head", "bbox_head"), ("decode_head",), ("bbox_head",)):
        node: Any = config
        for key in path:
            node = node.get(key) if isinstance(node, dict) else None
            node = node[0] if isinstance(node, (list, tuple)) else node  # a cascade has several
        if isinstance(node, dict) and "num_classes" in node:
            return node["num_classes"]
    return None


def describe_data(runner: Runner, data_counts: dict[str, int]) -> dict[str, dict[str, Any]]:
    """What identifies the data of each split of a run, by loader; see ``data_identity``."""
    splits = [split for split in ("train", "val", "test") if split in data_counts]
    return {
        split: data_identity(getattr(runner, f"{split}_dataloader").dataset) for split in splits
    }


def metadata_of(runner: Runner, method: str, data: str, dataset: Any) -> CheckpointMetadata:
    """What the checkpoint of a run says about itself.

    Args:
        runner: has a model with a backbone of our contract.
        method: how it is trained here; what it was trained by before stands in front.
        data: what it is trained on, in words.
        dataset: that, for the names of its classes.

    Raises:
        ValueError: the config describes no checkpoint.
    """
    # what a fine-tuned model was pre-trained with decides which row of a table it belongs to
    before = f"{runner.start.metadata['method']} + " if runner.start else ""
    config = runner.cfg.model.backbone
    preprocessor = runner.cfg.model.data_preprocessor
    backbone = as_backbone(unwrap(runner.model).backbone)
    architecture = {key: value for key, value in config.items() if key not in ("type", "init_cfg")}
    return CheckpointMetadata(
        # Of backbones that are not ours, classes among the arguments are kept by name.
        architecture=json.loads(json.dumps(architecture, default=str)),
        img_size=config.get("img_size") or optional(backbone, "img_size") or 224,
        patch_size=backbone.patch_size,
        mean=list(preprocessor.mean),
        std=list(preprocessor.std),
        channel_order=channel_order(runner.cfg),
        method=before + method,
        data=data,
        classes=class_names(innermost(dataset)) or None,
    )


@HOOKS.register_module()
class ExportCheckpoint(Hook):
    """Write the trained model as ``checkpoint.safetensors`` into the work directory.

    Args:
        method: how the backbone was trained, such as ``"mae"`` or ``"supervised"``.
        data: what it was trained on.
        kept_epochs: epochs, counted from 1, whose model is kept too, as
            ``checkpoint_epoch_N.safetensors``.
    """

    priority = "LOW"

    def __init__(self, method: str, data: str, kept_epochs: Sequence[int] = ()) -> None:
        self.method = method
        self.data = data
        self.kept_epochs = set(kept_epochs)

    @master_only
    def before_train(self, runner: Runner) -> None:
        """Describe the model before it is trained: a wrong value shows now, not after days.

        Raises:
            ValueError: the config describes no checkpoint, or never reaches an epoch to keep.
        """
        late = [n for n in sorted(self.kept_epochs) if not 1 <= n <= runner.max_epochs]
        if late:
            raise ValueError(f"kept_epochs {late} are not among the {runner.max_epochs} epochs")
        self.metadata = metadata_of(runner, self.method, self.data, runner.train_dataloader.dataset)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Leave in the training state what an export would say: every command reads it too."""
        epochs = checkpoint["meta"]["epoch"] if by_epochs(runner) else None
        checkpoint[METADATA_KEY] = replace(self.metadata, epochs=epochs).to_json()

    def after_train_epoch(self, runner: Runner) -> None:
        """Export an epoch that is to be kept."""
        if runner.epoch + 1 in self.kept_epochs:
            self.export(runner, KEPT_CHECKPOINT_NAME.format(runner.epoch + 1))

    def after_train(self, runner: Runner) -> None:
        """Export at the end."""
        self.export(runner, CHECKPOINT_NAME)

    def export(self, runner: Runner, name: str) -> None:
        """Write the model as it is measured now: a moving average of the weights, where one is
        validated. A sharded model is gathered from all processes."""
        if not is_main_process():
            runner.model.state_dict()
            return
        # A run counted in iterations has no whole epochs.
        epochs = min(runner.epoch + 1, runner.max_epochs) if by_epochs(runner) else None
        path = Path(runner.work_dir, name)
        with measured_weights(runner):
            export_model(runner.model, path, replace(self.metadata, epochs=epochs))
        runner.logger.info(f"exported {path}")


def exported_files(folder: Path) -> dict[str, Any] | None:
    """Names and SHA-256 of the checkpoints that a run has left in its folder, as the record says.

    Those of kept epochs may be of an earlier start of the run.
    """
    files = [
        {"file": path.name, "sha256": sha256_of(path)} for path in exported_checkpoints(folder)
    ]
    if not files or files[0]["file"] != CHECKPOINT_NAME:
        return None
    return {**files[0], **({"kept": files[1:]} if files[1:] else {})}


def single_numbers(metrics: Mapping[str, Any]) -> tuple[dict[str, float], list[str]]:
    """The metrics that are one number each, as a record has them, and the names of the others.

    A confusion matrix is one of those, or what a metric says in words.
    """
    numbers, others = {}, []
    for name, value in metrics.items():
        try:
            if isinstance(value, str):
                raise TypeError
            numbers[name] = float(value)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            others.append(name)
    return numbers, others


def by_epochs(runner: Runner) -> bool:
    """Whether a run's length is counted in epochs."""
    return isinstance(runner.train_loop, EpochBasedTrainLoop)


@HOOKS.register_module()
class WriteRecord(Hook):
    """Write ``record.json`` as the last act of a training or test run.

    Of a training run the metrics are those of the last validation, or the last training loss
    where the run has none; never the best of several. The duration is that of all starts of a
    resumed run, each up to the checkpoint that the next one went on from.

    Files may change under a run that takes days. Code, packages and config are therefore those of
    its start, and where data is not what it was then the record says ``failed`` and the run ends
    with an error: nobody can say what its number is of.
    """

    priority = "LOWEST"

    def __init__(self) -> None:
        self.metrics: dict[str, Any] = {}
        self.seconds_before = 0.0

    def before_run(self, runner: Runner) -> None:
        """Start the clock, and note what may be changed meanwhile."""
        self.started = datetime.now(timezone.utc)
        self.start = time.monotonic()  # the clock on the wall may be set meanwhile
        self.overrides = dict(runner.cfg.get("overrides", {}))
        cfg = runner.cfg
        self.config_sha256 = cfg.get("config_sha256") or config_sha256(cfg.filename, self.overrides)
        self.versions, self.revision = package_versions(), git_revision()

    def seconds(self) -> float:
        """Time that this run has taken up to now, its earlier starts included."""
        return self.seconds_before + time.monotonic() - self.start

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Let a resumed run know how long it has taken already, and what it started from."""
        checkpoint[SECONDS_KEY] = self.seconds()
        checkpoint[START_KEY] = runner.start and runner.start.as_record()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take over the time of the starts before, where this is a resumed run.

        Where it goes on in another folder, it started from what the run there started from.
        """
        if runner.cfg.get("resume"):
            seconds = checkpoint.get(SECONDS_KEY, 0.0)
            # of a version that went by the clock on the wall
            self.seconds_before = seconds if 0 <= seconds < math.inf else 0.0
            if before := checkpoint.get(START_KEY):
                runner.start = runner.start or Start(**before)

    def before_test(self, runner: Runner) -> None:
        """Identify the data before they are read; of a training ``RunIdentity`` does that."""
        data_identity(runner.test_dataloader.dataset)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any] | None = None) -> None:
        """Keep the newest validation."""
        self.metrics = dict(metrics or {})

    def after_test_epoch(self, runner: Runner, metrics: dict[str, Any] | None = None) -> None:
        """Keep the test's metrics and write the record: a test has no later moment."""
        self.metrics = dict(metrics or {})
        # a loop over several sets counts and identifies them one by one
        counts = getattr(runner.test_loop, "data_counts", None)
        counts = counts or {"test": len(runner.test_dataloader.dataset)}
        # ... and one on frozen features, whose model has no head, says what it tells apart
        classes = getattr(runner.test_loop, "classes", None)
        self.write(runner, counts, getattr(runner.test_loop, "data", {}), classes)

    def after_train(self, runner: Runner) -> None:
        """Write the record of a training run."""
        counts = {"train": len(runner.train_dataloader.dataset)}
        if runner.val_loop is not None:
            counts["val"] = len(runner.val_dataloader.dataset)
            if not self.metrics:
                runner.val_loop.run()  # killed between the last checkpoint and the record
        elif "train/loss" in runner.message_hub.log_scalars:
            # Also there where a finished run was resumed, which trains no step.
            self.metrics = {"loss": runner.message_hub.get_scalar("train/loss").current()}
        self.write(runner, counts)

    @master_only
    def write(
        self,
        runner: Runner,
        data_counts: dict[str, int],
        sets: Mapping[str, dict[str, Any]] | None = None,
        classes: int | None = None,
    ) -> None:
        """Collect the record's fields and write it where ``cfg.record_file`` says.

        Args:
            data_counts: images of each split or set.
            sets: what identifies the data of sets that are no split.
            classes: how many are told apart, where the model has no head that says it.
        """
        cfg = runner.cfg
        backbone = getattr(unwrap(runner.model), "backbone", None)
        checkpoint = runner.start.as_record() if runner.start else None
        card = dict(getattr(runner, "run_card", {}))
        metrics, others = single_numbers(self.metrics)
        if others:
            runner.logger.warning(f"not in the record, as no single number: {', '.join(others)}")
            card["no_single_number"] = others
        if "train" in data_counts:
            card["trained_blocks"] = trained_blocks(backbone)
        learned = data_counts.keys() & {"train", "frozen_train"}
        exported = exported_files(Path(runner.work_dir)) if learned else None
        own_weights = getattr(unwrap(runner.model), "own_weights", None)
        labels = run_labels(
            runner.work_dir, cfg.filename, checkpoint["file"] if checkpoint else own_weights
        )
        data = describe_data(runner, data_counts)
        changed = [
            f"{split} has {words}"
            for split in data
            if (words := changed_since(getattr(runner, f"{split}_dataloader").dataset))
        ]
        model = describe_model(unwrap(runner.model), cfg.model)
        if model is not None and classes is not None:
            model["classes"] = classes
        record = Record(
            task=labels.task,
            initialisation=labels.initialisation,
            metrics=metrics,
            config_file=str(cfg.filename),
            config_sha256=self.config_sha256,
            overrides=self.overrides,
            seed=runner.seed,
            checkpoint=checkpoint,
            run_card=card,
            data_counts=data_counts,
            versions=self.versions,
            git_revision=self.revision,
            device=device_name(),
            started=self.started.isoformat(timespec="seconds"),
            finished=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            duration_seconds=self.seconds(),
            peak_memory_mib=peak_memory_mib(),
            cells=labels.cells or [dict(entry) for entry in cfg.get("cells") or []],
            model=model,
            data={**data, **(sets or {})},
            exported=exported,
            status="failed" if changed else "completed",
        )
        path = Path(cfg.get("record_file") or Path(runner.work_dir, RECORD_NAME))
        write_record(record, path)
        runner.logger.info(f"wrote {path}")
        if changed:
            raise ValueError(
                f"{path}: the data was changed while the run was at work: {changed[0]}. No table "
                "takes its number; start again in another --work-dir"
            )
