"""Training samples whose randomness depends on nothing but the seed and their place in the run."""

import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_dist_info
from mmengine.registry import DATA_SAMPLERS
from mmengine.registry import DATASETS as ALL_DATASETS
from torch.utils.data import Dataset, Sampler

from ..datasets.loading import BrokenImage

BROKEN_KEY = "broken_images"
MAX_REPLACEMENTS = 10


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
            do; the positions then do not depend on the number of processes.
        dataset: what is drawn from.
        seed: of the run, the same in all processes.
    """

    def __init__(self, sampler: dict[str, Any], dataset: Dataset, seed: int) -> None:
        self.sampler = DATA_SAMPLERS.build(sampler, default_args=dict(dataset=dataset, seed=seed))
        self.dataset = dataset
        self.seed = seed
        self.epoch = 0
        self.rank, self.world_size = get_dist_info()
        self._first = 0

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Draw]:
        first, self._first = self._first, 0
        for n, index in enumerate(islice(self.sampler, first, None), first):
            yield Draw(index, (self.seed, self.epoch, n * self.world_size + self.rank))

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass."""
        self.epoch = epoch
        self.sampler.set_epoch(epoch)

    def skip(self, samples: int) -> None:
        """Leave out the first ``samples`` of this process in the next pass, which loads nothing."""
        self._first = samples


class SeededDataset(Dataset):
    """Another data set, each sample of which is augmented by its own seed.

    So a sample is the same whichever worker makes it, after whatever else, with any number of
    processes. ``sample_seed`` in the meta information of ``data_samples`` lets the model do
    likewise. An image that cannot be decoded is replaced by another sample, chosen by the seed;
    what was broken is in the sample under :data:`BROKEN_KEY`, one line for each.

    Args:
        dataset: config, or the data set itself; its samples are dicts.

    Raises:
        BrokenImage: ten replacements in a row were broken too.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = ALL_DATASETS.build(dataset) if isinstance(dataset, dict) else dataset

    def __getattr__(self, name: str) -> Any:
        if name == "dataset":  # not there yet, while this is unpickled
            raise AttributeError(name)
        return getattr(self.dataset, name)

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
            sample[BROKEN_KEY] = "\n".join(broken)
            if "data_samples" in sample:
                sample["data_samples"].set_metainfo(dict(sample_seed=seed))
            return sample
        raise BrokenImage(f"{len(broken)} images in a row cannot be decoded: {broken[0]}")


def seeded_dataloader(config: dict[str, Any], seed: int) -> dict[str, Any]:
    """The config of a data loader with its sampler and its data set wrapped by those above."""
    return {
        **config,
        "sampler": dict(type=DrawSampler, sampler=config["sampler"], seed=seed),
        "dataset": dict(type=SeededDataset, dataset=config["dataset"]),
    }
