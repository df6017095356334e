"""ImageNet-C's corruptions made from clean pictures: milliseconds of a picture on one core.

    tools/benchmark.py corruptions

The pictures have 224 pixels a side, as ImageNet-C's; each corruption runs at all five severities.
"ours" is what the robustness command runs, with the copy's way through a JPEG file; "package" is
``imagecorruptions`` alone. What is counted is the computing time of one thread.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import imagecorruptions
import numpy as np

from mae_bench.datasets.corruptions import corrupt
from mae_bench.datasets.imagenet_variants import CORRUPTIONS, SEVERITIES
from mae_bench.datasets.loading import LoadImageTensor
from mae_bench.datasets.robustness_sets import BEFORE_CORRUPTION

from .loader import make_jpegs
from .measure import (
    Spread,
    describe_machine,
    interleaved_seconds,
    print_table,
    processor_clock,
)

OURS, PACKAGE = "ours", "package"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the sub-command."""
    parser.add_argument("--images", type=int, default=7, help="pictures in each round")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each corruption")


def load_pictures(count: int) -> list[np.ndarray]:
    """Pictures (224, 224, 3) uint8 RGB, cut as the robustness command cuts them."""
    load = LoadImageTensor()
    with tempfile.TemporaryDirectory() as folder:
        tensors = [
            BEFORE_CORRUPTION(load.transform({"img_path": path})["img"])
            for path in make_jpegs(Path(folder), count)
        ]
    return [np.ascontiguousarray(tensor.permute(1, 2, 0).numpy()) for tensor in tensors]


def milliseconds(
    corruption: str, pictures: list[np.ndarray], rounds: int
) -> dict[str, list[float]]:
    """Of one picture, mean over pictures and severities, for each round.

    Args:
        corruption: which.
        pictures: (H, W, 3) uint8 each.
        rounds: after one that compiles and is not counted.

    Returns:
        ``OURS`` or ``PACKAGE`` -> milliseconds of each round.
    """

    def over_all(call: Callable[[np.ndarray, int, str], object]) -> Callable[[], None]:
        def run() -> None:
            for severity in SEVERITIES:
                for number, picture in enumerate(pictures):
                    call(picture, severity, f"{number}.JPEG")

        return run

    def ours(image: np.ndarray, severity: int, name: str) -> None:
        corrupt(image, corruption, severity, name)

    def package(image: np.ndarray, severity: int, _: str) -> None:
        imagecorruptions.corrupt(image, severity, corruption)

    variants = {OURS: over_all(ours), PACKAGE: over_all(package)}
    seconds = interleaved_seconds(variants, rounds, clock=processor_clock())
    count = len(pictures) * len(SEVERITIES)
    return {name: [1e3 * value / count for value in times] for name, times in seconds.items()}


def mean_of_all(found: dict[tuple[str, str], list[float]], name: str) -> Spread:
    """Mean over the 15 corruptions, round by round."""
    columns = [found[corruption, name] for corruption in CORRUPTIONS]
    return Spread.of(statistics.fmean(values) for values in zip(*columns, strict=True))


def run(args: argparse.Namespace) -> None:
    """Print each corruption's time and the mean."""
    processor_clock()
    print(f"{describe_machine()}\n{args.images} pictures, {args.rounds} rounds\n")
    pictures = load_pictures(args.images)
    found: dict[tuple[str, str], list[float]] = {}

    def rows() -> Iterator[tuple[str, ...]]:
        for corruption in CORRUPTIONS:
            times = milliseconds(corruption, pictures, args.rounds)
            found.update({(corruption, name): values for name, values in times.items()})
            yield corruption, *(f"{Spread.of(times[name]):.2f}" for name in (OURS, PACKAGE))
        yield "mean of the 15", *(f"{mean_of_all(found, name):.2f}" for name in (OURS, PACKAGE))

    print_table(["corruption", *(f"{n}, ms per picture [range]" for n in (OURS, PACKAGE))], rows())
