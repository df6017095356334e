"""Training samples whose randomness depends on nothing but the seed and their place in the run."""

import copy
import random
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_dist_info
from mmengine.registry import DATA_SAMPLERS
from mmengine.registry import DATASETS as ALL_DATASETS
from mmengine.structures import BaseDataElement
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, Sampler

from ..datasets.reading import BrokenImage

BROKEN_KEY = "broken_images"
MAX_REPLACEMENTS = 10
# What a data loader keeps when it gets another data set and sampler.
LOADER_OPTIONS = (
    *("num_workers", "collate_fn", "pin_memory", "timeout", "worker_init_fn", "generator"),
    *("multiprocessing_context", "prefetch_factor", "persistent_workers"),
)


def seed_of(*numbers: int) -> int:
    """A seed of 63 bits from whole numbers >= 0, well mixed: neighbours have nothing in common."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def seed_transforms(seed: int) -> None:
    """Seed the generators that transforms draw from, which are all on the CPU.

    ``torch.manual_seed`` looks for devices of every kind first, 0.16 ms for each sample.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)


def seed_everything(seed: int) -> None:
    """Seed every generator that transforms and models draw from, on all devices."""
    seed_transforms(seed)
    torch.manual_seed(seed)


class Draw(int):
    """An index into a data set that remembers where in the run it was drawn.

    To samplers, batch samplers and data sets it is an int like any other.

    Attributes:
        place: seed of the run, epoch, and position in the epoch over all processes.
    """

    place: tuple[int, ...]

    def __new__(cls, index: int, place: tuple[int, ...]) -> "Draw":
        draw = super().__new__(cls, index)
        draw.place = place
        return draw

    def __reduce__(self) -> tuple[Any, ...]:
        return Draw, (int(self), self.place)


class DrawSampler(Sampler):
    """Another sampler's indices as :class:`Draw`, from any position on.

    Args:
        sampler: config of one that gives each process every ``world_size``-th index, as MMEngine's
            do; the positions then do not depend on the number of processes. Or the sampler itself;
            one that knows no epochs, as PyTorch's, draws from generators seeded for each.
        dataset: what is drawn from.
        seed: of the run, the same in all processes.
    """

    def __init__(self, sampler: Any, dataset: Dataset, seed: int) -> None:
        if isinstance(sampler, dict):
            default = dict(dataset=dataset, seed=seed)
            sampler = DATA_SAMPLERS.build(sampler, default_args=default)
        self.sampler = sampler
        self.dataset = dataset
        self.seed = seed
        self.epoch = 0
        self.rank, self.world_size = get_dist_info()
        self.skipped = 0

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Draw]:
        first, self.skipped = self.skipped, 0
        if not hasattr(self.sampler, "set_epoch"):
            seed = seed_of(self.seed, self.epoch)
            seed_transforms(seed)
            if getattr(self.sampler, "generator", None) is not None:
                self.sampler.generator.manual_seed(seed)
        for n, index in enumerate(islice(self.sampler, first, None), first):
            yield Draw(index, (self.seed, self.epoch, n * self.world_size + self.rank))

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass."""
        self.epoch = epoch
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)

    def skip(self, samples: int) -> None:
        """Leave out the first ``samples`` of this process in the next pass, which loads nothing."""
        self.skipped = samples


class SeededDataset(Dataset):
    """Another data set, each sample of which is augmented by its own seed.

    So a sample is the same whichever worker makes it, after whatever else, with any number of
    processes. ``sample_seed`` in the meta information of ``data_samples`` lets the model do
    likewise. An image that cannot be decoded is replaced by another sample, chosen by the seed;
    what was broken is in the sample under :data:`BROKEN_KEY`, one line for each.

    Args:
        dataset: config, or the data set itself. Where its samples are no dicts, there is no place
            to say what was broken, and nothing is replaced.

    Raises:
        ValueError: a data set without indices.
        BrokenImage: ten replacements in a row were broken too.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = ALL_DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        if isinstance(self.dataset, IterableDataset):
            raise ValueError(
                f"train_dataloader.dataset: {type(self.dataset).__name__} has no indices, by which "
                "samples are seeded and a resumed run goes on"
            )

    def __getattr__(self, name: str) -> Any:
        if name == "dataset":  # not there yet, while this is unpickled
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __setattr__(self, name: str, value: Any) -> None:
        # Hooks that change the pipeline in the middle of a run mean that of the data set.
        if name == "dataset":
            super().__setattr__(name, value)
        else:
            setattr(self.dataset, name, value)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        seed = seed_of(*draw.place)
        index, broken = int(draw), []
        for _ in range(1 + MAX_REPLACEMENTS):
            seed_transforms(seed)
            try:
                sample = self.dataset[index]
            except BrokenImage as error:
                broken.append(str(error))
                index = seed_of(seed, len(broken)) % len(self)
                continue
            if isinstance(sample, dict):
                sample[BROKEN_KEY] = "\n".join(broken)
                _note_seed(sample.get("data_samples"), seed)
            elif broken:
                break
            return sample
        raise BrokenImage(f"{len(broken)} images in a row cannot be decoded: {broken[0]}")


def _note_seed(data_samples: Any, seed: int) -> None:
    """Let the model know the seed, where the sample has a data element for it, or several."""
    for element in data_samples if isinstance(data_samples, (list, tuple)) else [data_samples]:
        if isinstance(element, BaseDataElement):
            element.set_metainfo(dict(sample_seed=seed))


def collate_reports(samples: list[Any], collate: Callable[[list[Any]], Any]) -> Any:
    """Collate samples by another function, which need not know of :data:`BROKEN_KEY`.

    Raises:
        BrokenImage: one was replaced, and the batch has no keys to say so.
    """
    reports = [sample.pop(BROKEN_KEY) for sample in samples if isinstance(sample, dict)]
    batch = collate(samples)
    if isinstance(batch, dict):
        batch[BROKEN_KEY] = reports
    elif any(reports):
        raise BrokenImage("\n".join(filter(None, reports)))
    return batch


def seeded_dataloader(loader: dict[str, Any] | DataLoader, seed: int) -> Any:
    """A data loader, or its config, with its sampler and its data set wrapped by those above.

    Raises:
        ValueError: a batch sampler that hides its sampler.
    """
    if isinstance(loader, dict):
        return {
            **loader,
            "sampler": dict(type=DrawSampler, sampler=loader["sampler"], seed=seed),
            "dataset": dict(type=SeededDataset, dataset=loader["dataset"]),
        }
    dataset = SeededDataset(loader.dataset)
    batches: Any = loader.batch_sampler
    order: dict[str, Any]
    if batches is None or type(batches) is BatchSampler:
        order = dict(
            batch_size=loader.batch_size,
            drop_last=loader.drop_last,
            sampler=DrawSampler(loader.sampler, dataset, seed),
        )
    elif hasattr(batches, "sampler"):
        batches = copy.copy(batches)
        batches.sampler = DrawSampler(batches.sampler, dataset, seed)
        order = dict(batch_sampler=batches)
    else:
        raise ValueError(
            f"train_dataloader.batch_sampler: {type(batches).__name__} has no attribute sampler, "
            "so its samples cannot be seeded by their place in the run"
        )
    return DataLoader(dataset, **order, **{name: getattr(loader, name) for name in LOADER_OPTIONS})
