"""Measure on frozen features while a backbone is being pre-trained."""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from mmengine.dataset import DefaultSampler
from mmengine.dist import all_gather, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.registry import DATASETS
from mmpretrain.registry import MODELS as CLASSIFIERS
from torch import Tensor, nn

from ...config.load import load_config
from ...datasets.one_set import class_names, innermost
from ...datasets.set_checks import check_sets
from ...distributed import unwrap
from ...evaluation.feature_store import FeatureTensors
from ...evaluation.frozen.frozen_loop import TOKENS, image_features
from ...evaluation.frozen.low_shot import draw_images
from ...evaluation.frozen.measure import FrozenSets, Measure, files_of
from ...registry import HOOKS, METRICS
from ..sharding import is_sharded


@HOOKS.register_module()
class MeasureFrozen(Hook):
    """Measure the backbone's features every few epochs; the metrics stand on the run's curves.

    Data, input, batch and measures, such as k-NN, are those of a config of frozen measures. Nothing
    is chosen by them and the training draws what it draws without the hook.

    Args:
        config: such as ``configs/cls/vit_base_frozen_in1k.py``.
        interval: epochs between two measurements; the last epoch is measured too.
        images_per_class: of the training set, drawn by a seed; None: all.
        overrides: dotted keys of that config and values, such as where its data is.

    Raises:
        ValueError: before training, a model that is not pre-trained in epochs, with another input,
            sharded, or data that does not fit.
    """

    priority = "LOW"

    def __init__(
        self,
        config: str,
        interval: int,
        images_per_class: int | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        self.config = config
        self.interval = interval
        self.images_per_class = images_per_class
        self.overrides = dict(overrides or {})
        self.seconds = 0.0

    def before_train(self, runner: Runner) -> None:
        """Read config and data, and measure the start: what is wrong shows now, not after hours."""
        self.started = time.monotonic()
        self._prepare(runner)
        if runner.epoch == 0:
            self._report(runner, 0)

    def _prepare(self, runner: Runner) -> None:
        where = f"MeasureFrozen(config={self.config!r})"
        cfg = load_config(self.config, self.overrides)
        model = unwrap(runner.model)
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise ValueError(f"{where}: counts epochs, and this run counts iterations")
        if any(map(is_sharded, model.parameters())):
            raise ValueError(f"{where}: a sharded backbone cannot run by itself; leave out --fsdp")
        if getattr(model.backbone, "output", None) != TOKENS:
            raise ValueError(f'{where}: needs a model with model.backbone.output="{TOKENS}"')
        self.preprocessor: nn.Module = CLASSIFIERS.build(cfg.model.data_preprocessor)
        for name in ("mean", "std"):
            own, other = (
                getattr(m, name, None) for m in (model.data_preprocessor, self.preprocessor)
            )
            if own is None or other is None or not torch.equal(own.cpu(), other.cpu()):
                raise ValueError(
                    f"{where}: its model.data_preprocessor.{name} is not that of this run: give "
                    f"overrides['model.data_preprocessor.{name}']"
                )
        self.measures: list[Measure] = [METRICS.build(dict(m)) for m in cfg.test_cfg.measures]
        in_order = dict(type=DefaultSampler, shuffle=False)
        self.loader = {**cfg.test_dataloader.to_dict(), "sampler": in_order}
        train = DATASETS.build(cfg.train_dataloader.dataset)
        val = DATASETS.build(cfg.test_dataloader.dataset)
        check_sets(cfg, {"train_dataloader": train, "test_dataloader": val}).refuse()
        self.classes = len(class_names(innermost(train)))
        if self.images_per_class is not None:
            labels = torch.tensor(train.get_gt_labels())
            train = train.get_subset(draw_images(labels, self.images_per_class, 0).tolist())
        self.train, self.val = train, val

    def after_train_epoch(self, runner: Runner) -> None:
        """Measure, where the time has come."""
        if self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner):
            self._report(runner, runner.epoch + 1)

    def _report(self, runner: Runner, epoch: int) -> None:
        start = time.monotonic()
        metrics = self.measure(runner)
        now = time.monotonic()
        self.seconds += now - start
        if is_main_process():
            shown = "  ".join(f"{name}: {value:.2f}" for name, value in metrics.items())
            share = 100 * self.seconds / (now - self.started)
            runner.logger.info(
                f"frozen features of epoch {epoch}: {shown}; {now - start:.1f} s, {share:.1f} % of "
                "the time so far went into such measurements"
            )
            runner.visualizer.add_scalars(metrics, step=epoch)

    @torch.no_grad()
    def measure(self, runner: Runner) -> dict[str, float]:
        """Metrics of the model as it is; in all processes, empty but for the first."""
        model: Any = unwrap(runner.model)
        device = next(model.parameters()).device
        training = model.training
        model.eval()
        try:
            train = self._features(runner, model.backbone, self.train)
            val = self._features(runner, model.backbone, self.val)
        finally:
            model.train(training)
        if not is_main_process():
            return {}
        sets = FrozenSets(train, val, self.classes, device, partial(files_of, self.train))
        with torch.enable_grad():
            return {k: v for measure in self.measures for k, v in measure(sets).metrics.items()}

    def _features(self, runner: Runner, backbone: nn.Module, dataset: Any) -> FeatureTensors:
        device = next(backbone.parameters()).device
        preprocessor = self.preprocessor.to(device)
        parts: dict[str, list[Tensor]] = {}
        for batch in Runner.build_dataloader({**self.loader, "dataset": dataset}, seed=runner.seed):
            data = preprocessor(batch)
            samples = data["data_samples"]
            parts.setdefault("labels", []).append(torch.cat([one.gt_label for one in samples]))
            with runner.optim_wrapper.optim_context(runner.model):
                features = image_features(backbone, TOKENS, data["inputs"])
            for name, part in features.items():
                parts.setdefault(name, []).append(part.float())
        # Each process has every n-th image, and all have as many: the first ones once more.
        whole = {
            name: torch.stack(all_gather(torch.cat(part)), 1).flatten(0, 1)[: len(dataset)].cpu()
            for name, part in parts.items()
        }
        labels = whole.pop("labels")
        return FeatureTensors(whole, labels)
