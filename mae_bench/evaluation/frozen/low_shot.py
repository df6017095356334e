"""Classification of frozen features from a few labelled images of each class."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ...registry import METRICS
from .logistic import LogisticRegression
from .measure import FrozenSets, Measured, accuracy


def draw_images(labels: Tensor, count: int | float, seed: int) -> Tensor:
    """Places of some images of each class.

    Args:
        labels: (N,), on the CPU.
        count: images of each class, or below 1 their share, rounded, at least one image.
        seed: of the draw.

    Raises:
        ValueError: a class has fewer images.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for label in labels.unique().tolist():
        places = (labels == label).nonzero().flatten()
        wanted = int(count) if count >= 1 else max(1, round(count * len(places)))
        if wanted > len(places):
            raise ValueError(
                f"LowShot: {wanted} images of each class, and class {label} has {len(places)}: "
                "give test_cfg.measures fewer"
            )
        chosen.append(places[torch.randperm(len(places), generator=generator)[:wanted]])
    return torch.cat(chosen)


@METRICS.register_module()
class LowShot:
    """Top-1 accuracy of logistic regression on few images of each class, over several draws.

    Metrics, in percent: ``low_shot/<feature>/top1_n<count>`` for a number of images a class and
    ``.../top1_<percent>pct`` for a share of them, the mean over the draws; the same with ``_std``
    is their standard deviation. The draws are seeded and the same for every backbone; they are
    not the published lists. The penalty is fixed: few images leave none to choose it on.

    Args:
        counts: images a class, or shares below 1.
        draws: of each.
        strength: C of :class:`LogisticRegression`.
        iterations: of L-BFGS, at most.
        features: names of the features; None: all that were extracted.

    Source: counts and shares as usual (SimCLR, MSN); strength: scikit-learn's default, ours.
    """

    def __init__(
        self,
        counts: Sequence[int | float] = (1, 2, 5, 10, 0.01, 0.1),
        draws: int = 5,
        strength: float = 1.0,
        iterations: int = 1000,
        features: Sequence[str] | None = None,
    ) -> None:
        if draws < 2:
            raise ValueError(f"LowShot: draws={draws} have no spread: give 2 or more")
        self.counts = list(counts)
        self.draws = draws
        self.strength = strength
        self.iterations = iterations
        self.features = features

    def __call__(self, sets: FrozenSets) -> Measured:
        """Fit to each draw and classify the validation images."""
        metrics = {}
        for name in sets.names(self.features):
            for count in self.counts:
                found = torch.tensor(list(self._accuracies(sets, name, count)), dtype=torch.float64)
                size = f"n{count}" if count >= 1 else f"{100 * count:g}pct"
                metrics[f"low_shot/{name}/top1_{size}"] = float(found.mean())
                metrics[f"low_shot/{name}/top1_{size}_std"] = float(found.std())
        return Measured(metrics, {"low_shot_draws": self.draws})

    def _accuracies(self, sets: FrozenSets, name: str, count: int | float) -> Iterator[float]:
        labels, val_labels = sets.train.labels, sets.val.labels
        train, val = sets.train.load(name), sets.val.load(name).to(sets.device)
        for seed in range(self.draws):
            drawn = draw_images(labels, count, seed)
            model = LogisticRegression(self.strength, self.iterations)
            model.fit(train[drawn].to(sets.device), labels[drawn].to(sets.device), sets.classes)
            yield accuracy(model.predict(val), val_labels)
