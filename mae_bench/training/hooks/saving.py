"""Checkpoints to resume from: written whole, found again, read as tensors and plain values only."""

import pickle
import re
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader, Runner

from ...checkpoint.integrity import archive_damage
from ...checkpoint.torch_file import load_torch_file
from ...files import write_atomic
from ...registry import HOOKS
from ...run_folder import LAST_STATE_NAME

BACKEND = "mae_bench.atomic"


def _statistic(owner: type, name: str) -> Callable[..., Any]:
    """What stands for ``getattr`` in a checkpoint: MMEngine's log buffers name their methods so."""
    if owner is not HistoryBuffer or name not in ("min", "max", "mean", "current"):
        raise pickle.UnpicklingError(f"refused: getattr of {name}")
    return getattr(HistoryBuffer, name)


# Besides tensors and plain containers MMEngine's checkpoints hold numbers and arrays of NumPy and
# the buffers of the log. Rebuilding one runs no code of the file.
HARMLESS: Sequence[Any] = (
    HistoryBuffer,
    (_statistic, "builtins.getattr"),
    (_statistic, "__builtin__.getattr"),
    np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    np._core.multiarray.scalar,  # type: ignore[attr-defined]
    np.ndarray,
    np.dtype,
    *{type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "?")},
)


@CheckpointLoader.register_scheme(prefixes="", force=True)
def load_checkpoint_file(filename: str, map_location: Any = None) -> Any:
    """Read a checkpoint in place of MMEngine's loader, which falls back to one that runs code.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, or more in it than tensors and plain values.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint file")
    content = load_torch_file(path, HARMLESS)
    if isinstance(content, dict) and isinstance(content.get("meta"), dict):
        # a config is Python, and the runner would run it when it resumes
        content["meta"].pop("config", None)
    return content


REMOTE: tuple[str, ...] = ("http://", "https://", "pavi://", r"(\S+\:)?s3://", r"(\S+\:)?petrel://")
REMOTE += ("modelzoo://", "torchvision://", "open-mmlab://", "openmmlab://", "mmcls://")


@CheckpointLoader.register_scheme(prefixes=REMOTE, force=True)
def refuse_remote_checkpoint(filename: str, map_location: Any = None) -> Any:
    """Refuse what MMEngine would fetch and unpickle, with any code in it (ValueError)."""
    raise ValueError(f"{filename}: only local files are read; download it and give its path")


@register_backend(BACKEND)
class AtomicBackend(LocalBackend):
    """MMEngine's local files, each written whole or not at all."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write with :func:`~mae_bench.files.write_atomic`."""
        write_atomic(obj, filepath)


@HOOKS.register_module()
class SaveCheckpoint(CheckpointHook):
    """MMEngine's hook, with checkpoints that survive whatever happens while they are written.

    A checkpoint appears under its name only when it is on the disk as a whole, and older ones are
    deleted after that. ``--resume`` goes on from the newest one that is intact.

    Args:
        interval: epochs or iterations between two checkpoints.
        by_epoch: which of them.
        max_keep_ckpts: newest checkpoints that are kept, 2 or more; -1 for all.
        backend_args: None or ``dict(backend="local")``, which is one: whole files need a disk.
        kwargs: of MMEngine's ``CheckpointHook``.

    Raises:
        ValueError: ``max_keep_ckpts`` less than 2, or another backend; weights that are not
            finite, a full disk or something that cannot be read back, when saving; no intact
            checkpoint, when resuming.
    """

    last_ckpt: str | None
    keep_ckpt_ids: deque[int]

    def __init__(
        self,
        interval: int = 1,
        by_epoch: bool = True,
        max_keep_ckpts: int = 2,
        backend_args: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if max_keep_ckpts in (0, 1):
            raise ValueError(
                f"max_keep_ckpts={max_keep_ckpts}: keep 2 at least, so that one is left where the "
                "newest is damaged"
            )
        if backend_args not in (None, dict(backend="local"), dict(backend=BACKEND)):
            raise ValueError(f"backend_args={backend_args}: SaveCheckpoint writes local files only")
        backend = dict(backend=BACKEND)
        super().__init__(
            interval, by_epoch, max_keep_ckpts=max_keep_ckpts, backend_args=backend, **kwargs
        )

    def checkpoints(self, folder: str | Path) -> list[Path]:
        """Checkpoints of this hook in a folder, newest first."""
        before, after = map(re.escape, self.filename_tmpl.split("{}"))
        found = (
            (re.fullmatch(rf"{before}(\d+){after}", p.name), p) for p in Path(folder).iterdir()
        )
        numbered = [(int(match[1]), path) for match, path in found if match]
        return [path for _, path in sorted(numbered, reverse=True)]

    def before_run(self, runner: Runner) -> None:
        """Choose what to resume from: hooks come before the runner looks for a checkpoint."""
        if not runner._resume or runner._load_from is not None:
            return
        candidates = self.checkpoints(runner.work_dir)
        for path in candidates:
            reason = archive_damage(path)
            if reason is None:
                runner._load_from = str(path)
                return
            runner.logger.error(f"{path} is damaged ({reason}); trying the one before it")
        if candidates:
            raise ValueError(
                f"{runner.work_dir}: none of {len(candidates)} checkpoints is intact; start again "
                "in another --work-dir"
            )
        runner.logger.warning(f"{runner.work_dir}: no checkpoint to resume from, starting afresh")

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Keep weights that are not finite from replacing good ones."""
        for key in ("state_dict", "ema_state_dict"):
            for name, value in checkpoint.get(key, {}).items():
                if not value.isfinite().all():
                    raise ValueError(
                        f"{name} is not finite after step {runner.iter}: not saved; the last good "
                        f"checkpoint is {self.last_ckpt or 'that of an earlier start, if any'}"
                    )

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, int]) -> None:
        path = Path(self.out_dir, self.filename_tmpl.format(step))
        # What MMEngine's hook tells other hooks, and the checkpoint itself.
        runner.message_hub.update_info("last_ckpt", str(path))
        if self.max_keep_ckpts > 0:
            kept = [other for other in self.keep_ckpt_ids if other != step]
            self.keep_ckpt_ids = deque([*kept, step], self.max_keep_ckpts)
            runner.message_hub.update_info("keep_ckpt_ids", list(self.keep_ckpt_ids))
        runner.save_checkpoint(
            self.out_dir,
            path.name,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
        )
        if is_main_process():
            if self.last_ckpt is None:
                check_readable(path)
            if self.max_keep_ckpts > 0:
                for old in self.checkpoints(self.out_dir)[self.max_keep_ckpts :]:
                    old.unlink()
            write_atomic(str(path).encode(), Path(runner.work_dir, LAST_STATE_NAME))
        self.last_ckpt = str(path)


def check_readable(path: Path) -> None:
    """Raise ValueError where a checkpoint holds what :func:`load_checkpoint_file` refuses."""
    with torch.serialization.safe_globals(list(HARMLESS)):
        refused = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    refused = [name for name in refused if not name.endswith("builtin__.getattr")]
    if refused:
        raise ValueError(
            f"{path}: no run could resume from it, because it holds more than tensors and plain "
            f"values: {', '.join(refused)}. Look for them in the data set's metainfo"
        )
