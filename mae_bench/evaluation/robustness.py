"""The robustness sets, all in one pass of one model, with a state that survives interruption."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import all_reduce, is_main_process
from mmengine.runner import BaseLoop, Runner
from mmengine.runner.amp import autocast
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.registry import DATASETS
from torch import Tensor

from ..datasets.cue_conflict import CATEGORIES
from ..datasets.imagenet_variants import CORRUPTIONS, SEVERITIES, subset_indices
from ..datasets.robustness_sets import (
    ADVERSARIAL,
    CORRUPTED,
    CORRUPTED_HERE,
    CUE_CONFLICT,
    PADDING,
    RENDITION,
    SUBSETS,
    VAL,
    Part,
    RobustnessSets,
)
from ..distributed import unwrap
from ..files import read_sealed_json, write_sealed_json
from ..registry import LOOPS
from ..run_folder import ROBUSTNESS_NAME
from .corruption_error import corruption_metrics

# What is counted of each part: images whose label is the best of all 1000 logits, among the best
# five, the best of the 200 logits of A's or R's classes; images with a logit that is no number;
# those whose best logit is one of their further labels.
HITS = ("top1", "top5", ADVERSARIAL, RENDITION, "not_finite", "further")
# Of cue conflicts: decisions for the shape, and for the texture.
CUES = ("shape", "texture")
# Of calibration, for each bin of confidence: images, those that are right, sum of confidence.
BINS = 15
BIN_COUNTS = tuple(f"{what}_{b}" for b in range(BINS) for what in ("seen", "right", "confidence"))
COUNTS = (*HITS, *CUES, *BIN_COUNTS)
# Confidence is summed in whole units: the sum does not depend on the order, batches or processes.
UNIT = 1 << 40
NOT_DISTRIBUTED = "corruptions made here from ImageNet val, not the distributed files of ImageNet-C"


def count_hits(logits: Tensor, labels: Tensor, subsets: Tensor, further: Tensor) -> Tensor:
    """Which of `HITS` each image adds to.

    Args:
        logits: (B, 1000).
        labels: (B,), positions among the 1000 classes.
        subsets: (2, 1000) bool, the classes of A and of R.
        further: (B, K), more labels, filled up with -1.

    Returns:
        (B, 6) bool.
    """
    top5 = logits.topk(5, dim=1).indices == labels[:, None]
    hits = [top5[:, 0], top5.any(dim=1)]
    for subset in subsets:
        # A label outside the subset is never its best class, so it adds nothing.
        hits.append(logits.masked_fill(~subset, -torch.inf).argmax(dim=1) == labels)
    hits.append(~logits.isfinite().all(dim=1))
    hits.append((logits.argmax(dim=1)[:, None] == further).any(dim=1))
    return torch.stack(hits, dim=1)


def count_cues(logits: Tensor, shapes: Tensor, textures: Tensor) -> Tensor:
    """Which of `CUES` decide each image; of one without a conflict of the two none.

    Args:
        logits: (B, 1000).
        shapes, textures: (B,), positions in ``CATEGORIES``.

    Returns:
        (B, 2) bool.

    Source: Geirhos et al. 2019; probabilities of a category's classes are averaged, as the authors
    recommend in the README of texture-vs-shape.
    """
    probabilities = logits.softmax(dim=1)
    averages = [probabilities[:, list(labels)].mean(dim=1) for labels in CATEGORIES.values()]
    decisions = torch.stack(averages, dim=1).argmax(dim=1)
    conflict = shapes != textures
    return torch.stack([(decisions == cue) & conflict for cue in (shapes, textures)], dim=1)


def count_confidence(logits: Tensor, labels: Tensor) -> Tensor:
    """What each image adds to `BIN_COUNTS`, by the probability of its best class.

    Args:
        logits: (B, C), -inf for classes that a set does not have.
        labels: (B,).

    Returns:
        (B, 45) long; confidence in units of 1 / `UNIT`.

    Source: Guo et al. 2017: bin m of 15 holds confidences in ((m - 1) / 15, m / 15].
    """
    confidence, best = logits.double().softmax(dim=1).nan_to_num().amax(dim=1), logits.argmax(dim=1)
    places = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
    counts = torch.zeros(len(logits), BINS, 3, dtype=torch.long, device=logits.device)
    added = [torch.ones_like(places), best == labels, (confidence * UNIT).round()]
    counts[torch.arange(len(logits)), places] = torch.stack([a.long() for a in added], dim=1)
    return counts.flatten(1)


def class_logits(output: Any, classes: int) -> Tensor:
    """Logits of the classes from what a classifier gives with ``mode="tensor"``.

    Args:
        output: (B, classes), or a tuple of those: Conformer's two heads, which are added, as its
            own prediction adds them.
        classes: how many there are.

    Raises:
        ValueError: anything else.
    """
    logits = sum(output) if isinstance(output, tuple) else output
    if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape[1] != classes:
        found = f"outputs of {tuple(logits.shape)}" if isinstance(logits, Tensor) else "no logits"
        raise ValueError(
            f"the model gives {found}; the robustness sets need (batch, {classes}), logits of "
            f"their {classes} classes"
        )
    return logits


def normalise(images: Tensor, preprocessor: Any) -> Tensor:
    """Images as the model's data preprocessor gives them, with one copy in place of its four.

    Args:
        images: (B, 3, S, S) uint8 RGB.
        preprocessor: of the model; one that does more than normalise does it all itself.

    Returns:
        (B, 3, S, S) float32 on the preprocessor's device.
    """
    plain = type(preprocessor) is ClsDataPreprocessor and preprocessor.pad_size_divisor == 1
    if not plain or not hasattr(preprocessor, "mean"):
        # As OpenMMLab loads images: BGR.
        return preprocessor(dict(inputs=images.flip(1)))["inputs"]
    images = images.to(preprocessor.device, non_blocking=True)
    if not preprocessor.to_rgb:
        images = images.flip(1)
    return images.float().sub_(preprocessor.mean).div_(preprocessor.std)


@LOOPS.register_module()
class RobustnessLoop(BaseLoop):
    """Test loop over ``RobustnessSets``: one pass, counts on the device, no Python per image.

    Whenever a part (a set, or one corruption at one severity) is through, its counts go to
    ``robustness_state.json`` in the work directory. The next start with the same config,
    checkpoint and files takes them from there and evaluates the parts that are left.

    Args:
        runner: of MMEngine; its model takes ``mode="tensor"`` and has an output for each class.
        dataloader: config with a ``RobustnessSets`` dataset. Sampler and collation are set here:
            every image counts exactly once, also on several devices.
        evaluator: not used, the loop counts itself; MMEngine wants one to be there.
        fp16: mixed precision; on a GPU where None.

    Raises:
        ValueError: from ``run``, where the model has other classes than the sets, or gives
            something that is no number.
    """

    def __init__(
        self, runner: Runner, dataloader: dict, evaluator: Any = None, fp16: bool | None = None
    ) -> None:
        self._runner = runner
        self.fp16 = torch.cuda.is_available() if fp16 is None else fp16
        self.model: Any = unwrap(runner.model)
        self.dataset: RobustnessSets = DATASETS.build(dataloader["dataset"])
        if self.dataset.transform is None:
            self.dataset.transform = getattr(self.model, "eval_transform", None)
        self.all_parts = list(self.dataset.parts)
        self.data_counts = self.dataset.counts()
        found = {part.name: part.digests() for part in self.all_parts}
        self.digests = {name: timed for name, (_, timed) in found.items()}
        self.data = self.dataset.identities({name: plain for name, (plain, _) in found.items()})
        self.state_file = Path(runner.work_dir, ROBUSTNESS_NAME)
        self.identity = run_identity(runner.cfg, runner.start and runner.start.sha256)
        self.done = self._read_state()
        self.dataset.keep({part.name for part in self.all_parts} - set(self.done))
        self.dataset.prepare()
        settings = {key: value for key, value in dataloader.items() if key != "dataset"}
        settings.setdefault("pin_memory", torch.cuda.is_available())
        settings |= dict(
            dataset=self.dataset,
            sampler=dict(type="DefaultSampler", shuffle=False, round_up=False),
            collate_fn=dict(type="default_collate"),
        )
        super().__init__(runner, settings)

    @torch.no_grad()
    def run(self) -> dict[str, float]:
        """Evaluate what is left and return the metrics of everything."""
        self.runner.call_hook("before_test")
        self.runner.call_hook("before_test_epoch")
        if skipped := len(self.done):
            self.runner.logger.info(f"{skipped} parts are evaluated already: {self.state_file}")
        for reason in self.dataset.missing:
            self.runner.logger.warning(f"not evaluated, {reason}")
        self.model.eval()
        if len(self.dataset):
            self._evaluate()
        card = getattr(self.runner, "run_card", {})
        card |= {"missing": self.dataset.missing}
        if any(part.corruption for part in self.all_parts):
            card |= {"corruptions": NOT_DISTRIBUTED}
        metrics = robustness_metrics(self.done, self.all_parts)
        self.runner.call_hook("after_test_epoch", metrics=metrics)
        self.runner.call_hook("after_test")
        return metrics

    def _evaluate(self) -> None:
        device = next(self.model.parameters()).device
        parts = self.dataset.parts
        counts = torch.zeros(len(parts), len(COUNTS), dtype=torch.long, device=device)
        classes = len(self.dataset.classes)
        subsets = torch.zeros(len(SUBSETS), classes, dtype=torch.bool)
        for row, name in zip(subsets, SUBSETS, strict=True):
            if any(part.name == name for part in self.all_parts):
                row[list(subset_indices(name))] = True
        subsets = subsets.to(device)
        # The classes that a part has: confidence is that of the figure called top1.
        whole = torch.ones(classes, dtype=torch.bool, device=device)
        own = [subsets[SUBSETS.index(p.name)] if p.name in SUBSETS else whole for p in parts]
        allowed = torch.stack(own)
        cues = next((i for i, part in enumerate(parts) if part.name == CUE_CONFLICT), None)
        # All processes go through the same row in strides, so that they finish a part at the same
        # batch. The last batch, which some may lack, is left to the end.
        step = self.dataloader.batch_size * self.runner.world_size
        finishes = {int((end - 1) // step) for end in self.dataset.ends}
        last = (len(self.dataset) - 1) // step
        for index, batch in enumerate(self.dataloader):
            self.runner.call_hook("before_test_iter", batch_idx=index, data_batch=batch)
            with autocast(enabled=self.fp16):
                inputs = normalise(batch["inputs"], self.model.data_preprocessor)
                logits = class_logits(self.model(inputs, mode="tensor"), classes)
            logits = logits.float()
            labels, of_part, further = (
                batch[name].to(device) for name in ("label", "part", "further")
            )
            decided = torch.zeros(len(logits), len(CUES), dtype=torch.long, device=device)
            if cues is not None:
                rows = of_part == cues
                decided[rows] = count_cues(logits[rows], labels[rows], further[rows, 0]).long()
            hits = count_hits(logits, labels, subsets, further).long()
            bins = count_confidence(logits.masked_fill(~allowed[of_part], -torch.inf), labels)
            counts.index_add_(0, of_part, torch.cat([hits, decided, bins], dim=1))
            if index in finishes and index != last:
                self._save(counts, (index + 1) * step)
            self.runner.call_hook("after_test_iter", batch_idx=index, data_batch=batch, outputs=())
        self._save(counts, len(self.dataset))

    def _save(self, counts: Tensor, seen: int) -> None:
        """Keep the counts of the parts that end within the first ``seen`` images."""
        summed = counts.clone()
        all_reduce(summed)
        rows = summed.tolist()
        for part, end, row in zip(self.dataset.parts, self.dataset.ends, rows, strict=True):
            if end > seen or part.name in self.done:
                continue
            hits = dict(zip(COUNTS, row, strict=True))
            if hits["not_finite"]:
                raise ValueError(
                    f"{part.name}: logits of {hits['not_finite']} images are not finite; if "
                    "mixed precision is the reason, --cfg-options test_cfg.fp16=False"
                )
            if is_main_process() and part.digests()[1] != self.digests[part.name]:
                raise ValueError(
                    f"{part.name}: files below {part.images.root} were changed while they were "
                    "evaluated; start again, what was counted before is kept"
                )
            self.done[part.name] = hits
        if is_main_process():
            content = {
                name: {"files": self.digests[name], "hits": hits}
                for name, hits in self.done.items()
            }
            write_sealed_json({"identity": self.identity, "parts": content}, self.state_file)

    def _read_state(self) -> dict[str, dict[str, int]]:
        """Counts of the parts that an earlier start of the same run has evaluated."""
        if not self.state_file.is_file():
            return {}
        try:
            state = read_sealed_json(self.state_file)
            if state["identity"] != self.identity:
                self.runner.logger.info(f"{self.state_file}: of another run, starting afresh")
                return {}
            return {
                name: {key: int(part["hits"][key]) for key in COUNTS}
                for name, part in state["parts"].items()
                if part["files"] == self.digests.get(name)
            }
        except (ValueError, KeyError, TypeError):
            self.runner.logger.warning(f"{self.state_file}: unreadable, starting afresh")
            return {}


def run_identity(cfg: Config, checkpoint: str | None) -> str:
    """Hash of what decides the numbers: model, data, loop and checkpoint; no batch or workers.

    Args:
        cfg: resolved.
        checkpoint: SHA-256 of the file that the model is from, or None.
    """
    resolved = cfg.to_dict()
    deciding = [
        resolved.get("model"),
        resolved.get("test_dataloader", {}).get("dataset"),
        resolved.get("test_cfg"),
        checkpoint,
    ]
    text = json.dumps(deciding, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def robustness_metrics(hits: dict[str, dict[str, int]], parts: list[Part]) -> dict[str, float]:
    """Figures of all sets, in percent, from the counts of their parts.

    ``top1`` of each set; of the validation set ``top5`` and, where the images have such labels,
    ``real_top1`` too. Of A and R: ``top1`` with the logits of the set's 200 classes alone,
    ``clean_top1`` the same on those classes of the validation set, ``top1_1000way`` with all
    logits. ``confidence`` and ``ece`` are of the classes that ``top1`` is of; of C means over
    severities and corruptions, as ``mean_error`` is. Of C see ``corruption_metrics``. Of cue
    conflicts ``shape`` and ``texture``, the share of images decided so, and ``shape_bias``.

    Args:
        hits: name of a part -> `COUNTS`.
        parts: of the same names.
    """
    metrics: dict[str, float] = {}
    errors: dict[str, dict[str, dict[int, float]]] = {}
    calibrations: dict[str, dict[str, dict[int, dict[str, float]]]] = {}
    clean_error = None
    val = next((part for part in parts if part.name == VAL), None)
    for part in parts:
        counts, total = hits[part.name], len(part.images)
        if part.name == CUE_CONFLICT:
            metrics |= _of_part(part.name, cue_metrics(counts, part))
            continue
        calibration = calibration_metrics(counts)
        if part.group in (CORRUPTED, CORRUPTED_HERE):
            group, corruption, severity = part.name.split("/")
            by_severity = errors.setdefault(group, {}).setdefault(corruption, {})
            by_severity[int(severity)] = 1 - counts["top1"] / total
            known = calibrations.setdefault(group, {}).setdefault(corruption, {})
            known[int(severity)] = calibration
            continue
        if part.name in SUBSETS:
            metrics[f"{part.name}/top1"] = 100 * counts[part.name] / total
            metrics[f"{part.name}/top1_1000way"] = 100 * counts["top1"] / total
            if val is not None:
                classes = torch.tensor(subset_indices(part.name))
                inside = int(torch.isin(torch.from_numpy(val.images.labels), classes).sum())
                if inside:
                    clean = hits[VAL][part.name] / inside
                    metrics[f"{part.name}/clean_top1"] = 100 * clean
        else:
            metrics[f"{part.name}/top1"] = 100 * counts["top1"] / total
        if part.name == VAL:
            metrics[f"{VAL}/top5"] = 100 * counts["top5"] / total
            clean_error = 1 - counts["top1"] / total
            labelled = 0 if part.further is None else int((part.further != PADDING).any(1).sum())
            if labelled:
                metrics[f"{VAL}/real_top1"] = 100 * counts["further"] / labelled
        metrics |= _of_part(part.name, calibration)
    for group, by_corruption in errors.items():
        figures = corruption_metrics(by_corruption, clean_error)
        figures |= _mean_calibration(calibrations[group])
        metrics |= _of_part(group, figures)
    return metrics


def _of_part(name: str, figures: dict[str, float]) -> dict[str, float]:
    return {f"{name}/{figure}": value for figure, value in figures.items()}


def calibration_metrics(counts: dict[str, int]) -> dict[str, float]:
    """``confidence``, its mean, and ``ece``, the expected calibration error, in percent.

    Args:
        counts: `BIN_COUNTS` of a part.

    Source: Guo et al. 2017: the distance of accuracy and mean confidence in each of the bins,
    weighted by its share of the images.
    """
    right = [counts[f"right_{b}"] for b in range(BINS)]
    confidence = [counts[f"confidence_{b}"] / UNIT for b in range(BINS)]
    total = sum(counts[f"seen_{b}"] for b in range(BINS))
    gaps = sum(abs(r - c) for r, c in zip(right, confidence, strict=True))
    return {"confidence": 100 * sum(confidence) / total, "ece": 100 * gaps / total}


def _mean_calibration(known: dict[str, dict[int, dict[str, float]]]) -> dict[str, float]:
    """Means over severities, then over those of the 15 corruptions that have all of them."""
    whole = [
        list(by_severity.values())
        for corruption, by_severity in known.items()
        if corruption in CORRUPTIONS and set(by_severity) == set(SEVERITIES)
    ]
    return {
        figure: sum(one[figure] for of_one in whole for one in of_one)
        / (len(whole) * len(SEVERITIES))
        for figure in ("confidence", "ece")
        if whole
    }


def cue_metrics(counts: dict[str, int], part: Part) -> dict[str, float]:
    """``shape_bias``, the share of shapes among decisions for either cue, in percent; and the share
    of the images with a conflict that are decided by ``shape`` and by ``texture``.

    Source: Geirhos et al. 2019.
    """
    assert part.further is not None
    conflicts = int((part.images.labels != part.further[:, 0]).sum())
    decided = counts["shape"] + counts["texture"]
    metrics = {cue: 100 * counts[cue] / conflicts for cue in CUES if conflicts}
    if decided:
        metrics["shape_bias"] = 100 * counts["shape"] / decided
    return metrics
