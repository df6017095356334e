"""COCO's twelve statistics of boxes and masks: faster-coco-eval against pycocotools.

The truth is made here: ellipses in pictures of 640x480, as many to a picture and of as many
categories as in COCO, and detections, half of them around objects and half anywhere and of any
category. Both start from copies of the same lists in memory, which are not timed, and nothing is
printed unless all numbers are equal to twelve digits.
"""

import argparse
import contextlib
import copy
import io
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from faster_coco_eval import COCO as FastCOCO
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mae_bench.openmmlab.coco_metric import DIGITS, evaluate

from .measure import (
    describe_machine,
    interleaved_seconds,
    print_table,
    processor_clock,
    speed_up,
)

WIDTH, HEIGHT, CATEGORIES = 640, 480, 80
# A picture of COCO's validation set on average: 36,781 objects in 5,000, of 2.9 categories.
OBJECTS, KINDS = 7, 3


def make_truth(pictures: int, found: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Annotations and detections in COCO's formats.

    Args:
        pictures: how many.
        found: detections in each.
    """
    generator = np.random.default_rng(0)
    images = [
        dict(id=i, width=WIDTH, height=HEIGHT, file_name=f"{i}.jpg") for i in range(1, pictures + 1)
    ]
    annotations: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []
    for image in images:
        boxes = _boxes(generator, OBJECTS)
        kinds = generator.choice(generator.integers(1, CATEGORIES + 1, KINDS), OBJECTS)
        for box, kind in zip(boxes, kinds, strict=True):
            mask = _mask(box)
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image["id"],
                    category_id=int(kind),
                    bbox=box,
                    segmentation=mask,
                    area=float(rle.area(mask)),
                    iscrowd=0,
                )
            )
        for i in range(found):
            if i % 2:
                (box,), kind = _boxes(generator, 1), generator.integers(1, CATEGORIES + 1)
            else:
                near, kind = boxes[i % OBJECTS], kinds[i % OBJECTS]
                box = [float(x) for x in np.maximum(near + generator.normal(0, 8, 4), 1)]
            detections.append(
                dict(
                    image_id=image["id"],
                    category_id=int(kind),
                    bbox=box,
                    segmentation=_mask(box),
                    score=float(generator.random()),
                )
            )
    categories = [dict(id=i, name=str(i)) for i in range(1, CATEGORIES + 1)]
    return dict(images=images, annotations=annotations, categories=categories), detections


def _boxes(generator: np.random.Generator, count: int) -> list[list[float]]:
    sides = np.exp(generator.uniform(np.log(8), np.log(400), (count, 2)))
    corners = generator.uniform(0, 1, (count, 2)) * (np.array([WIDTH, HEIGHT]) - sides)
    return np.concatenate([corners, sides], axis=1).tolist()


def _mask(box: list[float]) -> dict[str, Any]:
    """An ellipse in the box."""
    x, y, w, h = box
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    points = np.stack([x + w / 2 * (1 + np.cos(angles)), y + h / 2 * (1 + np.sin(angles))], axis=1)
    encoded = rle.frPyObjects([points.clip(0, WIDTH).flatten().tolist()], HEIGHT, WIDTH)[0]
    return dict(size=encoded["size"], counts=encoded["counts"].decode())


def _by_kind(found: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Copies of the detections, as evaluation changes them; masks for ``"segm"`` only."""
    dropped = {"segmentation"} if kind == "bbox" else set()
    return [{k: copy.copy(v) for k, v in one.items() if k not in dropped} for one in found]


def fast(truth: FastCOCO, found: list[dict[str, Any]], kind: str) -> list[float]:
    """Ours; it changes the detections."""
    return list(evaluate(truth, found, kind, truth.getCatIds()).values())


def slow(truth: COCO, found: list[dict[str, Any]], kind: str) -> list[float]:
    """pycocotools as mmdet calls it, masks without boxes; it changes the detections."""
    if kind == "segm":
        for one in found:
            one.pop("bbox")
    with contextlib.redirect_stdout(io.StringIO()):
        counts = COCOeval(truth, truth.loadRes(found), kind)
        counts.evaluate()
        counts.accumulate()
        counts.summarize()
    return [round(float(value), DIGITS) for value in counts.stats]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``tools/benchmark.py coco-eval``."""
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each variant")
    parser.add_argument("--pictures", type=int, default=1000, help="pictures; 5000 in val2017")
    parser.add_argument("--found", type=int, default=50, help="detections a picture, at most 100")


def run(args: argparse.Namespace) -> None:
    """Measure and print.

    Raises:
        ValueError: a number differs.
    """
    clock = processor_clock()
    print(f"{describe_machine()}\n{args.rounds} rounds, median [least-greatest], processor time")
    data, found = make_truth(args.pictures, args.found)
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = COCO()
        theirs.dataset = data
        theirs.createIndex()
    ours = FastCOCO(copy.deepcopy(data))

    def rows() -> Iterator[tuple[str, ...]]:
        total: dict[str, list[float]] = {"fast": [0.0] * args.rounds, "slow": [0.0] * args.rounds}
        for kind in ("bbox", "segm"):
            results = {
                "fast": fast(ours, _by_kind(found, kind), kind),
                "slow": slow(theirs, _by_kind(found, kind), kind),
            }
            if results["fast"] != results["slow"]:
                raise ValueError(
                    f"{kind}: the numbers differ, {results['fast']}, {results['slow']}"
                )
            variants = {
                "fast": _on_copies(partial(fast, ours), found, kind, args.rounds),
                "slow": _on_copies(partial(slow, theirs), found, kind, args.rounds),
            }
            seconds = interleaved_seconds(variants, args.rounds, 0, clock=clock)
            total = {n: [a + b for a, b in zip(total[n], seconds[n], strict=True)] for n in total}
            yield kind, *_row(seconds)
        yield "both", *_row(total)

    print(f"\n{args.pictures} pictures, {args.found} detections in each, 12 equal numbers each\n")
    print_table(["", "ours, s", "pycocotools, s", "speed-up"], rows())


def _on_copies(
    evaluation: Callable[[list, str], object], found: list[dict[str, Any]], kind: str, calls: int
) -> Callable[[], object]:
    """A call for each of so many rounds, whose detections are copied here and now."""
    copies = iter([_by_kind(found, kind) for _ in range(calls)])
    return lambda: evaluation(next(copies), kind)


def _row(seconds: dict[str, list[float]]) -> tuple[str, str, str]:
    return (
        f"{statistics.median(seconds['fast']):.2f}",
        f"{statistics.median(seconds['slow']):.2f}",
        f"{speed_up(seconds, 'fast', 'slow'):.1f}",
    )
