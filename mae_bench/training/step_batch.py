"""The batch of an optimizer step, the same on any number of GPUs: in parts, where one holds less.

An iteration is a step of the optimizer, however many forward passes it takes. Epochs, schedules,
``max_iters`` and intervals are then those of the recipe on any machine, where MMEngine's own
accumulation counts each forward pass as an iteration.
"""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from mmengine.dataset import InfiniteSampler
from torch.utils.data import BatchSampler, DataLoader

from ..config.keys import BATCH_KEY


@dataclass(frozen=True)
class StepBatch:
    """How the batch of a step is cut.

    Attributes:
        processes: that share it, one for each GPU.
        size: samples of one forward pass of one process.
        accumulation: forward passes of each process for one step.
    """

    processes: int
    size: int
    accumulation: int

    @property
    def total(self) -> int:
        """Samples of a step."""
        return self.processes * self.size * self.accumulation


def share_batch(total: int, processes: int, largest: int) -> StepBatch:
    """Cut a batch into the fewest equal parts of at most ``largest`` samples.

    Where the processes cannot share it evenly, the batch is the next smaller one whose parts they
    can, of as many samples as such parts may have.

    Raises:
        ValueError: there are more processes than samples.
    """
    own = total // processes
    if own < 1:
        raise ValueError(
            f"{BATCH_KEY}={total} is less than the {processes} processes; use fewer processes"
        )
    if total % processes:
        accumulation = math.ceil(own / largest)
        return StepBatch(processes, own // accumulation, accumulation)
    size = max(part for part in range(1, min(own, largest) + 1) if own % part == 0)
    return StepBatch(processes, size, own // size)


class Parts:
    """The parts of one step's batch, loaded as they are asked for.

    Args:
        first: part that is loaded already.
        rest: where the others come from.
        count: of all of them.
    """

    def __init__(self, first: Any, rest: Iterator[Any], count: int) -> None:
        self.first = first
        self.count = count
        self._parts = chain([first], islice(rest, count - 1))

    def __iter__(self) -> Iterator[Any]:
        return self._parts


class PartsLoader:
    """A data loader that gives the :class:`Parts` of a step at once; else it is the other one.

    The last step of an epoch has fewer parts where the other one keeps what is left over.

    Args:
        loader: gives one part at a time, in the order of ``DrawSampler``.
        accumulation: parts of a step.
    """

    def __init__(self, loader: DataLoader, accumulation: int) -> None:
        self.loader = loader
        self.accumulation = accumulation

    def __getattr__(self, name: str) -> Any:
        if name == "loader":  # not there yet, while this is unpickled
            raise AttributeError(name)
        return getattr(self.loader, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("loader", "accumulation"):
            super().__setattr__(name, value)
        else:
            setattr(self.loader, name, value)

    def __len__(self) -> int:
        """Steps of an epoch."""
        whole, rest = divmod(len(self.loader), self.accumulation)
        return whole + bool(rest and not self.loader.drop_last)

    def __iter__(self) -> Iterator[Parts]:
        batches, left = iter(self.loader), self._left()
        while left >= (self.accumulation if self.loader.drop_last else 1):
            count = int(min(self.accumulation, left))
            left -= count
            try:
                parts = Parts(next(batches), batches, count)
            except StopIteration:  # a sampler that says more than it has
                return
            yield parts
            deque(parts, maxlen=0)  # also where the step was left out

    def _left(self) -> float:
        """Parts of the next pass."""
        sampler: Any = getattr(self.loader.batch_sampler, "sampler", self.loader.sampler)
        if isinstance(getattr(sampler, "sampler", None), InfiniteSampler):
            return math.inf
        if type(self.loader.batch_sampler) is not BatchSampler:
            return len(self.loader)
        # the first of a resumed run's passes leaves out what was trained
        return len(self.loader) - sampler.skipped // self.loader.batch_sampler.batch_size
