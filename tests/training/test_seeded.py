"""Samples are a function of seed, epoch and position; broken images are replaced."""

import pickle

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import DataLoader, Dataset

from mae_bench.datasets.loading import LoadImageTensor
from mae_bench.datasets.reading import BrokenImage
from mae_bench.training.seeded import BROKEN_KEY, Draw, DrawSampler, SeededDataset, seed_of


class Noise(Dataset):
    """Draws from all three generators; some indices are broken."""

    def __init__(self, size: int = 12, broken: frozenset[int] = frozenset()) -> None:
        self.size, self.broken = size, broken

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict:
        if index in self.broken:
            raise BrokenImage.at(f"{index}.jpg")
        numbers = [float(torch.rand(())), np.random.rand(), index]
        return {"inputs": torch.tensor(numbers)}


def samples(
    workers: int = 0, skip: int = 0, epoch: int = 0, seed: int = 0, sampler=DefaultSampler, **noise
) -> torch.Tensor:
    dataset = SeededDataset(Noise(**noise))
    draws = DrawSampler(dict(type=sampler), dataset, seed)
    draws.set_epoch(epoch)
    draws.skip(skip)
    loader = DataLoader(dataset, batch_size=2, sampler=draws, num_workers=workers)
    return torch.cat([batch["inputs"] for _, batch in zip(range(6), loader, strict=False)])


def test_workers_make_no_difference():
    assert torch.equal(samples(workers=0), samples(workers=2))


def test_skipping_makes_no_difference():
    assert torch.equal(samples(skip=4), samples()[4:])
    endless = samples(sampler=InfiniteSampler)
    assert torch.equal(samples(skip=4, sampler=InfiniteSampler)[:8], endless[4:12])


def test_seeds_epochs_and_positions_differ():
    numbers = torch.cat([samples(), samples(epoch=1), samples(seed=1)])[:, :2]
    assert len(numbers.unique()) == numbers.numel()


def test_order_is_that_of_the_sampler_itself():
    assert samples()[:, 2].tolist() == list(DefaultSampler(Noise(), seed=0))


def test_processes_draw_what_one_would(monkeypatch):
    whole = samples()
    shares = []
    for rank in range(2):
        for module in ("mmengine.dataset.sampler", "mae_bench.training.seeded"):
            monkeypatch.setattr(f"{module}.get_dist_info", lambda rank=rank: (rank, 2))
        shares.append(samples())
    assert torch.equal(torch.stack(shares, 1).flatten(0, 1), whole)


def test_draw_is_an_index_that_travels():
    draw = pickle.loads(pickle.dumps(Draw(7, (1, 2, 3))))
    assert draw == 7 and [*range(8)][draw] == 7
    assert draw.place == (1, 2, 3)


def test_seeds_are_mixed():
    seeds = {seed_of(a, b, c) for a in range(4) for b in range(4) for c in range(4)}
    assert len(seeds) == 64
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_broken_sample_is_replaced_by_the_same_other_one():
    dataset = SeededDataset(Noise(broken=frozenset({3})))
    sample = dataset[Draw(3, (0, 0, 5))]
    assert sample[BROKEN_KEY].startswith("3.jpg: cannot be decoded as an image")
    assert sample["inputs"][2] != 3
    assert torch.equal(dataset[Draw(3, (0, 0, 5))]["inputs"], sample["inputs"])
    assert dataset[Draw(4, (0, 0, 5))][BROKEN_KEY] == ""
    replacements = {int(dataset[Draw(3, (0, 0, i))]["inputs"][2]) for i in range(20)}
    assert len(replacements) > 3


def test_too_many_in_a_row():
    dataset = SeededDataset(Noise(broken=frozenset(range(12))))
    with pytest.raises(BrokenImage, match="11 images in a row cannot be decoded: 3.jpg"):
        dataset[Draw(3, (0, 0, 5))]


def test_only_broken_images_are_replaced():
    class Missing(Noise):
        def __getitem__(self, index: int) -> dict:
            return LoadImageTensor()(dict(img_path="absent.jpg"))

    with pytest.raises(FileNotFoundError, match="absent.jpg: no such image file"):
        SeededDataset(Missing())[Draw(0, (0, 0, 0))]


def test_attributes_of_the_wrapped_set_are_reachable():
    wrapped = pickle.loads(pickle.dumps(SeededDataset(Noise(size=5))))
    assert wrapped.size == len(wrapped) == 5
