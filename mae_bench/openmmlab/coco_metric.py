"""COCO's twelve statistics of boxes and of masks, counted in C++."""

import gc
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster, mask
from mmdet.evaluation import CocoMetric
from mmengine.fileio import get_local_path, load
from mmengine.logging import print_log

from ..datasets.coco_file import read_coco
from ..datasets.coco_instances import CocoByName
from ..registry import METRICS

KINDS = ("bbox", "segm")
# At most so many detections of an image; COCO's, where mmdet counts up to 100, 300 and 1000.
MAX_DETECTIONS = (1, 10, 100)
AP_DETECTIONS = 100  # those that mAP is of, whatever the others
SIZES = {"s": 1, "m": 2, "l": 3}  # COCO's area ranges, after that of all sizes
# pycocotools adds 2e-16 to a denominator, which faster-coco-eval does not: the 16th digit differs.
DIGITS = 12


def statistic_names(max_detections: Sequence[int]) -> tuple[str, ...]:
    """COCO's twelve by mmdet's names, with those of recalls after the three limits."""
    most = max_detections[-1]
    return (
        *("mAP", "mAP_50", "mAP_75", *(f"mAP_{size}" for size in SIZES)),
        *(f"AR@{limit}" for limit in max_detections),
        *(f"AR_{size}@{most}" for size in SIZES),
    )


STATISTICS = statistic_names(MAX_DETECTIONS)


@METRICS.register_module()
class FastCocoMetric(CocoMetric):
    """mmdet's ``CocoMetric`` with faster-coco-eval in place of pycocotools.

    The same twelve numbers for boxes and masks, to twelve digits (mmdet rounds to three)
    and with COCO's limits of 1, 10 and 100 detections (mmdet: 100, 300 and 1000), as
    ``coco/bbox_mAP`` ... ``coco/segm_AR_l@100``. Where no object has the size in question, the
    number is COCO's -1. A model that finds nothing has zeros. Where only a part of the images in
    ``ann_file`` was run, the numbers are of that part.

    Args:
        ann_file: annotations in COCO's format; None: those that the data samples carry.
        metric: ``"bbox"``, ``"segm"`` or both.
        classwise: add the average precision of each class, ``coco/NAME_precision``, after
            ``bbox_`` or ``segm_`` where there are both.
        proposal_nums: three limits on the detections of an image, rising, 100 among them.
        iou_thrs: thresholds that the statistics average over, or one; None: 0.5 to 0.95 by 0.05.
        metric_items: which of the twelve statistics to report; None: all.
        kwargs: others of ``CocoMetric``: ``format_only`` and ``outfile_prefix`` write the
            detections in COCO's format. ``use_mp_eval`` has no effect.

    Raises:
        ValueError: another ``metric``, ``metric_items`` that are no statistics, ``proposal_nums``
            that mAP cannot be taken from, or an ``ann_file`` without objects to count.
    """

    def __init__(
        self,
        ann_file: str | None = None,
        metric: str | Sequence[str] = KINDS,
        classwise: bool = False,
        proposal_nums: Sequence[int] = MAX_DETECTIONS,
        iou_thrs: float | Sequence[float] | None = None,
        metric_items: Sequence[str] | None = None,
        format_only: bool = False,
        outfile_prefix: str | None = None,
        **kwargs: Any,
    ) -> None:
        metrics = [metric] if isinstance(metric, str) else list(metric)
        if set(metrics) - set(KINDS):
            raise ValueError(f"metric={metric!r}: FastCocoMetric counts 'bbox' and 'segm' only")
        limits = list(proposal_nums)
        if len(limits) != 3 or sorted(set(limits)) != limits or AP_DETECTIONS not in limits:
            raise ValueError(
                f"proposal_nums={proposal_nums}: three rising numbers are needed, with the "
                f"{AP_DETECTIONS} that COCO's mAP counts among them"
            )
        self.names = statistic_names(limits)
        unknown = [item for item in metric_items or () if item not in self.names]
        if unknown:
            raise ValueError(f"metric_items: {unknown[0]!r} is not one of {', '.join(self.names)}")
        if format_only and outfile_prefix is None:
            raise ValueError("format_only=True needs outfile_prefix, where the files are written")
        super().__init__(
            None,  # read below
            metrics,
            classwise,
            limits,
            None if iou_thrs is None else np.atleast_1d(np.asarray(iou_thrs, dtype=float)),
            metric_items,
            format_only,
            outfile_prefix,
            **kwargs,
        )
        self.ann_file = ann_file
        if ann_file is None:
            return
        with get_local_path(ann_file, backend_args=self.backend_args) as path:
            file = read_coco(path, masks="segm" in metrics and not format_only)
        file.findings.refuse(ann_file)
        self._coco_api = CocoByName(file)
        if not format_only:
            _check_objects(self._coco_api.dataset, str(ann_file))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Statistics of all images that were run.

        Args:
            results: one (truth, prediction) for each image, from ``process``.

        Returns:
            ``bbox_mAP`` and so on, in 0..1; nothing with ``format_only``.
        """
        statistics: dict[str, float] = {}
        with TemporaryDirectory() as folder:
            prefix = self.outfile_prefix or str(Path(folder, "found"))
            truth = COCO(self._annotations(results, prefix))
            self.cat_ids = self._category_ids(truth)
            files = self.results2json([found for _, found in results], prefix)
            if self.format_only:
                print_log(f"wrote {', '.join(sorted({*files.values()}))}", logger="current")
                return statistics
            images = self._images(truth, results)
            for metric in self.metrics:
                counts = count(
                    truth,
                    load(files[metric]),
                    metric,
                    self.cat_ids,
                    images,
                    self.iou_thrs,
                    self.proposal_nums,
                )
                twelve = statistics_of(counts)
                statistics |= {f"{metric}_{k}": twelve[k] for k in self.metric_items or twelve}
                line = ", ".join(f"{name} {value:.3f}" for name, value in twelve.items())
                print_log(f"{metric}: {line}", logger="current")
                if self.classwise:
                    # mmdet has no prefix, so that masks replace boxes where there are both.
                    kind = f"{metric}_" if len(self.metrics) > 1 else ""
                    by_class = precision_by_class(counts)
                    statistics |= {f"{kind}{k}_precision": v for k, v in by_class.items()}
                    line = ", ".join(f"{name} {value:.3f}" for name, value in by_class.items())
                    print_log(f"{metric} mAP by class: {line}", logger="current")
        return statistics

    def _category_ids(self, truth: COCO) -> list[int]:
        """Ids by label; pycocotools would give them in the file's order."""
        names = self.dataset_meta["classes"]
        if self._coco_api is not None:
            return self._coco_api.get_cat_ids(cat_names=names)
        return truth.getCatIds(catNms=names)

    def _annotations(self, results: list, prefix: str) -> dict[str, Any]:
        """COCO's tables: those of the file, or made from what the data samples carry."""
        if self._coco_api is not None:
            return self._coco_api.dataset
        tables = load(self.gt_to_coco_json([truth for truth, _ in results], prefix))
        if not self.format_only:
            _check_objects(tables, "the data samples")
        return tables

    def _images(self, truth: COCO, results: list) -> list[int]:
        """Ids of the images that were run."""
        listed = set(truth.getImgIds())
        found = {int(prediction["img_id"]) for _, prediction in results}
        if strange := found - listed:
            raise ValueError(
                f"{self.ann_file}: has no image {min(strange)}, which was run: set the evaluator's "
                "ann_file to the one that the data set reads"
            )
        if len(found) < len(listed):
            print_log(
                f"evaluated on the {len(found)} images that were run, of {len(listed)} in the "
                "annotations",
                logger="current",
                level=logging.WARNING,
            )
        return sorted(found)


