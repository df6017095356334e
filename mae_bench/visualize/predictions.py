"""What a model found in an image, and what is there, as regions to be drawn with their names."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from .regions import BACKGROUND, Region, draw_regions

MIN_SCORE = 0.3  # of a detection that is drawn, as in mmdet's own pictures
SHOWN = 3  # classes of a classified image


def found_regions(
    sample: Any,
    meta: Mapping[str, Any],
    ignore: Collection[str] = (),
    min_score: float = MIN_SCORE,
) -> list[Region]:
    """What a data sample of mmdet, mmseg or mmpretrain predicts.

    Args:
        sample: with ``pred_instances``, ``pred_sem_seg`` or ``pred_score``.
        meta: ``classes``, and ``palette`` where there is one.
        ignore: classes of a segmentation that are not outlined.
        min_score: of a detection that is drawn.
    """
    if "pred_sem_seg" in sample:
        return _of_map(sample.pred_sem_seg.data, meta, ignore)
    if "pred_instances" in sample:
        return _of_instances(sample.pred_instances, meta, min_score)
    return _of_scores(sample.pred_score, meta)


def true_regions(
    sample: Any, meta: Mapping[str, Any], ignore: Collection[str] = ()
) -> list[Region] | None:
    """What the sample's annotations say; None where it has none."""
    if "gt_sem_seg" in sample:
        return _of_map(sample.gt_sem_seg.data, meta, ignore)
    if "gt_instances" in sample and "labels" in sample.gt_instances:
        return _of_instances(sample.gt_instances, meta, 0.0)
    if "gt_score" in sample:  # mixed images have several, in shares
        scores = sample.gt_score.tolist()
        return [
            _named(meta, label, "" if score == 1 else f" {100 * score:.0f}%")
            for label, score in sorted(enumerate(scores), key=lambda entry: -entry[1])
            if score > 0
        ]
    if "gt_label" in sample and sample.gt_label is not None:
        return [_named(meta, int(label)) for label in sample.gt_label]
    return None


def draw_beside(image: np.ndarray, sides: Sequence[Sequence[Region]]) -> np.ndarray:
    """The image with each list of regions, side by side: (H', W', 3) uint8 BGR."""
    return beside([draw_regions(image, regions) for regions in sides])


def beside(panels: Sequence[np.ndarray]) -> np.ndarray:
    """Drawn pictures side by side, (H', W', 3) uint8, the lower ones filled up."""
    rows = max(panel.shape[0] for panel in panels)
    padded = [
        np.pad(p, ((0, rows - p.shape[0]), (0, 0), (0, 0)), constant_values=BACKGROUND)
        for p in panels
    ]
    return np.concatenate(padded, axis=1)


def names_of(regions: Sequence[Region]) -> str:
    """The labels in words."""
    return ", ".join(region.label for region in regions) or "nothing"


def _of_instances(instances: Any, meta: Mapping[str, Any], min_score: float) -> list[Region]:
    instances = instances.cpu() if hasattr(instances, "cpu") else instances
    scores = instances.get("scores")
    masks = instances.get("masks")
    if masks is not None and not isinstance(masks, np.ndarray):
        masks = masks.to_ndarray() if hasattr(masks, "to_ndarray") else np.asarray(masks)
    boxes = instances.bboxes
    boxes = getattr(boxes, "tensor", boxes)
    found = []
    for index, label in enumerate(instances.labels.tolist()):
        text = meta["classes"][label]
        if scores is not None:
            if scores[index] < min_score:
                continue
            text += f" {100 * float(scores[index]):.0f}%"
        mask = None if masks is None else np.asarray(masks[index]).astype(bool)
        left, top, right, bottom = (float(x) for x in boxes[index])
        found.append(Region(text, (left, top, right, bottom), mask, colour_of(meta, label)))
    return found


def _of_map(labels: Any, meta: Mapping[str, Any], ignore: Collection[str]) -> list[Region]:
    labels = labels.squeeze(0).cpu().numpy()
    found = []
    for label, name in enumerate(meta["classes"]):
        mask = labels == label
        if name in ignore or not mask.any():
            continue
        rows, columns = np.nonzero(mask)
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        found.append(Region(name, box, mask, colour_of(meta, label)))
    return found


def _of_scores(scores: Any, meta: Mapping[str, Any]) -> list[Region]:
    best = scores.topk(min(SHOWN, len(scores)))
    return [
        _named(meta, int(label), f" {100 * float(score):.0f}%")
        for score, label in zip(best.values, best.indices, strict=True)
    ]


def _named(meta: Mapping[str, Any], label: int, more: str = "") -> Region:
    """A class that the whole image has."""
    return Region(meta["classes"][label] + more, None, None, colour_of(meta, label))


def colour_of(meta: Mapping[str, Any], label: int) -> tuple[int, int, int]:
    """Colour of a class (BGR): the data set's, else one of evenly spread hues."""
    palette = meta.get("palette") or ()
    if label < len(palette):
        red, green, blue = palette[label]
        return int(blue), int(green), int(red)
    hue = np.array([[[label * 47 % 180, 200, 255]]], np.uint8)
    blue, green, red = cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0]
    return int(blue), int(green), int(red)
