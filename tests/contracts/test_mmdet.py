"""mmdet's metric and RoI extractor, and ours in their place."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor

from mae_bench.openmmlab.coco_metric import FastCocoMetric
from mae_bench.openmmlab.roi_extractor import Float32RoIExtractor

from . import coco_case
from .promises import Promise, StandIn, check, error, every_promise

LIMITS = (100, 300, 1000)  # mmdet's own
MEANS = ("mAP", "mAP_50", "mAP_75", "mAP_s", "mAP_m", "mAP_l")
RECALLS = ("AR@100", "AR@300", "AR@1000", "AR_s@1000", "AR_m@1000", "AR_l@1000")


def evaluate(
    kind: type, folder: Path, tables: dict | None = None, samples: list | None = None, **options
) -> dict[str, float]:
    """Numbers of a metric with mmdet's three digits."""
    case = coco_case.make()
    options.setdefault("ann_file", coco_case.write(folder, tables or case[0]))
    built = kind(**options)
    built.dataset_meta = dict(classes=coco_case.NAMES)
    samples = case[1] if samples is None else samples
    built.process({}, samples)
    return {key: round(value, 3) for key, value in built.evaluate(len(samples)).items()}


def statistics(**options: Any) -> Any:
    """Observe the numbers with these options, and mmdet's limits and items unless told."""
    shared = dict(metric=["bbox", "segm"], proposal_nums=LIMITS, metric_items=MEANS) | options
    return lambda metric, folder: evaluate(metric, folder, **shared)


def default_names(metric: type, folder: Path) -> list[str]:
    return list(evaluate(metric, folder, metric="bbox"))


def digits(metric: type, folder: Path) -> bool:
    built = metric(coco_case.write(folder, coco_case.make()[0]), ["bbox"], proposal_nums=LIMITS)
    built.dataset_meta = dict(classes=coco_case.NAMES)
    built.process({}, coco_case.make()[1])
    return all(value == round(value, 3) for value in built.evaluate(6).values())


def written(metric: type, folder: Path) -> Any:
    """Numbers and files of ``format_only``."""
    prefix = str(folder / "sub" / "found")
    numbers = evaluate(metric, folder, format_only=True, outfile_prefix=prefix)
    files = sorted(path.name for path in (folder / "sub").iterdir())
    return numbers, files, [json.loads((folder / "sub" / file).read_text()) for file in files]


def kept(metric: type, folder: Path) -> list[str]:
    """Files of ``outfile_prefix`` beside numbers."""
    evaluate(metric, folder, metric=["bbox", "segm"], outfile_prefix=str(folder / "kept"))
    return sorted(path.name for path in folder.glob("kept*"))


def nothing_found(metric: type, folder: Path) -> Any:
    samples = coco_case.make()[1]
    for sample in samples:
        found = sample["pred_instances"]
        for key in ("bboxes", "scores", "labels"):
            found[key] = found[key][:0]
        found["masks"] = []
    return evaluate(metric, folder, samples=samples, metric="bbox", metric_items=["mAP"])


def without_objects(metric: type, folder: Path) -> Any:
    """What test-dev is: pictures and categories."""
    tables = {**coco_case.make()[0], "annotations": []}
    return error(lambda: evaluate(metric, folder, tables, metric="bbox"))


def part_of_the_images(metric: type, folder: Path) -> Any:
    samples = coco_case.make()[1][:3]
    options = dict(metric="bbox", proposal_nums=LIMITS, metric_items=["mAP"])
    return evaluate(metric, folder, samples=samples, **options) == evaluate(
        metric, folder, coco_part(3), samples, **options
    )


def coco_part(pictures: int) -> dict[str, Any]:
    tables = coco_case.make()[0]
    return {
        **tables,
        "images": tables["images"][:pictures],
        "annotations": [a for a in tables["annotations"] if a["image_id"] <= pictures],
    }


def classwise(metric: type, folder: Path, kinds: list[str]) -> dict[str, float]:
    found = evaluate(metric, folder, metric=kinds, proposal_nums=LIMITS, classwise=True)
    return {key: value for key, value in found.items() if "_precision" in key}


def refused(**options: Any) -> Any:
    return lambda metric, folder: error(lambda: evaluate(metric, folder, metric="bbox", **options))


def roi_features(extractor: type, kind: torch.dtype) -> torch.Tensor:
    """Features of two boxes on two levels, from the same values of bfloat16."""
    built = extractor(
        roi_layer=dict(type="RoIAlign", output_size=3, sampling_ratio=0),
        out_channels=2,
        featmap_strides=[4, 8],
    )
    generator = torch.Generator().manual_seed(0)
    levels = [torch.randn(1, 2, side, side, generator=generator) for side in (256, 128)]
    rois = torch.tensor([[0, 801.3, 455.2, 899.7, 540.9], [0, 403.0, 602.0, 950.0, 1013.0]])
    return built([level.bfloat16().to(kind) for level in levels], rois).float()


