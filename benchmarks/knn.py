"""Time and memory of k-NN on features of so many images.

    tools/benchmark.py knn [--images 1281167] [--queries 50000] [--width 768]

Random features are written as an extraction leaves them, in --folder (4 GB for ImageNet and a
ViT-B, removed at the end); then the measure of the recipes runs on them, for all its k. Time grows
with the product of images and queries. Memory is the growth at the peak, on a GPU all that is
allocated there.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from mae_bench.evaluation.feature_store import FeatureStore
from mae_bench.evaluation.frozen import KNN
from mae_bench.evaluation.frozen.measure import FrozenSets

from .measure import describe_machine, peak_of_call, print_table

CLASSES = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the sub-command; the sizes are ImageNet's and those of a ViT-B."""
    parser.add_argument("--images", type=int, default=1_281_167, help="of the training set")
    parser.add_argument("--queries", type=int, default=50_000, help="images that are classified")
    parser.add_argument("--width", type=int, default=768, help="of a feature")
    parser.add_argument("--folder", type=Path, help="where the features are written")


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    print(describe_machine())
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        sizes = {"train": args.images, "val": args.queries}
        for name, count in sizes.items():
            write_features(Path(folder, name), count, args.width)
        start = time.perf_counter()
        peak = peak_of_call(classifying, (folder, sizes))
        minutes = (time.perf_counter() - start) / 60
    row = [f"{args.images:,}", f"{args.queries:,}", args.width, minutes, peak / 1024]
    print_table(["images", "queries", "width", "minutes", "GiB at the peak"], [row])


def write_features(folder: Path, count: int, width: int) -> None:
    """Write random features as an extraction in float32 does."""
    store = FeatureStore(folder, {}, count)
    generator = torch.Generator().manual_seed(count)
    for shard in store.shards:
        size = shard.end - shard.start
        features = torch.randn(size, width, generator=generator)
        store.write(shard, {"mean": features}, torch.arange(shard.start, shard.end) % CLASSES)


def classifying(folder: str, sizes: dict[str, int]) -> Callable[[], object]:
    """The measure on the features in a folder."""
    train, val = (FeatureStore(Path(folder, name), {}, sizes[name]) for name in ("train", "val"))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sets = FrozenSets(train, val, CLASSES, device, list)
    measure = KNN()
    return lambda: measure(sets)