def _check_objects(tables: dict[str, Any], where: str) -> None:
    if not tables.get("annotations"):
        raise ValueError(
            f"{where}: no annotations, so there is nothing to evaluate: to write the detections "
            "of a test set without ground truth, set format_only=True and outfile_prefix"
        )


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
def count(
    truth: COCO,
    found: list[dict[str, Any]],
    iou_type: str,
    categories: Sequence[int],
    images: Sequence[int] | None = None,
    iou_thresholds: np.ndarray | None = None,
    max_detections: Sequence[int] = MAX_DETECTIONS,
) -> COCOeval_faster:
    """Match detections with objects.

    Args:
        truth: annotations.
        found: detections in COCO's result format, with boxes in any case.
        iou_type: ``"bbox"`` or ``"segm"``.
        categories: ids that count.
        images: ids that count; None: all.
        iou_thresholds: None: 0.5 to 0.95 by 0.05.
        max_detections: limits on the detections of an image, rising.

    Returns:
        what was counted, for :func:`statistics_of` and :func:`precision_by_class`.
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
    counts.params.imgIds = truth.getImgIds() if images is None else list(images)
    counts.params.maxDets = list(max_detections)
    if iou_thresholds is not None:
        counts.params.iouThrs = iou_thresholds
    counts.evaluate()
    counts.accumulate()
    return counts


def statistics_of(counts: COCOeval_faster) -> dict[str, float]:
    """COCO's twelve statistics: name -> value in 0..1, or -1 where no object has that size."""
    precision = np.asarray(
        counts.eval["precision"]
    )  # (thresholds, recalls, classes, sizes, limits)
    recall = np.asarray(counts.eval["recall"])  # (thresholds, classes, sizes, limits)
    limits = list(counts.params.maxDets)
    values = [_mean(precision[:, :, :, 0, limits.index(AP_DETECTIONS)])]
    for threshold in (0.5, 0.75):
        at = np.asarray(counts.params.iouThrs) == threshold
        values.append(_mean(precision[at, :, :, 0, -1]))
    values += [_mean(precision[..., size, -1]) for size in SIZES.values()]
    values += [_mean(recall[..., 0, limit]) for limit in range(len(limits))]
    values += [_mean(recall[..., size, -1]) for size in SIZES.values()]
    return dict(zip(statistic_names(limits), values, strict=True))


def precision_by_class(counts: COCOeval_faster) -> dict[str, float]:
    """Average precision of each class by its name; NaN where there is no object of it."""
    precision = np.asarray(counts.eval["precision"])
    names = [entry["name"] for entry in counts.cocoGt.loadCats(counts.params.catIds)]
    values = [_mean(precision[:, :, i, 0, -1], nothing=np.nan) for i in range(len(names))]
    return dict(zip(names, values, strict=True))


def _mean(values: np.ndarray, nothing: float = -1.0) -> float:
    """Mean of what was counted; COCO marks with -1 what was not."""
    counted = values[values > -1]
    return round(float(counted.mean()), DIGITS) if counted.size else nothing


def evaluate(
    truth: COCO, found: list[dict[str, Any]], iou_type: str, categories: Sequence[int]
) -> dict[str, float]:
    """:data:`STATISTICS` of all images; arguments as of :func:`count`."""
    return statistics_of(count(truth, found, iou_type, categories))
