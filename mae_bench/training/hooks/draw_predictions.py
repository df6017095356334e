"""Pictures of what a detector or a segmentation model finds, large enough to be looked at."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...files import write_atomic
from ...registry import HOOKS
from ...run_folder import PREDICTIONS_NAME
from ...visualize.reconstruction_page import encode_png
from ...visualize.regions import BACKGROUND, Region, draw_regions

MIN_SCORE = 0.3  # of a detection that is drawn, as in mmdet's own pictures


@HOOKS.register_module()
class DrawPredictions(Hook):
    """Write ``predictions/sample_N.png``: picture, truth and prediction side by side, of every
    `interval`-th batch of the last validation or of a test, and what they show as text beside it.

    For data samples of mmdet (``pred_instances``) and of mmseg (``pred_sem_seg``). A drawing that
    fails is a warning, and the last one: no number depends on it.

    Args:
        interval: batches from one picture to the next.
        ignore: classes of a segmentation that are not outlined.
    """

    def __init__(self, interval: int, ignore: Sequence[str] = ("background",)) -> None:
        self.interval = interval
        self.ignore = set(ignore)
        self.failed = False

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Draw in the last validation: an earlier one shows a model that has no number."""
        if runner.iter >= runner.max_iters:
            self.draw(runner, batch_idx, runner.val_dataloader.dataset.metainfo, outputs)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Draw in a test."""
        self.draw(runner, batch_idx, runner.test_dataloader.dataset.metainfo, outputs)

    @master_only
    def draw(self, runner: Runner, batch_idx: int, meta: dict[str, Any], outputs: Any) -> None:
        """Draw the first sample of a batch where that is due."""
        if batch_idx % self.interval or not outputs or self.failed:
            return
        path = Path(runner.work_dir, PREDICTIONS_NAME, f"sample_{batch_idx:04d}.png")
        try:
            self._draw(outputs[0], meta, path)
        except Exception as error:
            self.failed = True
            runner.logger.warning(f"predictions are drawn no more: {error}")

    def _draw(self, sample: Any, meta: dict[str, Any], path: Path) -> None:
        image = cv2.imread(str(sample.img_path), cv2.IMREAD_COLOR)
        if image is None:
            raise ValueError(f"{sample.img_path}: cannot be read as an image")
        if "pred_sem_seg" in sample:
            truth = self._of_map(sample.gt_sem_seg.data, meta)
            found = self._of_map(sample.pred_sem_seg.data, meta)
        else:
            truth = self._of_instances(sample.gt_instances, meta)
            found = self._of_instances(sample.pred_instances, meta)
        panels = [draw_regions(image, regions) for regions in ((), truth, found)]
        rows = max(panel.shape[0] for panel in panels)
        padded = [
            np.pad(p, ((0, rows - p.shape[0]), (0, 0), (0, 0)), constant_values=BACKGROUND)
            for p in panels
        ]
        write_atomic(encode_png(np.concatenate(padded, axis=1)[..., ::-1]), path)
        names = [", ".join(region.label for region in side) or "nothing" for side in (truth, found)]
        text = f"picture, truth and prediction; truth: {names[0]}; predicted: {names[1]}"
        write_atomic(f"{text}\n".encode(), path.with_suffix(".txt"))

    def _of_instances(self, instances: Any, meta: dict[str, Any]) -> list[Region]:
        instances = instances.cpu() if hasattr(instances, "cpu") else instances
        scores = instances.get("scores")
        masks = instances.get("masks")
        if masks is not None and not isinstance(masks, np.ndarray):
            masks = masks.masks if hasattr(masks, "masks") else np.asarray(masks)
        boxes = instances.bboxes
        boxes = getattr(boxes, "tensor", boxes)
        found = []
        for index, label in enumerate(instances.labels.tolist()):
            text = meta["classes"][label]
            if scores is not None:
                if scores[index] < MIN_SCORE:
                    continue
                text += f" {100 * float(scores[index]):.0f}%"
            mask = None if masks is None else np.asarray(masks[index]).astype(bool)
            left, top, right, bottom = (float(x) for x in boxes[index])
            box = (left, top, right, bottom)
            found.append(Region(text, box, mask, _colour(meta, label)))
        return found

    def _of_map(self, labels: Any, meta: dict[str, Any]) -> list[Region]:
        labels = labels.squeeze(0).cpu().numpy()
        found = []
        for label, name in enumerate(meta["classes"]):
            mask = labels == label
            if name in self.ignore or not mask.any():
                continue
            rows, columns = np.nonzero(mask)
            box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            found.append(Region(name, box, mask, _colour(meta, label)))
        return found


def _colour(meta: dict[str, Any], label: int) -> tuple[int, int, int]:
    """Colour of a class (BGR): the data set's, else one of evenly spread hues."""
    palette = meta.get("palette") or ()
    if label < len(palette):
        red, green, blue = palette[label]
        return int(blue), int(green), int(red)
    hue = np.array([[[label * 47 % 180, 200, 255]]], np.uint8)
    blue, green, red = cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0]
    return int(blue), int(green), int(red)