def error_of_bfloat16(extractor: type, folder: Path) -> bool:
    """Whether only the last step rounds, to 8 bits."""
    exact = roi_features(SingleRoIExtractor, torch.float32)
    return torch.allclose(roi_features(extractor, torch.bfloat16), exact, rtol=2**-8, atol=1e-6)


TABLE = [
    StandIn(
        FastCocoMetric,
        CocoMetric,
        [
            Promise("statistics of boxes and masks", statistics()),
            Promise("recalls as metric_items", statistics(metric_items=RECALLS)),
            Promise(
                "metric_items choose and order",
                statistics(metric_items=["mAP_75", "AR@300", "mAP"]),
            ),
            Promise("iou_thrs", statistics(iou_thrs=np.array([0.5, 0.6, 0.75]))),
            Promise("iou_thrs without 0.5 and 0.75", statistics(iou_thrs=np.array([0.55, 0.65]))),
            Promise("ann_file=None takes what samples carry", statistics(ann_file=None)),
            Promise("sort_categories", statistics(sort_categories=True)),
            Promise("format_only writes and counts nothing", written),
            Promise("outfile_prefix keeps the files", kept),
            Promise(
                "classwise",
                lambda metric, folder: classwise(metric, folder, ["segm"]),
            ),
            Promise("format_only without outfile_prefix", refused(format_only=True), "ValueError",
                    "`ValueError` in one line where mmdet has an assertion"),
            Promise("an unknown metric item", refused(metric_items=["mAp"]), "ValueError",
                    "refused when it is built; mmdet raises `KeyError` after the evaluation"),
            Promise("iou_thrs as a number or a list", lambda metric, folder: [
                        refused(iou_thrs=value)(metric, folder) for value in (0.5, [0.5, 0.75])
                    ], ["none", "none"],
                    "taken, as mmdet's documentation says; its code takes an array only"),
            Promise(
                "classwise of boxes and masks",
                lambda metric, folder: sorted(classwise(metric, folder, ["bbox", "segm"])),
                sorted(f"coco/{kind}_{name}_precision" for kind in ("bbox", "segm")
                       for name in coco_case.NAMES),
                "`bbox_NAME_precision` and `segm_NAME_precision`, where mmdet has one name for "
                "both and keeps the masks' only",
            ),
            Promise("default statistics", default_names,
                    [f"coco/bbox_{name}" for name in (*MEANS, "AR@1", "AR@10", "AR@100", "AR_s@100",
                                                      "AR_m@100", "AR_l@100")],
                    "COCO's twelve with its limits of 1, 10 and 100 detections; mmdet reports six, "
                    "and recalls of 100, 300 and 1000"),
            Promise("default metric", lambda metric, folder: len(evaluate(metric, folder)), 24,
                    "boxes and masks; mmdet's is boxes"),
            Promise("rounding", digits, False,
                    "twelve digits, which differences between seeds need; mmdet rounds to three"),
            Promise("nothing found", nothing_found, {"coco/bbox_mAP": 0.0},
                    "zeros; mmdet logs an error and leaves the numbers out"),
            Promise("annotations without objects (test-dev)", without_objects, "ValueError",
                    "refused when it is built, with `format_only` as the way; mmdet gives -1 for "
                    "each number"),
            Promise("a part of the images was run (`indices`)", part_of_the_images, True,
                    "evaluated on those; mmdet counts the objects of all others as missed"),
            Promise("metric='proposal'", lambda metric, folder: error(
                        lambda: evaluate(metric, folder, metric="proposal")), "ValueError",
                    "refused: `bbox` and `segm` only"),
        ],
    ),
    StandIn(
        Float32RoIExtractor,
        SingleRoIExtractor,
        [
            Promise("features in float32", lambda x, folder: roi_features(x, torch.float32)),
            Promise("features in float64", lambda x, folder: roi_features(x, torch.float64)),
            Promise("features in bfloat16", error_of_bfloat16, True,
                    "boxes stay in float32; mmdet's are rounded to the type of the features, by up "
                    "to 2 pixels at 1024"),
        ],
    ),
]  # fmt: skip


@every_promise(TABLE)
def test_promise(stand_in, promise, tmp_path):
    logging.getLogger("mmengine").setLevel(logging.ERROR)
    check(stand_in, promise, tmp_path)


@pytest.mark.parametrize("limits", [(1, 10), (1, 10, 50), (100, 10, 1), (1, 10, 100, 1000)])
def test_limits_that_map_cannot_be_taken_from(limits):
    with pytest.raises(ValueError, match="proposal_nums=.*three rising numbers"):
        FastCocoMetric(metric="bbox", proposal_nums=limits)


def test_class_without_objects_has_no_precision(tmp_path):
    tables, samples = coco_case.make()
    tables["annotations"] = [a for a in tables["annotations"] if a["category_id"] != 7]
    for metric in (FastCocoMetric, CocoMetric):
        found = evaluate(metric, tmp_path, tables, samples, metric="bbox", classwise=True)
        assert np.isnan(found["coco/dog_precision"]), metric
