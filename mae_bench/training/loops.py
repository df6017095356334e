"""Training loops of which a run that was killed goes on as if nothing had happened.

Nothing random is saved. Instead every draw is a function of the seed and the place in the run: the
augmentation of a sample, and its mask, of (seed, epoch, position), whatever else the model draws of
(seed, iteration, process). What was drawn before, in which worker, and what a validation drew in
between then makes no difference, and a resumed run only has to know where it is.
"""

import math
from functools import partial
from itertools import count, islice
from typing import Any

import torch
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_dist_info
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import BatchSampler, DataLoader

from ..datasets.loader_workers import check_room
from ..registry import LOOPS
from .seeded import (
    BROKEN_KEY,
    DrawSampler,
    collate_reports,
    seed_everything,
    seed_of,
    seeded_dataloader,
)
from .step_batch import Parts, PartsLoader


class _SeededLoop:
    """What both loops add to MMEngine's, before which it stands in the order of base classes."""

    runner: Runner
    dataloader: DataLoader
    _iter: int

    def __init__(
        self,
        runner: Runner,
        dataloader: dict[str, Any] | DataLoader,
        max_broken_share: float = 0.001,
        **kwargs: Any,
    ) -> None:
        seed = runner._randomness_cfg.get("seed")
        if seed is None:
            raise ValueError(
                "randomness.seed is not set: set it, so that a resumed run draws the same"
            )
        self.seed = seed
        self.max_broken_share = max_broken_share
        self.broken: set[str] = set()
        self.first = True
        super().__init__(runner, _build(runner, dataloader, seed), **kwargs)  # type: ignore

    @property
    def accumulation(self) -> int:
        """Parts of each step's batch."""
        return getattr(self.dataloader, "accumulation", 1)

    @property
    def sampler(self) -> DrawSampler:
        """Where the indices come from, through a batch sampler of the user's too."""
        batches: Any = self.dataloader.batch_sampler
        return self.dataloader.sampler if batches is None else batches.sampler  # type: ignore

    def run_iter(self, *args: Any) -> None:
        """One step; ``args`` end with the batch, or its parts."""
        batch = args[-1]
        if not isinstance(batch, Parts):
            self._prepare(batch, 0)
            super().run_iter(*args)  # type: ignore[misc]
            return
        index = args[0] if len(args) == 2 else self._iter
        call = partial(self.runner.call_hook, batch_idx=index)
        call("before_train_iter", data_batch=batch.first)
        outputs, samples = self._train_parts(batch)
        seen = {**batch.first, "data_samples": samples} if samples else batch.first
        call("after_train_iter", data_batch=seen, outputs=outputs)
        self._iter += 1

    def _train_parts(self, parts: Parts) -> tuple[dict[str, Any], list[Any]]:
        """Train with the parts of a batch; the mean of what each gave, and their samples."""
        wrapper: Any = self.runner.optim_wrapper
        # MMEngine counts from the beginning of training, and the last step of an epoch may have
        # fewer parts than the others.
        wrapper._inner_count, wrapper._max_counts = 0, parts.count
        wrapper._remainder_counts = parts.count % wrapper._accumulative_counts
        outputs: list[dict[str, Any]] = []
        samples: list[Any] = []
        for number, part in enumerate(parts):
            self._prepare(part, number)
            if isinstance(part, dict) and isinstance(part.get("data_samples"), list):
                samples += part["data_samples"]  # hooks name them; tensors have no names
            found = self.runner.model.train_step(part, optim_wrapper=wrapper)
            outputs.append({name: _detached(value) for name, value in found.items()})
        means = {name: sum(one[name] for one in outputs) / len(outputs) for name in outputs[0]}
        return means, samples

    def _prepare(self, batch: Any, part: int) -> None:
        """Note what is broken in a part of a step's batch, and seed what the model draws for it."""
        if isinstance(batch, dict):
            for report in filter(None, batch.pop(BROKEN_KEY)):
                self._note_broken(report)
        if self.first:
            self.first = False
            check_room(self.dataloader, batch)
        # Processes and parts draw different numbers; masks have the seed of their sample.
        rank, processes = get_dist_info()
        seed_everything(seed_of(self.seed, self._iter, part * processes + rank))

    def _note_broken(self, report: str) -> None:
        """Log images that are found broken the first time; ValueError where they are too many."""
        for line in report.splitlines():
            if line in self.broken:
                continue
            self.broken.add(line)
            total = len(self.dataloader.dataset)  # type: ignore[arg-type]
            count = f"{len(self.broken)} of {total} images are broken so far"
            # An error, because processes other than the first log nothing less.
            self.runner.logger.error(f"{line}. Another one took its place; {count}")
            if len(self.broken) > self.max_broken_share * total:
                share = f"max_broken_share={self.max_broken_share}"
                raise ValueError(f"{count}, more than train_cfg.{share}; the last one: {line}")

    def validate_if_due(self) -> None:
        """Validate before going on where the run may have been killed in that validation."""
        loop: Any = self
        loop._decide_current_val_interval()
        by_epoch = isinstance(self, EpochBasedTrainLoop)
        done, end = (loop.epoch, loop.max_epochs) if by_epoch else (loop.iter, loop.max_iters)
        if (
            done > 0
            and self.runner.val_loop is not None
            and done >= loop.val_begin
            and (done % loop.val_interval == 0 or done == end)
        ):
            self.runner.val_loop.run()


