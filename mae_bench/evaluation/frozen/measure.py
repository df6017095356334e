"""What all measures on frozen features share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from mmengine.logging import print_log
from torch import Tensor

from ..feature_store import FeatureStore, FeatureTensors

SHARE = 0.1  # of the training images, that hyper-parameters are chosen on


@dataclass(frozen=True)
class FrozenSets:
    """Features of the training and the validation images, and how many classes there are.

    ``train_files`` gives the files of the training images, in their order.
    """

    train: FeatureStore | FeatureTensors
    val: FeatureStore | FeatureTensors
    classes: int
    device: torch.device
    train_files: Callable[[], Sequence[str]]

    def names(self, wanted: Sequence[str] | None) -> list[str]:
        """The features that are wanted, all where None.

        Raises:
            ValueError: one is not among those that were extracted.
        """
        there = self.train.names
        if absent := sorted(set(wanted or ()) - set(there)):
            raise ValueError(
                f"features={absent}: extracted are {', '.join(there)}; take of these, or another "
                "model.backbone.output"
            )
        return list(wanted or there)


@dataclass(frozen=True)
class Measured:
    """Metrics of a measure, and what the run card says of how they came about.

    `heads`: linear classifiers by feature, weights and bias (classes, D + 1), on the CPU.
    """

    metrics: dict[str, float]
    card: dict[str, Any] = field(default_factory=dict)
    heads: dict[str, Tensor] = field(default_factory=dict)


class Measure(Protocol):
    """Something that is measured on frozen features."""

    def __call__(self, sets: FrozenSets) -> Measured:
        """Measure; the metrics' names begin with the measure's."""


def files_of(dataset: Any) -> list[str]:
    """Files of the images of a data set, in their order."""
    return [dataset.get_data_info(i)["img_path"] for i in range(len(dataset))]


def held_out(count: int, share: float, seed: int) -> Tensor:
    """Which of so many training images hyper-parameters are chosen on, (count,) bool."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.zeros(count, dtype=torch.bool)
    chosen[torch.randperm(count, generator=generator)[: max(1, round(share * count))]] = True
    return chosen


def accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Share of right predictions, in percent."""
    return 100 * float((predicted.cpu() == labels.cpu()).double().mean())


def tell(what: str, before: int, done: int, total: int) -> None:
    """Log how far a measure is, each time a tenth more is done, but for the last."""
    if 10 * before // total < 10 * done // total < 10:
        print_log(f"{what} {done:,} of {total:,}", "current")
