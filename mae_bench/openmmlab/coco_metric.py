"""COCO's twelve statistics of boxes and of masks, counted in C++."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from faster_coco_eval import COCO, COCOeval_faster, mask
from mmdet.evaluation import CocoMetric
from mmengine.fileio import load
from mmengine.logging import print_log

from ..registry import METRICS

# Names of mmdet for the average precisions; recalls with at most so many detections a picture.
STATISTICS = (
    "mAP",
    "mAP_50",
    "mAP_75",
    "mAP_s",
    "mAP_m",
    "mAP_l",
    "AR@1",
    "AR@10",
    "AR@100",
    "AR_s@100",
    "AR_m@100",
    "AR_l@100",
)
# pycocotools adds 2e-16 to a denominator, which faster-coco-eval does not: the 16th digit differs.
DIGITS = 12


@METRICS.register_module()
class FastCocoMetric(CocoMetric):
    """mmdet's ``CocoMetric`` with faster-coco-eval in place of pycocotools.

    The same twelve numbers for boxes and masks, to twelve digits (mmdet rounds to three)
    and with COCO's limits of 1, 10 and 100 detections (mmdet: 100, 300 and 1000), as
    ``coco/bbox_mAP`` ... ``coco/segm_AR_l@100``. Where no object has the size in question, the
    number is COCO's -1. A model that finds nothing has zeros.

    Args:
        ann_file: annotations in COCO's format.
        metric: ``"bbox"``, ``"segm"`` or both.
        kwargs: others of ``CocoMetric``.

    Raises:
        ValueError: another ``metric``.
    """

    def __init__(
        self, ann_file: str, metric: str | Sequence[str] = ("bbox", "segm"), **kwargs: Any
    ) -> None:
        metrics = [metric] if isinstance(metric, str) else list(metric)
        if set(metrics) - {"bbox", "segm"}:
            raise ValueError(f"metric={metric!r}: FastCocoMetric counts 'bbox' and 'segm' only")
        super().__init__(ann_file, metrics, **kwargs)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Statistics of all pictures.

        Args:
            results: one (truth, prediction) for each picture, from ``process``.

        Returns:
            ``bbox_mAP`` and so on, in 0..1.
        """
        truth = COCO(self._coco_api.dataset)
        self.cat_ids = truth.getCatIds(catNms=self.dataset_meta["classes"])
        statistics: dict[str, float] = {}
        with TemporaryDirectory() as folder:
            files = self.results2json([found for _, found in results], str(Path(folder, "found")))
            for metric in self.metrics:
                counts = evaluate(truth, load(files[metric]), metric, self.cat_ids)
                statistics |= {f"{metric}_{name}": value for name, value in counts.items()}
                line = ", ".join(f"{name} {value:.3f}" for name, value in counts.items())
                print_log(f"{metric}: {line}", logger="current")
        return statistics


@contextmanager
def _garbage_collection_paused() -> Iterator[None]:
    """Here a million objects all stay; to look for garbage among them takes a fifth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_garbage_collection_paused()
def evaluate(
    truth: COCO, found: list[dict[str, Any]], iou_type: str, categories: Sequence[int]
) -> dict[str, float]:
    """COCO's twelve statistics.

    Args:
        truth: annotations.
        found: detections in COCO's result format, with boxes in any case.
        iou_type: ``"bbox"`` or ``"segm"``.
        categories: ids that count.

    Returns:
        :data:`STATISTICS` -> value in 0..1, or -1 where no object has that size.
    """
    results = truth.loadRes(found)
    if iou_type == "segm":
        # The area of an object, which decides whether it is small, is its mask's. It has been read
        # from the boxes, which is faster than from the masks one by one.
        entries = results.dataset["annotations"]
        areas = mask.area([entry["segmentation"] for entry in entries])
        for entry, area in zip(entries, areas, strict=True):
            entry["area"] = area
    counts = COCOeval_faster(truth, results, iou_type)
    counts.params.catIds = list(categories)
    counts.params.imgIds = truth.getImgIds()
    counts.evaluate()
    counts.accumulate()
    counts.summarize()
    return {name: round(float(x), DIGITS) for name, x in zip(STATISTICS, counts.stats, strict=True)}
