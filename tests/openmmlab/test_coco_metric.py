"""COCO's statistics against pycocotools, and AP and IoU worked out by hand."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.structures import InstanceData, PixelData
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mae_bench.config.load import load_config
from mae_bench.openmmlab.coco_metric import STATISTICS, FastCocoMetric, evaluate

ROOT = Path(__file__).parents[2]
CATEGORIES = [dict(id=i, name=name) for i, name in ((3, "cat"), (7, "dog"), (9, "emu"))]
SIDE = 200


def box_mask(box: list[float]) -> dict[str, Any]:
    """The pixels of a box (x, y, w, h) as a compressed mask."""
    x, y, w, h = (round(max(value, 0)) for value in box)
    mask = np.zeros((SIDE, SIDE), np.uint8, order="F")
    mask[y : y + h, x : x + w] = 1
    encoded = rle.encode(mask)
    return dict(size=encoded["size"], counts=encoded["counts"].decode())


def random_world(seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Annotations of all sizes, crowds among them and pictures with none, and detections."""
    generator = np.random.default_rng(seed)
    images = [dict(id=i, width=SIDE, height=SIDE, file_name=f"{i}.jpg") for i in range(1, 13)]
    annotations, found = [], []
    for image in images[:-2]:
        for _ in range(generator.integers(1, 8)):
            w, h = generator.integers(4, 150, 2).tolist()
            x, y = (int(generator.integers(0, SIDE - side)) for side in (w, h))
            category = CATEGORIES[generator.integers(3)]["id"]
            shared = dict(image_id=image["id"], category_id=category)
            annotations.append(
                dict(
                    **shared,
                    id=len(annotations) + 1,
                    bbox=[x, y, w, h],
                    area=w * h,
                    segmentation=box_mask([x, y, w, h]),
                    iscrowd=int(generator.random() < 0.15),
                )
            )
            for _ in range(generator.integers(0, 4)):
                moved = [
                    float(v) for v in np.array([x, y, w, h]) + generator.normal(0, 0.05 * w, 4)
                ]
                moved[2:] = [max(side, 1.0) for side in moved[2:]]
                score = round(float(generator.random()), 2)  # so that some are equal
                found.append(dict(**shared, bbox=moved, segmentation=box_mask(moved), score=score))
    for _ in range(150):  # more than 100 in one picture
        box = [*generator.uniform(0, 100, 2), *generator.uniform(2, 90, 2)]
        found.append(
            dict(
                image_id=images[0]["id"],
                category_id=3,
                bbox=[float(v) for v in box],
                segmentation=box_mask(box),
                score=float(generator.random()),
            )
        )
    return dict(images=images, annotations=annotations, categories=CATEGORIES), found


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("seed", range(3))
def test_equal_to_pycocotools(seed, kind, tmp_path):
    from faster_coco_eval import COCO as FastCOCO

    data, found = random_world(seed)
    file = tmp_path / "truth.json"
    file.write_text(json.dumps(data))
    if kind == "segm":
        for entry in found:  # a box's area is not the mask's, which decides what is small
            entry["bbox"][2] *= 3
    truth = FastCOCO(str(file))
    ours = evaluate(truth, copy.deepcopy(found), kind, truth.getCatIds())

    if kind == "segm":
        for entry in found:
            del entry["bbox"]
    slow = COCO(str(file))
    theirs = COCOeval(slow, slow.loadRes(copy.deepcopy(found)), kind)
    theirs.evaluate()
    theirs.accumulate()
    theirs.summarize()
    assert list(ours) == list(STATISTICS)
    # pycocotools adds 2e-16 to a denominator: the sixteenth digit may differ, the first twelve not.
    assert list(ours.values()) == [round(float(value), 12) for value in theirs.stats]
    assert len({*ours.values()}) > 6, "a case where all are equal shows nothing"


class FixedDetector(BaseModel):
    """Finds what it is told, whatever the picture."""

    def __init__(self, boxes: list[list[float]], scores: list[float], labels: list[int]) -> None:
        super().__init__()
        self.boxes, self.scores, self.labels = boxes, scores, labels
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = "tensor") -> Any:
        raise NotImplementedError

    def val_step(self, data: dict[str, Any]) -> list[DetDataSample]:
        for sample in data["data_samples"]:
            masks = torch.zeros(len(self.boxes), SIDE, SIDE, dtype=torch.bool)
            for mask, (x1, y1, x2, y2) in zip(masks, self.boxes, strict=True):
                mask[y1:y2, x1:x2] = True
            sample.pred_instances = InstanceData(
                bboxes=torch.tensor(self.boxes, dtype=torch.float32).reshape(-1, 4),
                scores=torch.tensor(self.scores),
                labels=torch.tensor(self.labels, dtype=torch.long),
                masks=masks,
            )
        return data["data_samples"]


