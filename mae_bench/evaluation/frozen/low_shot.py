"""Classification of frozen features from a few labelled images of each class."""

import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath

import torch
from mmengine.logging import print_log
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


def listed_images(file: str, images: Sequence[str]) -> Tensor:
    """Places of the images of a list among all.

    Args:
        file: a name in each line, as ``n01440764_10074.JPEG``.
        images: files of all images.

    Raises:
        FileNotFoundError: no such list.
        ValueError: it is empty, names an image twice, or one that is not among them, or two images
            have one name.
    """
    names = Path(file).read_text(encoding="utf-8").split()
    places = {PurePath(image).name: place for place, image in enumerate(images)}
    if len(places) < len(images):
        raise ValueError(f"LowShot: {file} cannot be used, as images of one name are in the set")
    if not names:
        raise ValueError(f"LowShot: {file} is empty: give a list with the name of an image a line")
    if twice := [name for name, n in Counter(names).items() if n > 1]:
        raise ValueError(f"LowShot: {file} names {twice[0]!r} twice")
    if absent := [name for name in names if name not in places]:
        raise ValueError(
            f"LowShot: {file}: {len(absent)} of {len(names)} images, such as {absent[0]!r}, are "
            "not in the training set"
        )
    return torch.tensor([places[name] for name in names])


@METRICS.register_module()
class LowShot:
    """Top-1 accuracy of logistic regression on few images of each class, over several draws.

    Metrics, in percent: ``low_shot/<feature>/top1_n<count>`` for a number of images a class and
    ``.../top1_<percent>pct`` for a share of them, the mean over the draws; the same with ``_std``
    is their standard deviation. The draws are seeded and the same for every backbone.
    ``.../top1_<list>`` is of the images of a published list, named by its file without the ending.
    The penalty is fixed: few images leave none to choose it on.

    Args:
        counts: images a class, or shares below 1.
        lists: text files with the names of images, such as SimCLR's ``1percent.txt``.
        draws: of each count.
        strength: C of :class:`LogisticRegression`.
        iterations: of L-BFGS, at most.
        features: names of the features; None: all that were extracted.

    Source: counts and shares as usual (SimCLR, MSN); strength: scikit-learn's default, ours.
    """

    def __init__(
        self,
        counts: Sequence[int | float] = (1, 2, 5, 10, 0.01, 0.1),
        lists: Sequence[str] = (),
        draws: int = 5,
        strength: float = 1.0,
        iterations: int = 1000,
        features: Sequence[str] | None = None,
    ) -> None:
        if draws < 2:
            raise ValueError(f"LowShot: draws={draws} have no spread: give 2 or more")
        self.counts = list(counts)
        self.lists = {Path(file).stem: file for file in lists}
        if len(self.lists) < len(lists):
            raise ValueError(f"LowShot: lists={list(lists)} have the same name: rename one")
        self.draws = draws
        self.strength = strength
        self.iterations = iterations
        self.features = features

    def __call__(self, sets: FrozenSets) -> Measured:
        """Fit to each draw and classify the validation images."""
        images = sets.train_files() if self.lists else ()
        listed = {name: listed_images(file, images) for name, file in self.lists.items()}
        metrics, labels = {}, sets.train.labels
        for name in sets.names(self.features):
            train, val = sets.train.load(name), sets.val.load(name).to(sets.device)

            def top1(chosen: Tensor, train: Tensor = train, val: Tensor = val) -> float:
                model = LogisticRegression(self.strength, self.iterations)
                few, few_labels = train[chosen].to(sets.device), labels[chosen].to(sets.device)
                model.fit(few, few_labels, sets.classes)
                return accuracy(model.predict(val), sets.val.labels)

            for count in self.counts:
                draws = [top1(draw_images(labels, count, seed)) for seed in range(self.draws)]
                size = f"n{count}" if count >= 1 else f"{100 * count:g}pct"
                mean = statistics.mean(draws)
                metrics[f"low_shot/{name}/top1_{size}"] = mean
                print_log(f"few images, top1_{size} of {name}: {mean:.2f} %", "current")
                metrics[f"low_shot/{name}/top1_{size}_std"] = statistics.stdev(draws)
            for kind, chosen in listed.items():
                metrics[f"low_shot/{name}/top1_{kind}"] = top1(chosen)
        return Measured(metrics, {"low_shot_draws": self.draws})
