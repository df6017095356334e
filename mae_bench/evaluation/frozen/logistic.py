"""Multinomial logistic regression on frozen features."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor

from ...registry import METRICS
from .measure import SHARE, FrozenSets, Measured, accuracy, held_out

ROWS = 65536  # that are in float64 at a time: 400 MB of a ViT-B


class LogisticRegression:
    """Linear classifier (C, D + 1) that minimises cross-entropy with an L2 penalty, by L-BFGS.

    The objective is that of scikit-learn: C * sum of the cross-entropies + half of the squared
    weights; biases are not penalised. It is computed in float64.

    Args:
        strength: C; a larger one penalises less.
        iterations: of L-BFGS, at most.
    """

    def __init__(self, strength: float, iterations: int = 1000) -> None:
        self.strength = strength
        self.iterations = iterations

    def fit(self, features: Tensor, labels: Tensor, classes: int) -> "LogisticRegression":
        """Fit to features (N, D) with labels (N,), on their device."""
        width = features.shape[1]
        self.weights = features.new_zeros(classes, width + 1, dtype=torch.float64)
        self.weights.requires_grad_()
        optimizer = torch.optim.LBFGS(
            [self.weights],
            max_iter=self.iterations,
            max_eval=2 * self.iterations,
            tolerance_grad=1e-7,
            tolerance_change=0.0,
            history_size=10,
            line_search_fn="strong_wolfe",
        )
        count = len(labels)

        def objective() -> Tensor:
            optimizer.zero_grad()
            penalty = self.weights[:, :-1].square().sum() / (2 * self.strength * count)
            penalty.backward()
            total = penalty.detach()
            for rows, targets in zip(features.split(ROWS), labels.split(ROWS), strict=True):
                loss = F.cross_entropy(self.logits(rows), targets, reduction="sum") / count
                loss.backward()
                total = total + loss.detach()
            return total

        optimizer.step(objective)
        self.weights.requires_grad_(False)
        return self

    def logits(self, features: Tensor) -> Tensor:
        """(N, D) -> (N, C) float64."""
        return F.linear(features.double(), self.weights[:, :-1], self.weights[:, -1])

    def predict(self, features: Tensor) -> Tensor:
        """(N, D) -> classes (N,)."""
        return torch.cat([self.logits(rows).argmax(dim=1) for rows in features.split(ROWS)])


@METRICS.register_module()
class Logistic:
    """Top-1 accuracy of logistic regression whose penalty is chosen on held-out training images.

    Metrics, in percent: ``logistic/<feature>/top1``, fitted to all training images with the chosen
    C, which the run card names; ``logistic/<feature>/held_out_top1``, on the images that it was
    chosen on.

    Args:
        strengths: values of C, see :class:`LogisticRegression`.
        share: of the training images that C is chosen on, drawn by ``seed``.
        iterations: of L-BFGS, at most.
        features: names of the features; None: all that were extracted.
        seed: of the draw.

    Source: DINOv2's evaluation code (Oquab et al. 2023) chooses C so, on 10 % of the training
    images, among 45 values from 1e-6 to 1e5 with at most 1000 iterations in float64.
    """

    def __init__(
        self,
        strengths: Sequence[float],
        share: float = SHARE,
        iterations: int = 1000,
        features: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        self.strengths = list(strengths)
        self.share = share
        self.iterations = iterations
        self.features = features
        self.seed = seed

    def __call__(self, sets: FrozenSets) -> Measured:
        """Fit, choose and classify the validation images."""
        metrics: dict[str, float] = {}
        card: dict[str, float] = {}
        labels = sets.train.labels.to(sets.device)
        chosen_on = held_out(len(labels), self.share, self.seed).to(sets.device)
        for name in sets.names(self.features):
            train = sets.train.load(name).to(sets.device)
            rest, rest_labels = train[~chosen_on], labels[~chosen_on]
            scores = {}
            for strength in self.strengths:
                model = LogisticRegression(strength, self.iterations)
                model.fit(rest, rest_labels, sets.classes)
                scores[strength] = accuracy(model.predict(train[chosen_on]), labels[chosen_on])
                print_log(
                    f"logistic regression of {name}, C {strength:g}: {scores[strength]:.2f} % of "
                    "the held-out images",
                    "current",
                )
            best = max(scores, key=lambda strength: scores[strength])
            model = LogisticRegression(best, self.iterations).fit(train, labels, sets.classes)
            val = sets.val.load(name).to(sets.device)
            metrics[f"logistic/{name}/top1"] = accuracy(model.predict(val), sets.val.labels)
            metrics[f"logistic/{name}/held_out_top1"] = scores[best]
            card[f"logistic_{name}_C"] = best
        return Measured(metrics, card)