def validate(cfg: Config, model: BaseModel, work_dir: Path) -> dict[str, float]:
    """The evaluation path of a config, with another model."""
    cfg.val_dataloader.update(num_workers=0, persistent_workers=False)
    runner = Runner(
        model=model,
        work_dir=str(work_dir),
        val_dataloader=cfg.val_dataloader,
        val_evaluator=cfg.val_evaluator,
        val_cfg=cfg.val_cfg,
        default_hooks=dict(checkpoint=None),
        default_scope=cfg.default_scope,
        experiment_name=f"validate_{work_dir.name}",
        log_level="ERROR",
    )
    return runner.val()


@pytest.mark.parametrize("nothing", [False, True])
def test_average_precision_by_hand_through_the_whole_path(nothing, tmp_path):
    """One class, two objects; detections in order of score: right, wrong, right.

    Precision is 1 up to a recall of 1/2 and 2/3 up to 1. Of COCO's 101 recalls 51 are at most 1/2,
    so AP is (51 + 50 * 2/3) / 101 at every IoU, since what is right is exactly right.
    """
    cfg = load_config(ROOT / "configs/det/mask_rcnn_vit_base_coco.py")
    boxes = [[10, 10, 60, 60], [100, 100, 150, 150], [70, 10, 120, 60]]
    objects = [boxes[0], boxes[2]]
    data = dict(
        images=[dict(id=5, width=SIDE, height=SIDE, file_name="a.jpg")],
        categories=[dict(id=i + 1, name=name) for i, name in enumerate(("person", "bicycle"))],
        annotations=[
            dict(
                id=i + 1,
                image_id=5,
                category_id=2,
                bbox=[x1, y1, x2 - x1, y2 - y1],
                area=(x2 - x1) * (y2 - y1),
                segmentation=[[x1, y1, x2, y1, x2, y2, x1, y2]],
                iscrowd=0,
            )
            for i, (x1, y1, x2, y2) in enumerate(objects)
        ],
    )
    (tmp_path / "val2017").mkdir()
    Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "val2017/a.jpg")
    file = tmp_path / "truth.json"
    file.write_text(json.dumps(data))
    cfg.val_dataloader.dataset.update(
        data_root=str(tmp_path), ann_file="truth.json", metainfo=dict(classes=("person", "bicycle"))
    )
    cfg.val_evaluator.ann_file = str(file)
    detector = FixedDetector(boxes, [0.9, 0.8, 0.7], [1, 1, 1])
    if nothing:
        detector = FixedDetector([], [], [])
    metrics = validate(cfg, detector, tmp_path / "work")
    expected = 0 if nothing else (51 + 50 * 2 / 3) / 101
    for kind in ("bbox", "segm"):
        assert metrics[f"coco/{kind}_mAP"] == pytest.approx(expected, abs=1e-12)
        assert metrics[f"coco/{kind}_mAP_m"] == pytest.approx(expected, abs=1e-12)
        assert metrics[f"coco/{kind}_mAP_s"] == -1  # there is no small object
        assert metrics[f"coco/{kind}_AR@1"] == (0 if nothing else 0.5)
        assert metrics[f"coco/{kind}_AR@10"] == (0 if nothing else 1)


class FixedSegmentor(BaseModel):
    """Predicts the map it is given."""

    def __init__(self, prediction: list[list[int]]) -> None:
        super().__init__()
        self.prediction = torch.tensor(prediction)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = "tensor") -> Any:
        raise NotImplementedError

    def val_step(self, data: dict[str, Any]) -> list:
        for sample in data["data_samples"]:
            sample.pred_sem_seg = PixelData(data=self.prediction[None])
        return data["data_samples"]


def test_mean_iou_by_hand_through_the_whole_path(tmp_path):
    """Labels 0 is nothing, 1 and 2 the first two classes.

    Class 0: 3 pixels right of 4, and of 4 predicted: IoU 3/5. Class 1: 2 right of 3, 3 predicted:
    2/4. The pixel of no class counts nowhere, whatever is predicted there. Class 2 is predicted on
    it only, so it counts nowhere either.
    """
    cfg = load_config(ROOT / "configs/seg/upernet_vit_base_ade20k.py")
    truth = np.array([[1, 1, 1, 1], [2, 2, 2, 0]], np.uint8)
    prediction = [[0, 0, 0, 1], [1, 1, 0, 2]]
    for folder in ("images/validation", "annotations/validation"):
        (tmp_path / folder).mkdir(parents=True)
    Image.new("RGB", (4, 2)).save(tmp_path / "images/validation/a.jpg")
    Image.fromarray(truth).save(tmp_path / "annotations/validation/a.png")
    cfg.val_dataloader.dataset.data_root = str(tmp_path)
    metrics = validate(cfg, FixedSegmentor(prediction), tmp_path / "work")
    assert metrics["mIoU"] == pytest.approx(100 * (3 / 5 + 2 / 4) / 2, abs=0.005)
    assert metrics["mAcc"] == pytest.approx(100 * (3 / 4 + 2 / 3) / 2, abs=0.005)
    assert metrics["aAcc"] == pytest.approx(100 * 5 / 7, abs=0.005)


def test_other_metrics_are_refused(tmp_path):
    with pytest.raises(ValueError, match="'bbox' and 'segm' only"):
        FastCocoMetric(str(tmp_path / "a.json"), metric="proposal")
