"""Pictures of what a detector or a segmentation model finds, beside what is there."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...datasets.reading import read_image
from ...files import write_atomic
from ...registry import HOOKS
from ...run_folder import PREDICTIONS_NAME
from ...visualize.picture_page import encode_png
from ...visualize.predictions import draw_beside, found_regions, names_of, true_regions
from .send_picture import send_picture


@HOOKS.register_module()
class DrawPredictions(Hook):
    """Write ``predictions/sample_N.png``: picture, truth and prediction side by side, of every
    `interval`-th batch of the last validation or of a test, and what they show as text beside it.

    For data samples of mmdet (``pred_instances``), mmseg (``pred_sem_seg``) and mmpretrain. Without
    annotations there is no truth. A drawing that fails is a warning, and the last one: no number
    depends on it.

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
            self.draw(runner, batch_idx, runner.val_dataloader.dataset, outputs)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Draw in a test."""
        self.draw(runner, batch_idx, runner.test_dataloader.dataset, outputs)

    @master_only
    def draw(self, runner: Runner, batch_idx: int, dataset: Any, outputs: Any) -> None:
        """Draw the first sample of a batch where that is due."""
        if batch_idx % self.interval or not outputs or self.failed:
            return
        path = Path(runner.work_dir, PREDICTIONS_NAME, f"sample_{batch_idx:04d}.png")
        try:
            picture = self._draw(outputs[0], dataset, path)
            send_picture(runner, f"predictions/{path.stem}", picture[..., ::-1])
        except Exception as error:
            self.failed = True
            runner.logger.warning(f"predictions are drawn no more: {error}")

    def _draw(self, sample: Any, dataset: Any, path: Path) -> np.ndarray:
        turned = getattr(dataset, "exif_orientation", None) is not False
        image = read_image(sample.img_path, turned)
        truth = true_regions(sample, dataset.metainfo, self.ignore)
        found = found_regions(sample, dataset.metainfo, self.ignore)
        sides = [(), found] if truth is None else [(), truth, found]
        picture = draw_beside(image, sides)
        write_atomic(encode_png(picture[..., ::-1]), path)
        text = f"predicted: {names_of(found)}"
        if truth is not None:
            text = f"picture, truth and prediction; truth: {names_of(truth)}; {text}"
        write_atomic(f"{text}\n".encode(), path.with_suffix(".txt"))
        return picture
