"""The PCA target is fitted once, before training, without disturbing the random numbers."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mae_bench.models.mae import MAE
from mae_bench.models.targets import PatchMoments
from mae_bench.models.vit import patchify
from mae_bench.training.hooks.pca_fit import FitPCATarget

SIDE, PATCH, KEPT = 16, 4, 5
MEAN, STD = [100.0, 110.0, 120.0], [50.0, 60.0, 70.0]


class Pictures(torch.utils.data.Dataset):
    """Twelve pictures of noise, each counted when read."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randint(0, 256, (12, 3, SIDE, SIDE), generator=generator).byte()
        self.read = 0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> dict:
        self.read += 1
        random.random(), np.random.rand(), torch.rand(1)  # what augmentations do
        return dict(inputs=self.images[i])


def runner_of(model: MAE, pictures: Pictures) -> SimpleNamespace:
    return SimpleNamespace(
        model=model,
        train_dataloader=DataLoader(pictures, batch_size=4, shuffle=False),
        world_size=1,
        logger=SimpleNamespace(info=lambda message: None),
    )


@pytest.fixture
def model() -> MAE:
    return MAE(
        backbone=dict(
            type="VisionTransformer",
            arch=dict(embed_dim=16, depth=1, num_heads=2),
            img_size=SIDE,
            patch_size=PATCH,
            output="tokens",
        ),
        decoder=dict(embed_dim=16, depth=1, num_heads=2),
        target=dict(type="PCATarget", coefficients=KEPT),
        data_preprocessor=dict(type="ImgDataPreprocessor", mean=MEAN, std=STD),
    )


def test_fits_on_the_normalised_pictures_it_needs(model):
    pictures = Pictures()
    FitPCATarget(images=6).before_train(runner_of(model, pictures))
    assert pictures.read == 8  # two batches of four
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    moments = PatchMoments(48)
    moments.add(patchify((pictures.images[:8] - mean) / std, PATCH))
    expected = moments.principal_components(KEPT)
    torch.testing.assert_close(model.target.mean, expected[0], rtol=1e-4, atol=1e-5)
    projections = model.target.basis @ expected[1].T
    torch.testing.assert_close(projections.abs(), torch.eye(KEPT), rtol=0, atol=1e-3)


def test_random_numbers_go_on_as_if_nothing_had_been_drawn(model):
    def draw() -> list[float]:
        return [random.random(), float(np.random.rand()), torch.rand(1).item()]

    def seed() -> None:
        random.seed(1), np.random.seed(1), torch.manual_seed(1)

    seed()
    expected = draw()
    seed()
    FitPCATarget(images=6).before_train(runner_of(model, Pictures()))
    assert model.target.fitted
    assert draw() == expected


def test_a_basis_that_is_there_stays(model):
    pictures = Pictures()
    basis = torch.eye(KEPT, 48)
    model.target.set_basis(torch.zeros(48), basis)
    FitPCATarget(images=6).before_train(runner_of(model, pictures))
    assert pictures.read == 0
    assert torch.equal(model.target.basis, basis)


def test_another_target_is_refused(model):
    other = SimpleNamespace(model=torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match="FitPCATarget needs model.target"):
        FitPCATarget().before_train(other)
