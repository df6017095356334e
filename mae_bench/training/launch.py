"""From a checked config to a run: checkpoint, precision, sharding, and its work directory."""

import inspect
import json
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import get_world_size, master_only
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner

from ..checkpoint.continued import PretrainedAutoencoder
from ..files import write_json_atomic
from ..models import MAE
from ..registry import HOOKS
from ..run_folder import RUN_NAME

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


def initialise_backbone(cfg: Config, checkpoint: str | Path) -> None:
    """Make the model's backbone start from a checkpoint file of any format that we read.

    Raises:
        FileNotFoundError: no such file.
    """
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(f"{checkpoint}: no such checkpoint file")
    if inspect.isclass(cfg.model.type) and issubclass(cfg.model.type, MAE):
        # Pre-training goes on with the decoder too, where the file has one.
        cfg.model.init_cfg = dict(type=PretrainedAutoencoder, checkpoint=str(checkpoint))
    else:
        cfg.model.backbone.init_cfg = dict(
            type="mae_bench.PretrainedBackbone", checkpoint=str(checkpoint)
        )
    cfg.checkpoint_file = str(checkpoint)


def use_mixed_precision(cfg: Config, dtype: str = "auto") -> None:
    """Train in mixed precision.

    Args:
        cfg: its ``optim_wrapper`` is changed.
        dtype: ``"bfloat16"``; ``"float16"``, with scaling of the loss; ``"auto"``: bfloat16 where
            the GPU has it, else float16.

    Raises:
        ValueError: there is no GPU; MMEngine has mixed precision for GPUs only.
    """
    import torch

    if not torch.cuda.is_available():
        raise ValueError("--amp needs a GPU and there is none; leave it out to train in float32")
    if dtype == "auto":
        dtype = "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    cfg.optim_wrapper.type = "AmpOptimWrapper"
    cfg.optim_wrapper.dtype = dtype
    # bfloat16 has the exponents of float32: nothing underflows, so nothing is scaled.
    cfg.optim_wrapper.loss_scale = "dynamic" if dtype == "float16" else 1.0


def use_fully_sharded(cfg: Config) -> None:
    """Train with weights, gradients and moments cut among the processes.

    Args:
        cfg: with its ``launcher``; gets ``fsdp``, which ``TrainRunner`` reads.

    Raises:
        ValueError: there is one process, or a hook averages the weights.
    """
    if cfg.launcher == "none":
        raise ValueError(
            "--fsdp cuts the weights among processes and there is one: start several with torchrun "
            "and --launcher pytorch, or with --launcher slurm, or leave --fsdp out"
        )
    for hook in cfg.get("custom_hooks") or []:
        kind = HOOKS.get(hook["type"]) if isinstance(hook["type"], str) else hook["type"]
        if inspect.isclass(kind) and issubclass(kind, EMAHook):
            raise ValueError(
                f"--fsdp: {kind.__name__} in custom_hooks keeps a second model in one piece; leave "
                "--fsdp out, or the hook"
            )
    cfg.fsdp = True


def run_identity(cfg: Config) -> dict[str, Any]:
    """What makes a run this one: config, overrides and checkpoint, but not where it is written."""
    volatile = tuple(f"{key} = " for key in ("work_dir", "launcher", "fsdp", "resume"))
    lines = [line for line in cfg.pretty_text.splitlines() if not line.startswith(volatile)]
    return {
        "config": "\n".join(lines),
        "overrides": {key: str(value) for key, value in cfg.overrides.items()},
        "checkpoint": cfg.get("checkpoint_file"),
    }


class ClaimWorkDir(Hook):
    """Keep the run's identity in ``run.json``, once everything is built and loaded.

    Not before: a run that never started, for a wrong checkpoint say, leaves the directory free.
    """

    def __init__(self, identity: dict[str, Any]) -> None:
        self.identity = identity

    @master_only
    def before_train(self, runner: Runner) -> None:
        """Write once, before the first iteration."""
        processes = first_processes(runner.work_dir) or get_world_size()
        state = {**self.identity, "processes": processes}
        write_json_atomic(state, Path(runner.work_dir, RUN_NAME))


def first_processes(work_dir: str | Path) -> int | None:
    """How many processes a run had when it began; None where nothing says it."""
    return (_read_state(work_dir) or {}).get("processes")


def _read_state(work_dir: str | Path) -> dict[str, Any] | None:
    """What :class:`ClaimWorkDir` wrote; None in another directory."""
    path = Path(work_dir, RUN_NAME)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def check_work_dir(cfg: Config, resume: bool) -> None:
    """Refuse a work directory that holds another run, or this one when it is not to be resumed.

    Raises:
        ValueError: the directory belongs to another run, or to this one and ``resume`` is not set.
    """
    work_dir = Path(cfg.work_dir)
    identity = run_identity(cfg)
    before = _read_state(work_dir)
    if before is not None:
        changed = [key for key in identity if before.get(key) != identity[key]]
        if changed:
            raise ValueError(
                f"{work_dir}: holds a run with another {' and '.join(changed)}; choose another "
                "--work-dir (nothing was changed)"
            )
        if not resume:
            raise ValueError(
                f"{work_dir}: this run was started there before; add --resume to go on, or choose "
                "another --work-dir (nothing was changed)"
            )
    elif work_dir.is_dir() and any(work_dir.glob("*.pth")):
        raise ValueError(
            f"{work_dir}: holds checkpoints of an unknown run; choose another --work-dir"
        )


def check_data_folders(cfg: Config) -> None:
    """Raise FileNotFoundError where the folder of a data loader is missing, with the fix."""
    for loader in LOADERS:
        dataset = (cfg.get(loader) or {}).get("dataset") or {}
        while "dataset" in dataset:
            dataset = dataset["dataset"]
        root = dataset.get("data_root")
        if root and not Path(root).is_dir():
            fix = "run `make data`" if "miniworld" in str(root) else "put or link the data there"
            raise FileNotFoundError(f"{root}: no such folder ({loader}.dataset.data_root): {fix}")