def _build(runner: Runner, dataloader: dict[str, Any] | DataLoader, seed: int) -> Any:
    """The loader of seeded samples, which gives the parts of a step where there are several."""
    loader: Any = seeded_dataloader(dataloader, seed)
    if isinstance(loader, dict):
        differ = runner._randomness_cfg.get("diff_rank_seed", False)
        loader = runner.build_dataloader(loader, seed=runner.seed, diff_rank_seed=differ)
    loader.collate_fn = partial(collate_reports, collate=loader.collate_fn)
    wrapper: Any = runner.optim_wrapper
    accumulation = (
        wrapper.get("accumulative_counts", 1)
        if isinstance(wrapper, dict)
        else getattr(wrapper, "_accumulative_counts", 1)
    )
    return loader if accumulation == 1 else PartsLoader(loader, accumulation)


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, torch.Tensor) else value


@LOOPS.register_module()
class ResumableEpochLoop(_SeededLoop, EpochBasedTrainLoop):
    """MMEngine's loop over epochs, resumable to the bit, also in the middle of an epoch.

    Args:
        runner, dataloader, max_epochs, val_begin, val_interval, dynamic_intervals: as of MMEngine's
            ``EpochBasedTrainLoop``.
        max_broken_share: images that may be broken, over all images of the training set. Each of
            them is logged and replaced by another sample. Each process counts what it finds.

    Raises:
        ValueError: ``randomness.seed`` is not set, or, in training, too many broken images.
    """

    def run(self) -> nn.Module:
        """Train until ``max_epochs``."""
        self.runner.call_hook("before_train")
        if self._iter == self._epoch * len(self.dataloader):
            self.validate_if_due()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self.validate_if_due()
        self.runner.call_hook("after_train")
        return self.runner.model

    def run_epoch(self) -> None:
        """One epoch, or what is left of it."""
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        done = self._iter - self._epoch * len(self.dataloader)
        for index, batch in enumerate(self._batches_from(done), done):
            self.run_iter(index, batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1

    def _batches_from(self, first: int) -> Any:
        if type(self.dataloader.batch_sampler) is not BatchSampler:
            # None, or one that makes its batches otherwise, by aspect ratio say: load, and drop.
            return islice(self.dataloader, first, None)
        self.sampler.skip(first * self.accumulation * self.dataloader.batch_sampler.batch_size)
        return self.dataloader


@LOOPS.register_module()
class ResumableIterLoop(_SeededLoop, IterBasedTrainLoop):
    """MMEngine's loop over iterations, resumable to the bit.

    Args:
        runner, dataloader, max_iters, val_begin, val_interval, dynamic_intervals: as of MMEngine's
            ``IterBasedTrainLoop``. An endless sampler such as ``InfiniteSampler`` spares workers
            that start anew with each epoch.
        fast_forward_on_resume: as of that loop: a resumed run begins with the first sample again.
        max_broken_share: as of :class:`ResumableEpochLoop`.

    Raises:
        ValueError: ``randomness.seed`` is not set, or, in training, too many broken images.
    """

    def run(self) -> nn.Module:
        """Train until ``max_iters``."""
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        if self._iter:
            if self.fast_forward_on_resume:
                self.runner.logger.warning(
                    "fast_forward_on_resume: the data begins anew, so this run is not the one that "
                    "was not interrupted"
                )
            else:
                self.skip_batches(self._iter)
            self.validate_if_due()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self.validate_if_due()
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model

    def skip_batches(self, batches: int) -> None:
        """Leave out batches that were trained, of as many epochs of the sampler as they take."""
        loader: Any = self.dataloader
        if type(loader.batch_sampler) is not BatchSampler:
            self.dataloader_iterator.skip_iter(batches)
            return
        if isinstance(self.sampler.sampler, InfiniteSampler):
            self.dataloader_iterator.skip_iter(batches * self.accumulation)
            return
        for epoch in count():
            self.sampler.set_epoch(epoch)
            parts = sum(1 for _ in loader.batch_sampler)
            taken = parts // self.accumulation
            if not loader.drop_last:
                taken = math.ceil(parts / self.accumulation)
            if taken >= batches:
                break
            batches -= taken
        self.dataloader_iterator._epoch = epoch
        self.sampler.set_epoch(epoch)
        self.sampler.skip(batches * self.accumulation * loader.batch_sampler.batch_size)
