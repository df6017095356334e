"""What a training will take: operations, memory, hours and disk, before it is started."""

from dataclasses import dataclass
from functools import cached_property

from mmengine.config import Config

from ..config.keys import BATCH_KEY
from .gpus import GIB, GPU, gpu_named
from .hooks.ema import averaging_hooks
from .step_batch import StepBatch, share_batch
from .step_cost import StepCost, step_cost

# A share of a GPU's memory that no tensor gets: CUDA's own, libraries, gaps of the allocator.
RESERVED = 0.1
UTILISATION = 0.4  # of the peak of the data sheet; assumed, and said with every figure
LARGEST_BATCH = 4096


@dataclass(frozen=True)
class Estimate:
    """What one config takes on some GPUs.

    Args:
        cfg: that trains.
        gpu: name in ``gpus.py``.
        gpus: how many, a process each.
        precision: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        images: of an epoch; None where nobody says.
        batch: images of a forward pass on one GPU; None: as many as the recipe's.
        sharded: whether weights, gradients and moments are cut among the processes.
        utilisation: share of the peak of the data sheet that the training gets.

    Raises:
        ValueError: no such GPU, or it lacks the format; see :func:`step_cost` too.
    """

    cfg: Config
    gpu: str
    gpus: int = 1
    precision: str = "float32"
    images: int | None = None
    batch: int | None = None
    sharded: bool = False
    utilisation: float = UTILISATION

    def __post_init__(self) -> None:
        if self.precision == "bfloat16" and not self.card.bfloat16:
            raise ValueError(f"{self.gpu} has no bfloat16: use --amp float16")

    @property
    def card(self) -> GPU:
        """The GPU."""
        return gpu_named(self.gpu)

    @cached_property
    def shares(self) -> StepBatch:
        """How the batch of a step is cut."""
        loader = self.cfg.train_dataloader
        parts = self.cfg.optim_wrapper.get("accumulative_counts", 1)
        total = self.cfg.get(BATCH_KEY) or loader.batch_size * parts * self.gpus
        return share_batch(total, self.gpus, self.batch or loader.batch_size)

    @cached_property
    def step(self) -> StepCost:
        """A forward and backward pass of one process."""
        return self._step(self.shares.size)

    def _step(self, batch: int) -> StepCost:
        return step_cost(self.cfg, batch, self.precision, self.shares.accumulation > 1)

    @property
    def operations_per_image(self) -> float:
        """Forward and backward, a multiply-add counting as two."""
        return self.step.operations / self.step.batch

    @property
    def seen(self) -> int | None:
        """Images of the whole training; None where the length of an epoch is not known."""
        train, total = self.cfg.train_cfg, self.shares.total
        if train.get("max_iters"):
            return train.max_iters * total
        if self.images is None:
            return None
        return train.max_epochs * (self.images // total) * total

    @property
    def hours(self) -> float | None:
        """Of the training without its validations; None where its length is not known."""
        if self.seen is None:
            return None
        rate = self.card.single if self.precision == "float32" else self.card.mixed
        second = rate * 1e12 * self.utilisation * self.gpus
        return self.operations_per_image * self.seen / second / 3600

    @property
    def memory(self) -> int:
        """Bytes at the peak on each GPU."""
        return self._memory(self.step)

    def _memory(self, step: StepCost) -> int:
        average = step.parameters * self._averages
        if self.gpus == 1:
            return step.peak + average
        if self.sharded:
            held = step.parameters + step.gradients + step.moments
            return held // self.gpus + step.activations
        return step.peak + average + step.gradients  # the buckets that are exchanged

    @cached_property
    def _averages(self) -> int:
        return len(averaging_hooks(self.cfg))

    @cached_property
    def largest_batch(self) -> int:
        """Most images of a forward pass that fit one GPU; 0 where not even two do."""
        room = int(self.card.memory * GIB * (1 - RESERVED))

        def fits(batch: int) -> bool:
            return self._memory(self._step(batch)) <= room

        fit = min(2, self.shares.size)  # BatchNorm needs two
        if not fits(fit):
            return 0
        too_many = 2 * fit
        while too_many <= LARGEST_BATCH and fits(too_many):
            fit, too_many = too_many, 2 * too_many
        while too_many - fit > max(1, fit // 16):
            middle = (fit + too_many) // 2
            fit, too_many = (middle, too_many) if fits(middle) else (fit, middle)
        return fit

    @property
    def disk(self) -> int:
        """Bytes of the training states that are kept, and of the exported model."""
        saving, train = self.cfg.default_hooks.checkpoint, self.cfg.train_cfg
        kept = saving.get("max_keep_ckpts", 2)
        if kept < 0:
            kept = (train.get("max_epochs") or train.max_iters) // saving.get("interval", 1)
        state = self.step.parameters * (1 + self._averages) + self.step.moments
        return kept * state + self.step.parameters
