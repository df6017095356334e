"""Weighted k-nearest-neighbour classification on frozen features."""

from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...registry import METRICS
from ..feature_store import FeatureStore, FeatureTensors
from .measure import FrozenSets, Measured, accuracy, tell

NEIGHBOURS = (10, 20, 100, 200)
QUERIES = 1024  # of which similarities to one chunk of training images are held: 16 MB


def nearest(train: Iterable[Tensor], queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The most similar training images of each query, by cosine.

    Args:
        train: features (n, D) of the training images, in chunks: only one is on the device at a
            time, and the whole matrix of similarities is never there.
        queries: (M, D), on the device that computes.
        count: neighbours of each query, at most as many as there are training images.

    Returns:
        similarities, falling, and places of the neighbours among all training images, (M, count).
    """
    queries = F.normalize(queries.float(), dim=1)
    found = queries.new_empty(len(queries), 0)
    places = torch.empty(len(queries), 0, dtype=torch.long, device=queries.device)
    first = 0
    for chunk in train:
        keys = F.normalize(chunk.to(queries.device).float(), dim=1).T
        parts = []
        for start in range(0, len(queries), QUERIES):
            rows = slice(start, start + QUERIES)
            near, at = (queries[rows] @ keys).topk(min(count, keys.shape[1]), dim=1)
            near = torch.cat([found[rows], near], dim=1)
            at = torch.cat([places[rows], at + first], dim=1)
            best, order = near.topk(min(count, near.shape[1]), dim=1)
            parts.append((best, at.gather(1, order)))
        found, places = (torch.cat(part) for part in zip(*parts, strict=True))
        first += len(chunk)
    return found, places


def vote(similarities: Tensor, labels: Tensor, classes: int, temperature: float) -> Tensor:
    """Class with the largest sum of exp(similarity / temperature) over the neighbours.

    Args:
        similarities, labels: of the neighbours, (M, k).
        classes: how many there are.
        temperature: T.

    Returns:
        (M,) int64.
    """
    votes = similarities.new_zeros(len(similarities), classes)
    votes.scatter_add_(1, labels, (similarities / temperature).exp())
    return votes.argmax(dim=1)


@METRICS.register_module()
class KNN:
    """Top-1 accuracy by the votes of the k nearest training images, for several k.

    Metrics: ``knn/<feature>/top1_k<k>``, in percent. No hyper-parameter is chosen.

    Args:
        neighbours: values of k.
        temperature: T of the weights exp(cosine similarity / T).
        features: names of the features; None: all that were extracted.

    Raises:
        ValueError: from the call, a k larger than the training set, or an unknown feature.

    Source: k of 10, 20, 100 and 200 and T = 0.07 are the defaults of DINO's evaluation code
    (Caron et al. 2021), whose formula this is; the weights are those of Wu et al. 2018.
    """

    def __init__(
        self,
        neighbours: Sequence[int] = NEIGHBOURS,
        temperature: float = 0.07,
        features: Sequence[str] | None = None,
    ) -> None:
        self.neighbours = list(neighbours)
        self.temperature = temperature
        self.features = features

    def __call__(self, sets: FrozenSets) -> Measured:
        """Classify the validation images."""
        most, there = max(self.neighbours), sets.train.samples
        if most > there:
            raise ValueError(
                f"KNN: neighbours={self.neighbours} asks for more than the {there} training images"
            )
        labels = sets.train.labels.to(sets.device)
        metrics = {}
        for name in sets.names(self.features):
            queries = sets.val.load(name).to(sets.device)
            near, places = nearest(_told(name, sets.train), queries, most)
            for k in self.neighbours:
                classes = vote(near[:, :k], labels[places[:, :k]], sets.classes, self.temperature)
                metrics[f"knn/{name}/top1_k{k}"] = accuracy(classes, sets.val.labels)
        return Measured(metrics)


def _told(name: str, train: FeatureStore | FeatureTensors) -> Iterator[Tensor]:
    """Features of the training images, chunk by chunk, telling how far it is."""
    done = 0
    for chunk in train.chunks(name):
        yield chunk
        before, done = done, done + len(chunk)
        tell(f"k-NN of {name}: training images", before, done, train.samples)
