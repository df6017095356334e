"""What makes a run this one, and what of it may be another when it is resumed.

A run keeps its identity twice: in ``run.json`` in its work directory, and in every training state.
"""

import uuid
import warnings
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..config.neutral_keys import DATA_PATHS, matches
from ..datasets.identity import data_identity, differences
from ..distributed import same_everywhere, starts_first
from ..files import read_sealed_json, write_sealed_json
from ..run_folder import RUN_NAME, training_states
from .settings import VALIDATION, check_settings, settings
from .start import Start

STATE_KEY = "mae_bench_run"  # in MMEngine's checkpoints


class RunIdentity(Hook):
    """Keep what a run is in ``run.json`` and in every training state, and compare it on resuming.

    Args:
        cfg: of the run, with its ``work_dir``.
        resume: whether a run may be there already.
        extend: whether its schedule may be another.
        start: what the run starts from.

    Raises:
        ValueError: the directory belongs to another run, or to this one and ``resume`` is not set;
            there is nothing to extend; later, on resuming, the data or a training state is not
            that of the run.
    """

    # before SaveCheckpoint, which looks for what to resume from
    priority = "VERY_HIGH"

    def __init__(
        self,
        cfg: Config,
        resume: bool = False,
        extend: bool = False,
        start: Start | None = None,
    ) -> None:
        self.work_dir = Path(cfg.work_dir)
        self.resume, self.extend = resume, extend
        self.settings = settings(cfg)
        self.first = starts_first(cfg.get("launcher", "none"))
        self.checkpoint: dict[str, str] | None = None
        self.written = False  # in this start
        if start and self.first:
            self.checkpoint = {"file": start.file, "sha256": start.sha256}
        self.check_directory()

    def check_directory(self) -> None:
        """Read what run the work directory holds, and compare it with this one."""
        before = self.before = read_run(self.work_dir)
        if before is None:
            if training_states(self.work_dir):
                raise ValueError(
                    f"{self.work_dir}: holds checkpoints of an unknown run; choose another "
                    "--work-dir"
                )
            if self.extend:
                raise ValueError(f"{self.work_dir}: no run to extend; name its --work-dir")
            return
        check_settings(before["settings"], self.settings, self.extend, self.work_dir)
        was, now = before["checkpoint"] or {}, self.checkpoint or {}
        if self.first and was.get("sha256") != now.get("sha256"):
            names = [side.get("file", "none") for side in (was, now)]
            changed = "its bytes have changed" if names[0] == names[1] else f"it was {names[0]}"
            raise ValueError(
                f"{self.work_dir}: holds a run from another --checkpoint than {names[1]} "
                f"({changed}); choose another --work-dir (nothing was changed)"
            )
        if not self.resume:
            raise ValueError(
                f"{self.work_dir}: this run was started there before; add --resume to go on, or "
                "choose another --work-dir (nothing was changed)"
            )

    def before_run(self, runner: Runner) -> None:
        """Compare the data with that of the run's beginning; set as many threads as it had."""
        self.data = same_everywhere(lambda: self._data(runner))
        self.extensions = list(self.before["extended"]) if self.before else []
        self.threads = self.before["threads"] if self.before else torch.get_num_threads()
        torch.set_num_threads(self.threads)
        if self.before:
            self._check_data(self.before, f"{self.work_dir / RUN_NAME}")

    def _data(self, runner: Runner) -> dict[str, Any]:
        found = {"train": data_identity(runner.train_dataloader.dataset)}
        if runner.val_loop is not None:
            found["val"] = data_identity(runner.val_dataloader.dataset)
        return found

    def _check_data(self, before: dict[str, Any], where: str) -> None:
        moved = [
            key
            for key in self.settings
            if matches(key, DATA_PATHS) and self.settings[key] != before["settings"].get(key)
        ]
        if moved and self.data["train"]["digest"] is None:
            raise ValueError(
                f"{where}: {moved[0]} was {before['settings'].get(moved[0])}, and this data set "
                "does not say what its samples are; give the path that the run began with"
            )
        other_validation = any(
            before["settings"].get(key) != value
            for key, value in self.settings.items()
            if matches(key, VALIDATION) and not matches(key, DATA_PATHS)
        )
        for split, was in before["data"].items():
            if split not in self.data or (split == "val" and other_validation):
                continue
            if difference := differences(was, self.data[split]):
                raise ValueError(
                    f"{where}: the data has changed since the run began: {split} has {difference}. "
                    "Bring the old data back, or start again in another --work-dir"
                )

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Compare the run of a training state with this one, and follow another schedule.

        Raises:
            ValueError: it is of another run, or has been trained longer than this one is to be.
        """
        state = checkpoint.get(STATE_KEY)
        if not runner.cfg.get("resume") or state is None:
            return
        where = Path(str(runner._load_from))
        inside = where.parent.resolve() == self.work_dir.resolve()
        if self.before and inside and state["run"] != self.before["run"]:
            raise ValueError(
                f"{where}: is of another run than the {RUN_NAME} beside it; remove it, or choose "
                "another --work-dir"
            )
        self._check_data(state, str(where))
        # what run.json has agreed to need not be asked for again
        extend = self.extend or bool(self.extensions)
        keys = check_settings(state["settings"], self.settings, extend, where)
        if not keys:
            return
        step = checkpoint["meta"]
        if step["iter"] > runner.max_iters:
            raise ValueError(
                f"{where}: has {step['iter']} iterations behind it, more than the "
                f"{runner.max_iters} asked for; choose a longer schedule"
            )
        if self.extend:
            was, now = (
                {key: side.get(key) for key in keys} for side in (state["settings"], self.settings)
            )
            self.extensions.append({"iteration": step["iter"], "from": was, "to": now})
        follow_schedule(runner, checkpoint)

    def before_train(self, runner: Runner) -> None:
        """Say what this run is, in every training state from now on."""
        self.run = {
            "run": self.before["run"] if self.before else uuid.uuid4().hex,
            "batch": runner.step_batch and runner.step_batch.total,
            "threads": self.threads,
            "settings": self.settings,
            "checkpoint": self.checkpoint,
            "data": self.data,
            "extended": self.extensions,
        }

    def before_train_epoch(self, runner: Runner) -> None:
        """Write ``run.json`` once everything is built, loaded and checked by all hooks: a run that
        never started, for a wrong checkpoint say, leaves the directory free.
        """
        if is_main_process() and not self.written:
            write_sealed_json(self.run, self.work_dir / RUN_NAME)
            self.written = True

    def after_train(self, runner: Runner) -> None:
        """Mark on the run card that the schedule was another in the beginning."""
        if self.extensions:
            runner.run_card = {**getattr(runner, "run_card", {}), "extended": self.extensions}

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Put the identity into a training state."""
        checkpoint[STATE_KEY] = self.run


