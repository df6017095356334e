"""The first samples of a run, or some that it is evaluated on, as its model gets them."""

from collections.abc import Iterator
from functools import partial
from itertools import islice, takewhile
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.structures import PixelData
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.utils.data import DataLoader

from ..config.keys import BATCH_KEY
from ..config.model_input import BGR, channel_order
from ..datasets.one_set import TRAIN, class_names, innermost
from ..datasets.robustness_sets import CUE_CONFLICT, RobustnessSets
from ..datasets.set_checks import check_length
from ..evaluation.applied import ANNOTATIONS
from ..models import MAE
from ..models.masking import sample_masking
from ..models.vit import unpatchify
from ..visualize.samples import Sample
from .runner import TrainRunner
from .seeded import BROKEN_KEY, collate_reports, seed_everything, seed_of, seeded_dataloader
from .step_batch import share_batch

IN_THIS_PROCESS = dict(num_workers=0, persistent_workers=False, pin_memory=False)
WORKER_OPTIONS = ("prefetch_factor", "timeout", "multiprocessing_context")


class FirstBatches:
    """What the model of a config gets: the samples of a split through loader and preprocessor.

    Of the training set those of the first steps on one device, drawn by the config's seed (0 where
    it has none) as the run draws them; of another set as many as asked for, evenly spread.

    Args:
        cfg: checked.
        model: built from it.
        split: ``"train"``, ``"val"`` or ``"test"``.

    Raises:
        ValueError: the config has no such split, or a step needs more images than there are.
    """

    def __init__(self, cfg: Config, model: Any, split: str) -> None:
        config = cfg.get(f"{split}_dataloader")
        if not config:
            raise ValueError(f"{cfg.filename}: has no {split}_dataloader; choose another --split")
        self.cfg, self.model, self.training = cfg, model, split == "train"
        self.seed = (cfg.get("randomness") or {}).get("seed") or 0
        config = {k: v for k, v in config.items() if k not in WORKER_OPTIONS} | IN_THIS_PROCESS
        self.accumulation = (cfg.get("optim_wrapper") or {}).get("accumulative_counts", 1)
        if self.training and cfg.get(BATCH_KEY):
            shared = share_batch(cfg[BATCH_KEY], 1, config["batch_size"])
            self.accumulation, config["batch_size"] = shared.accumulation, shared.size
        if self.training:
            config = seeded_dataloader(config, self.seed)
        config.setdefault("sampler", dict(type="DefaultSampler", shuffle=False))
        self.loader: DataLoader = TrainRunner.build_dataloader(config, seed=self.seed)
        self.dataset = innermost(self.loader.dataset)
        if self.training:
            check_length(cfg, TRAIN, self.dataset, 1).refuse(TRAIN)
        self.broken: list[str] = []

    @property
    def meta(self) -> dict[str, Any]:
        """``classes`` of the data set, which may be none, and ``palette`` where it has one."""
        robustness = isinstance(self.dataset, RobustnessSets)
        classes = self.dataset.classes if robustness else class_names(self.dataset)
        return {**(getattr(self.dataset, "metainfo", None) or {}), "classes": classes}

    @property
    def steps(self) -> int:
        """Optimizer steps of an epoch."""
        whole, rest = divmod(len(self.loader), self.accumulation)
        return whole + bool(rest and not self.loader.drop_last)

    def take(self, number: int) -> list[Sample]:
        """The first so many samples, fewer where there are no more."""
        batches = self._trained() if self.training else self._evaluated(number)
        return list(islice((sample for batch in batches for sample in batch), number))

    def _trained(self) -> Iterator[list[Sample]]:
        collate = partial(collate_reports, collate=self.loader.collate_fn)
        self.loader.collate_fn = collate
        for index, batch in enumerate(self.loader):
            self.broken += filter(None, batch.pop(BROKEN_KEY))
            # as the loops seed what the model draws, the mixing of images among it
            seed_everything(seed_of(self.seed, *divmod(index, self.accumulation)))
            yield self._given(batch)

    def _evaluated(self, number: int) -> Iterator[list[Sample]]:
        dataset = self.loader.dataset
        number = min(number, len(dataset))  # type: ignore[arg-type]
        for index in np.linspace(0, len(dataset) - 1, number).round().astype(int):  # type: ignore
            if isinstance(dataset, RobustnessSets):
                yield [self._of_robustness(dataset, int(index))]
            else:
                yield self._given(self.loader.collate_fn([dataset[int(index)]]))

    def _of_robustness(self, dataset: RobustnessSets, index: int) -> Sample:
        """Those sets hand over plain images, which their loop normalises."""
        if dataset.transform is None:
            dataset.transform = getattr(self.model, "eval_transform", None)
        found = dataset[index]
        image = found["inputs"].permute(1, 2, 0).numpy()  # type: ignore[union-attr]
        part = dataset.parts[found["part"]].name
        # the label of a cue conflict is none of the data set's classes
        annotated = None if part == CUE_CONFLICT else DataSample().set_gt_label(found["label"])
        return Sample(image, annotated, name=part)

    def _given(self, batch: Any) -> list[Sample]:
        """Samples of a batch after the model's data preprocessor."""
        with torch.no_grad():
            given = self.model.data_preprocessor(batch, training=self.training)
        images, annotated = (
            given["inputs"],
            given.get("data_samples") or [None] * len(given["inputs"]),
        )
        hidden = self._hidden(images, annotated)
        pixels = self._pixels(images)
        samples = []
        for index, (image, element) in enumerate(zip(pixels, annotated, strict=True)):
            path = "" if element is None else element.metainfo.get("img_path") or ""
            mask = None if hidden is None else hidden[index]
            samples.append(Sample(image, self._in_pixels(element), mask, str(path)))
        return samples

    def _pixels(self, images: Tensor) -> np.ndarray:
        """Normalised (B, C, H, W) -> (B, H, W, 3) uint8 RGB; noise that was added is cut."""
        scale = self.model.data_preprocessor
        if hasattr(scale, "mean"):
            images = images * scale.std + scale.mean
        if images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        if images.shape[1] != 3:
            raise ValueError(f"draws RGB or grey images, and these have {images.shape[1]} channels")
        if images.shape[1] == 3 and channel_order(self.cfg) == BGR:
            images = images.flip(1)
        return images.round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()

    def _hidden(self, images: Tensor, annotated: Any) -> np.ndarray | None:
        """What an autoencoder hides in training: (B, H, W) bool."""
        if not isinstance(self.model, MAE):
            return None
        model, grid = self.model, self.model.grid_of(images)
        masking = model.masking_by_sample(images, annotated) or sample_masking(
            model.sampling, len(images), grid, model.mask_ratio, images.device
        )
        side = model.backbone.patch_size
        mask = masking.as_mask().unsqueeze(-1).expand(-1, -1, side * side)
        return unpatchify(mask, grid, side)[:, 0].bool().numpy()

    def _in_pixels(self, element: Any) -> Any:
        """Annotations in the pixels of the image: an evaluation may resize the image alone."""
        if self.training or element is None or not self._annotated_late():
            return element
        element = element.clone()
        across, down = element.get("scale_factor", (1.0, 1.0))
        if "gt_instances" in element:
            found = element.gt_instances
            boxes = getattr(found.bboxes, "tensor", found.bboxes)
            found.bboxes = boxes * boxes.new_tensor([across, down, across, down])
            if "masks" in found:
                height, width = found.masks.height, found.masks.width
                found.masks = found.masks.resize((round(height * down), round(width * across)))
        if "gt_sem_seg" in element:
            labels = element.gt_sem_seg.data
            size = tuple(element.img_shape[:2])
            resized = F.interpolate(labels[None].float(), size, mode="nearest-exact")[0]
            element.gt_sem_seg = PixelData(data=resized.to(labels.dtype))
        return element

    def _annotated_late(self) -> bool:
        """Whether the image is transformed before its annotations are loaded."""
        steps: Any = getattr(getattr(self.dataset, "pipeline", None), "transforms", [])
        before = list(takewhile(lambda name: name not in ANNOTATIONS, map(_class_name, steps)))
        return len(before) < len(steps) and any(not name.startswith("Load") for name in before)


def _class_name(step: Any) -> str:
    return type(step).__name__
