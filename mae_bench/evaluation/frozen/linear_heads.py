"""Linear classifiers of many settings, trained together on frozen features."""

import math
from collections.abc import Sequence
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from ...registry import METRICS
from .measure import SHARE, FrozenSets, Measured, accuracy, held_out, tell

RATES = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1)
RATE_BATCH = 256  # samples that a rate is for
ROWS = 8192  # that are classified at a time


def train_heads(
    features: Tensor,
    labels: Tensor,
    classes: int,
    settings: Sequence[tuple[float, float]],
    epochs: int,
    batch: int,
    momentum: float,
    seed: int,
) -> Tensor:
    """Train a head for each setting on the same batches, by SGD with a cosine schedule to 0.

    Each head is what it would be alone: they share the order of the images and the first weights,
    a normal of std 0.01 with biases of 0.

    Args:
        features: (N, D).
        labels: (N,), on their device.
        classes: how many there are.
        settings: of each the learning rate, which is for a batch of 256 and scaled to ``batch``,
            and the weight decay.
        epochs: passes over the features; the last, smaller batch of each is left out.
        batch: samples of a step.
        momentum: of SGD.
        seed: of the order and the first weights.

    Returns:
        weights and biases (heads, classes, D + 1), float32.

    Raises:
        ValueError: fewer images than a batch.
    """
    count, width = features.shape
    steps = count // batch
    if not steps:
        raise ValueError(f"LinearHeads: batch={batch} is more than the {count} training images")
    generator = torch.Generator().manual_seed(seed)
    first = torch.cat(
        [0.01 * torch.randn(classes, width, generator=generator), torch.zeros(classes, 1)], dim=1
    )
    weights = first.to(features.device).repeat(len(settings), 1, 1)
    speed = torch.zeros_like(weights)
    rates, decays = weights.new_tensor(settings).T[:, :, None, None]
    peaks = rates * (batch / RATE_BATCH)
    for epoch in range(epochs):
        order = torch.randperm(count, generator=generator).to(features.device)
        for step in range(steps):
            rows = order[step * batch : (step + 1) * batch]
            inputs = _with_ones(features[rows])
            logits = torch.einsum("bd,hcd->hbc", inputs, weights)
            # Of each head's own mean: the sum over heads has the gradient of each in its part.
            errors = logits.softmax(dim=2) - F.one_hot(labels[rows], classes)
            gradient = torch.einsum("hbc,bd->hcd", errors, inputs) / batch
            speed.mul_(momentum).add_(gradient).add_(decays * weights)
            share = (epoch * steps + step) / (epochs * steps)
            weights -= peaks * (0.5 * (1 + math.cos(math.pi * share))) * speed
        tell("linear heads: epoch", epoch, epoch + 1, epochs)
    return weights


def classify(features: Tensor, weights: Tensor) -> Tensor:
    """Features (M, D) and weights (heads, classes, D + 1) -> classes (heads, M)."""
    parts = [
        torch.einsum("bd,hcd->hbc", _with_ones(rows), weights).argmax(dim=2)
        for rows in features.split(ROWS)
    ]
    return torch.cat(parts, dim=1)


def _with_ones(features: Tensor) -> Tensor:
    return torch.cat([features.float(), features.new_ones(len(features), 1).float()], dim=1)


@METRICS.register_module()
class LinearHeads:
    """Top-1 accuracy of a linear classifier, the best of many settings trained at once.

    Metrics, in percent: ``linear/<feature>/top1``, of the setting that is best on held-out training
    images, which the run card names; ``linear/<feature>/held_out_top1``, what it was chosen by;
    ``linear/<feature>/best_on_val_top1``, of the setting that is best on the validation images
    themselves, which is what DINOv2 reports.

    Args:
        rates: of a batch of 256 images.
        decays: weight decays, each tried with each rate; of the biases too, as in ``torch.optim``.
        epochs: passes over the training images.
        batch: images of a step.
        momentum: of SGD.
        share: of the training images that the setting is chosen on, drawn by ``seed``.
        features: names of the features; None: all that were extracted.
        seed: of the draw, the order and the first weights.

    Source: DINOv2's evaluation code (Oquab et al. 2023): the 13 rates and their batch, SGD with
    momentum 0.9 without weight decay, a cosine to 0, 12,500 steps of 128 images a GPU, which on 8
    GPUs are ten epochs of ImageNet. It augments the images (crops and flips), which features that
    are extracted once cannot have, and it has heads on the class tokens of four blocks, and with
    the mean beside, too.
    """

    def __init__(
        self,
        rates: Sequence[float] = RATES,
        decays: Sequence[float] = (0.0,),
        epochs: int = 10,
        batch: int = 1024,
        momentum: float = 0.9,
        share: float = SHARE,
        features: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        self.settings = list(product(rates, decays))
        self.epochs = epochs
        self.batch = batch
        self.momentum = momentum
        self.share = share
        self.features = features
        self.seed = seed

    def __call__(self, sets: FrozenSets) -> Measured:
        """Train, choose and classify the validation images."""
        metrics: dict[str, float] = {}
        card: dict[str, float] = {}
        heads: dict[str, Tensor] = {}
        labels = sets.train.labels.to(sets.device)
        chosen_on = held_out(len(labels), self.share, self.seed).to(sets.device)
        for name in sets.names(self.features):
            train = sets.train.load(name).to(sets.device)
            weights = train_heads(
                train[~chosen_on],
                labels[~chosen_on],
                sets.classes,
                self.settings,
                self.epochs,
                self.batch,
                self.momentum,
                self.seed,
            )
            scores = [accuracy(c, labels[chosen_on]) for c in classify(train[chosen_on], weights)]
            val = sets.val.load(name).to(sets.device)
            found = [accuracy(c, sets.val.labels) for c in classify(val, weights)]
            best = scores.index(max(scores))
            metrics[f"linear/{name}/top1"] = found[best]
            metrics[f"linear/{name}/held_out_top1"] = scores[best]
            metrics[f"linear/{name}/best_on_val_top1"] = max(found)
            card[f"linear_{name}_rate"], card[f"linear_{name}_decay"] = self.settings[best]
            heads[name] = weights[best].cpu()
        return Measured(metrics, card, heads)