def read_run(work_dir: str | Path) -> dict[str, Any] | None:
    """What :class:`RunIdentity` wrote into a directory; None in another one.

    Raises:
        ValueError: the file is damaged, or of an earlier version.
    """
    path = Path(work_dir, RUN_NAME)
    if not path.is_file():
        return None
    run = read_sealed_json(path)
    keys = ("run", "batch", "threads", "settings", "checkpoint", "data", "extended")
    if missing := [key for key in keys if key not in run]:
        raise ValueError(
            f"{path}: has no '{missing[0]}', it is damaged or of an earlier version; choose "
            "another --work-dir"
        )
    return run


def follow_schedule(runner: Runner, checkpoint: dict[str, Any]) -> None:
    """Put the schedule of a run where it would be, had the run had it from the beginning.

    Args:
        runner: with its schedulers built, none of which has stepped yet.
        checkpoint: about to be resumed from; its learning rates become those of the new schedule.

    Raises:
        ValueError: a scheduler that follows a metric.
    """
    schedulers = runner.param_schedulers or []
    if not isinstance(schedulers, list) or any(
        getattr(scheduler, "need_val_args", False) for scheduler in schedulers
    ):
        raise ValueError("--extend: a schedule that follows a metric has no other length")
    epoch_length = len(runner.train_dataloader)
    with warnings.catch_warnings():
        # of a scheduler that steps before its optimizer
        warnings.simplefilter("ignore", UserWarning)
        for step in range(1, checkpoint["meta"]["iter"] + 1):
            for scheduler in schedulers:
                if not scheduler.by_epoch or step % epoch_length == 0:
                    scheduler.step()
    checkpoint.pop("param_schedulers", None)  # those of the runner are where they should be
    stored = checkpoint["optimizer"]
    groups = [*stored["param_groups"], *filter(None, [stored.get("base_param_settings")])]
    names = {scheduler.param_name for scheduler in schedulers}
    for old, new in zip(groups, runner.optim_wrapper.param_groups, strict=True):
        old.update({name: new[name] for name in names})
