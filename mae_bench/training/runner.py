"""MMEngine's runner with what it lacks for large batches, sharded models and other machines."""

from functools import partial
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import is_distributed, is_main_process
from mmengine.model import convert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from ..config.keys import BATCH_KEY
from ..datasets.loader_workers import guard, named_failures
from ..datasets.one_set import TRAIN
from ..datasets.set_checks import check_length
from ..distributed import name_slurm_task
from .hooks import ExportCheckpoint, WriteRecord
from .hooks.check_sets import CheckSets
from .resuming import read_run
from .sharding import GatherToValidate, keep_states_whole, shard_model
from .start import Start
from .step_batch import StepBatch, share_batch


class TrainRunner(Runner):
    """MMEngine's runner, with accumulation in the learning rate, fully sharded models, and results
    that outlive a hook that fails at the end.

    Args:
        start: what the weights are before training, or None: random.
    """

    def __init__(self, *args: Any, start: Start | None = None, **kwargs: Any) -> None:
        self.start = start
        self.step_batch: StepBatch | None = None
        super().__init__(*args, **kwargs)

    @classmethod
    def from_cfg(cls, cfg: Config, start: Start | None = None) -> "TrainRunner":
        """Build from a config, see ``find_start``."""
        return Runner.from_cfg.__func__(partial(cls, start=start), cfg)  # type: ignore[attr-defined]

    def train(self) -> nn.Module:
        """Train.

        Raises:
            ValueError: the loader's workers lack something; or a batch of one image, of which
                BatchNorm has no statistics.
        """
        try:
            with named_failures(self.work_dir):
                return super().train()
        except ValueError as error:
            if "Expected more than 1 value per channel" not in str(error):
                raise
            raise ValueError(
                "BatchNorm has no statistics of one image: give train_dataloader.batch_size=2 or "
                "more, and train_dataloader.drop_last=True where the last batch has one"
            ) from error

    def test(self) -> dict[str, float]:
        """Test; what the loader's workers lack is said in a ValueError."""
        with named_failures(self.work_dir):
            return super().test()

    @staticmethod
    def build_dataloader(*args: Any, **kwargs: Any) -> DataLoader:
        """Build a loader whose workers fail where they would hang."""
        return guard(Runner.build_dataloader(*args, **kwargs))

    def scale_lr(self, optim_wrapper: OptimWrapper, auto_scale_lr: dict | None = None) -> None:
        """Scale by the batch of an optimizer step: GPUs x batch_size x accumulation.

        MMEngine leaves accumulation out, and the ``base_lr`` that its log shows. Source: MAE,
        Appendix A.1 (linear scaling rule); the official code counts accumulation.
        """
        counts = getattr(optim_wrapper, "_accumulative_counts", 1)
        if auto_scale_lr and counts > 1:
            base = auto_scale_lr["base_batch_size"] / counts
            auto_scale_lr = {**auto_scale_lr, "base_batch_size": base}
        groups = optim_wrapper.optimizer.param_groups
        before = groups[0]["lr"]
        super().scale_lr(optim_wrapper, auto_scale_lr)
        settings = optim_wrapper.base_param_settings
        if settings is not None and before:
            settings["lr"] *= groups[0]["lr"] / before

    def setup_env(self, env_cfg: dict) -> None:
        """Prepare the processes, and share the batch of a step among them.

        Raises:
            ValueError: they cannot share the batch that a resumed run began with, or both the whole
                batch and its parts are given.
        """
        on_cpus = self.launcher in ("pytorch", "slurm") and not torch.cuda.is_available()
        if on_cpus and not is_distributed():
            if self.launcher == "slurm":
                name_slurm_task()
            torch.distributed.init_process_group("gloo")  # MMEngine begins with choosing a GPU
        super().setup_env(env_cfg)
        if isinstance(self._train_dataloader, dict) and isinstance(self.optim_wrapper, dict):
            self.step_batch = self._share_batch()
            self._train_dataloader["batch_size"] = self.step_batch.size
            self.optim_wrapper["accumulative_counts"] = self.step_batch.accumulation

    def _share_batch(self) -> StepBatch:
        """The batch of a resumed run's beginning, or the recipe's, or what its parts make."""
        size = self._train_dataloader["batch_size"]
        accumulation = self.optim_wrapper.get("accumulative_counts", 1)
        stated = self.cfg.get(BATCH_KEY)
        if stated and accumulation != 1:
            raise ValueError(
                f"optim_wrapper.accumulative_counts={accumulation}: {BATCH_KEY}={stated} decides "
                f"it; give {BATCH_KEY}=None to choose it, or leave it out"
            )
        begun = read_run(self.work_dir) if self.cfg.get("resume") else None
        total = begun["batch"] if begun else stated
        if not total:
            return StepBatch(self.world_size, size, accumulation)
        batch = share_batch(total, self.world_size, size)
        if begun and batch.total != total:
            raise ValueError(
                f"{self.work_dir}: the run began with a batch of {total}, which {self.world_size} "
                "processes cannot share evenly; resume with another number"
            )
        return batch

    def build_train_loop(self, loop: Any) -> Any:
        """Build the loop.

        Raises:
            ValueError: one to which each part of a step's batch is an iteration; or there are fewer
                images than a step needs, of which a schedule would only say that it has no end.
        """
        built = super().build_train_loop(loop)
        if hasattr(built, "accumulation"):
            check_length(self.cfg, TRAIN, built.dataloader.dataset, self.world_size).refuse(TRAIN)
        elif self.cfg.get(BATCH_KEY) and self.step_batch and self.step_batch.accumulation > 1:
            raise ValueError(
                f"train_cfg: {type(built).__name__} counts the parts of a batch as iterations; use "
                f"ResumableEpochLoop or ResumableIterLoop, or {BATCH_KEY}=None"
            )
        return built

    @property
    def fully_sharded(self) -> bool:
        """Whether this run is one of :func:`use_fully_sharded`."""
        return bool(self.cfg.get("fsdp"))

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Prepare a model for several processes, by ``fully_shard`` or as MMEngine does.

        Raises:
            ValueError: norms over all processes, which PyTorch has for GPUs only.
        """
        if self.distributed and not torch.cuda.is_available():
            if self.cfg.get("sync_bn"):
                raise ValueError(
                    "sync_bn needs GPUs: give sync_bn=None, and each process has norms of its own"
                )
            unused = self.cfg.get("find_unused_parameters", False)
            defaults = dict(broadcast_buffers=False, find_unused_parameters=unused, device_ids=None)
            model_wrapper_cfg = {**defaults, **(model_wrapper_cfg or {})}
        if not self.fully_sharded:
            return super().wrap_model(model_wrapper_cfg, model)
        if self.cfg.get("sync_bn"):
            model = convert_sync_batchnorm(model, self.cfg.sync_bn)
        self._initialise(model)  # initialisers and files know whole tensors only
        return shard_model(model)

    def _init_model_weights(self) -> None:
        if not self.fully_sharded:
            self._initialise(self.model)

    def initialise(self) -> None:
        """Give the model the weights that training would start from, for a test of these."""
        self._initialise(self.model)

    def _initialise(self, model: nn.Module) -> None:
        super()._init_model_weights()
        if self.start:
            self.start.load_into(model)

    def build_optim_wrapper(self, optim_wrapper: Any) -> Any:
        """Build the optimizer, whose states are whole where they are saved."""
        built = super().build_optim_wrapper(optim_wrapper)
        if self.fully_sharded and built is not optim_wrapper:
            keep_states_whole(built.optimizer)
        return built

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Call all hooks.

        When a run is over, one that fails does not keep those behind it from leaving model and
        record. Its error is raised after them. Of a sharded model all processes have to do the
        same, so there it is raised at once.
        """
        if fn_name not in ("after_train", "after_test_epoch") or self.fully_sharded:
            super().call_hook(fn_name, **kwargs)
            return
        failure = None
        for hook in self._hooks:
            try:
                getattr(hook, fn_name, lambda *args, **kwargs: None)(self, **kwargs)
            except Exception as error:
                if isinstance(hook, (ExportCheckpoint, WriteRecord)):
                    raise
                failure = failure or error
                self.logger.error(f"{type(hook).__name__} failed at the end: {error}")
        if failure is not None:
            raise failure

    def register_hooks(self, *args: Any, **kwargs: Any) -> None:
        """Register the config's hooks, the check of the data, and what a sharded model needs."""
        super().register_hooks(*args, **kwargs)
        self.register_hook(CheckSets())
        if self.fully_sharded:
            self.register_hook(GatherToValidate())

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Save in the main process; all processes call this."""
        if self.fully_sharded and not is_main_process():
            # in the order in which the main process gathers them
            self.model.state_dict()
            self.optim_wrapper.state_dict()
        super().save_checkpoint(*args, **kwargs)
