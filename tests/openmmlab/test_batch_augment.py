"""Erasing, mixing and label smoothing beside timm's, with the same draws."""

import random

import numpy as np
import pytest
import torch
from mmpretrain.models import ClsDataPreprocessor, LabelSmoothLoss
from mmpretrain.structures import DataSample
from timm.data.mixup import Mixup
from timm.data.random_erasing import RandomErasing
from timm.loss import SoftTargetCrossEntropy

from mae_bench.openmmlab.batch_augment import EraseAndMix

CLASSES, SMOOTHING = 7, 0.1


def seed(number: int) -> None:
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def batch(size: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(size, 3, 24, 32, generator=generator)
    return images, torch.randint(0, CLASSES, (size,), generator=generator)


def one_hot(labels: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(labels, CLASSES)


def timm_batch(number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and smoothed soft targets by timm alone, in the order of its training script."""
    images, labels = batch()
    seed(number)
    erase = RandomErasing(0.25, mode="pixel", max_count=1, device="cpu")
    mixup = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=SMOOTHING, num_classes=CLASSES)
    return mixup(erase(images), labels)


# Some of these seeds draw mixup, others CutMix; see below.
SEEDS = range(8)


@pytest.mark.parametrize("number", SEEDS)
def test_same_images_targets_and_loss_as_timm(number):
    expected_images, expected_targets = timm_batch(number)
    images, labels = batch()
    seed(number)
    images, scores = EraseAndMix(0.25, 0.8, 1.0)(images, one_hot(labels))
    assert torch.equal(images, expected_images)
    torch.testing.assert_close(scores.sum(1), torch.ones(len(scores)))

    logits = torch.randn(len(scores), CLASSES)
    ours = LabelSmoothLoss(SMOOTHING, mode="original")
    assert ours(logits, scores) == pytest.approx(
        SoftTargetCrossEntropy()(logits, expected_targets).item(), rel=1e-5
    )
    smoothed = ours.smooth_label(scores)
    torch.testing.assert_close(smoothed, expected_targets)


def test_the_seeds_cover_both_kinds_and_erasing():
    original = batch()[0]
    kinds = set()
    for number in SEEDS:
        images, _ = timm_batch(number)
        kept = (images == original).all(dim=1).float().mean()
        kinds.add("cutmix" if kept > 0.05 else "mixup")
        seed(number)
        erased = RandomErasing(0.25, mode="pixel", device="cpu")(batch()[0])
        kinds.add("erased" if not torch.equal(erased, original) else "whole")
    assert kinds == {"cutmix", "mixup", "erased", "whole"}


def test_through_the_preprocessor_and_only_in_training():
    preprocessor = ClsDataPreprocessor(
        num_classes=CLASSES,
        mean=[10.0, 20.0, 30.0],
        std=[2.0, 4.0, 8.0],
        batch_augments=dict(
            augments=dict(type=EraseAndMix, erase_prob=0.25, mixup=0.8, cutmix=1.0)
        ),
    )
    pixels = torch.randint(0, 255, (4, 3, 8, 8), dtype=torch.uint8)
    labels = torch.tensor([1, 0, 3, 3])

    def run(training: bool) -> dict:
        seed(3)
        samples = [DataSample().set_gt_label(label) for label in labels]
        return preprocessor(dict(inputs=pixels.clone(), data_samples=samples), training)

    mean = torch.tensor([10.0, 20.0, 30.0]).view(3, 1, 1)
    std = torch.tensor([2.0, 4.0, 8.0]).view(3, 1, 1)
    normalised = (pixels.float() - mean) / std
    plain = run(training=False)
    torch.testing.assert_close(plain["inputs"], normalised)
    for sample, label in zip(plain["data_samples"], labels, strict=True):
        assert sample.gt_label == label

    mixed = run(training=True)
    seed(3)
    np.random.choice(1)  # the preprocessor's choice among one augmentation
    images, targets = EraseAndMix(0.25, 0.8, 1.0)(normalised.clone(), one_hot(labels))
    torch.testing.assert_close(mixed["inputs"], images)
    torch.testing.assert_close(
        torch.stack([sample.gt_score for sample in mixed["data_samples"]]), targets
    )


def test_odd_batch():
    images, labels = batch(3)
    with pytest.raises(ValueError, match=r"batch of 3 .* even train_dataloader.batch_size"):
        EraseAndMix(0.25, 0.8, 1.0)(images, one_hot(labels))
