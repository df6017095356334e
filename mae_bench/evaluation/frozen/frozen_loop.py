"""Test loop that extracts the features of a frozen backbone once and measures on them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any

import torch
from mmengine.dist import barrier, is_main_process
from mmengine.runner import BaseLoop, Runner
from mmpretrain.registry import DATASETS
from torch import Tensor
from torch.utils.data import ConcatDataset

from ...datasets.identity import data_identity, files_state
from ...datasets.one_set import class_names, innermost
from ...datasets.set_checks import check_sets
from ...distributed import unwrap
from ...models import VisionTransformer
from ...registry import LOOPS, METRICS
from ..feature_store import FeatureStore, Shard, ShardBatches, weights_digest
from .measure import FrozenSets, Measure, files_of

PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
CLASS_TOKEN, MEAN, TOKENS = "class_token", "mean", "tokens"
BEFORE_NORM = "_before_norm"


@contextmanager
def block_outputs(backbone: Any, blocks: Sequence[int]) -> Iterator[dict[int, Tensor]]:
    """Keep what blocks (0-based) give, all tokens (B, P + N, D), while the backbone runs."""
    kept: dict[int, Tensor] = {}
    hooks = [
        backbone.blocks[i].register_forward_hook(
            lambda module, inputs, output, i=i: kept.__setitem__(i, output)
        )
        for i in blocks
    ]
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


def pooled(tokens: Tensor, patches: int, class_token: bool, suffix: str = "") -> dict[str, Tensor]:
    """The mean of the patch tokens and, where there is one, the class token, (B, D) each.

    Raises:
        ValueError: there are fewer tokens than patches.
    """
    prefix = tokens.shape[1] - patches
    if prefix < 0:
        raise ValueError(
            f'{tokens.shape[1]} tokens are no patches: set model.backbone.output="mean"'
        )
    found = {MEAN + suffix: tokens[:, prefix:].float().mean(dim=1)}
    return found | ({CLASS_TOKEN + suffix: tokens[:, 0]} if class_token else {})


def image_features(
    backbone: Any, output: str, images: Tensor, blocks: Sequence[int] = ()
) -> dict[str, Tensor]:
    """Features (B, D) of normalised images, by name.

    Args:
        backbone: of our contract.
        output: what it gives: one pooled feature, which is called so; or ``"tokens"``, of which
            come ``class_token``, where it has one, and ``mean``, that of the patch tokens, both
            after the backbone's final norm. Of :class:`VisionTransformer` both come once more with
            ``_before_norm``, as the last block gives them.
        images: (B, 3, H, W).
        blocks: 0-based numbers of earlier blocks whose output is pooled too, with ``_block<i>``.

    Raises:
        ValueError: it gives something else, or has no such blocks.
    """
    ours = output == TOKENS and isinstance(backbone, VisionTransformer)
    last = len(backbone.blocks) - 1 if ours else -1
    if absent := [i for i in blocks if not 0 <= i < last]:
        raise ValueError(
            f"test_cfg.blocks={absent}: earlier blocks are those of VisionTransformer with output="
            f'"{TOKENS}"' + (f", 0 to {last - 1}" if ours else "")
        )
    with block_outputs(backbone, [*blocks, last] if ours else []) as kept:
        features = backbone(images)[-1]
    if output != TOKENS:
        if features.ndim != 2:
            raise ValueError(
                f"model.backbone.output={output!r} gives {tuple(features.shape)}: frozen features "
                f'are of "{TOKENS}", "{CLASS_TOKEN}" or "{MEAN}"'
            )
        return {output: features}
    side = backbone.patch_size
    patches = (images.shape[2] // side) * (images.shape[3] // side)
    first = any(name.split(".")[-1] == "cls_token" for name, _ in backbone.named_parameters())
    found = pooled(features, patches, first)
    for i, tokens in kept.items():
        found |= pooled(tokens, patches, first, BEFORE_NORM if i == last else f"_block{i}")
    return found


@LOOPS.register_module()
class FrozenLoop(BaseLoop):
    """Extract features of the training and the validation images, then measure on them.

    They are in a cache: those of the same weights, model, images, crop and precision are taken
    from there. What an interrupted extraction has finished is kept. Several processes share the
    extraction; the first one measures. ``heads`` are the linear classifiers that measures trained.

    Args:
        runner: of MMEngine; its model is an image classifier without a head.
        dataloader: of the validation images; batch and workers are those of the extraction.
        evaluator: not used; MMEngine wants one to be there.
        train_dataset: the training images, without augmentation; ``tools/test.py`` sets it to
            ``train_dataloader.dataset``.
        measures: configs of what is measured, such as ``dict(type=KNN)``.
        precision: ``"float32"``, or mixed precision ``"float16"`` or ``"bfloat16"`` of which
            features are kept in float16.
        cache: folder of the features of all runs.
        blocks: earlier blocks (0-based) of which features are taken besides the last.

    Raises:
        ValueError: an unknown precision, sets that do not fit each other, or features that are not
            finite.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: dict,
        evaluator: Any = None,
        train_dataset: Mapping[str, Any] | None = None,
        measures: Sequence[Mapping[str, Any]] = (),
        precision: str = "float32",
        cache: str = "work_dirs/features",
        blocks: Sequence[int] = (),
    ) -> None:
        self._runner = runner
        if precision not in PRECISIONS:
            raise ValueError(
                f"test_cfg.precision={precision!r} is not one of {', '.join(PRECISIONS)}"
            )
        if train_dataset is None:
            raise ValueError("train_dataloader is missing: its images are what is learned from")
        self.precision = precision
        self.mixed = precision != "float32"
        self.dtype = torch.float16 if self.mixed else torch.float32
        self.model: Any = unwrap(runner.model)
        self.output = runner.cfg.model.backbone.get("output", "maps")
        self.blocks = sorted(blocks)
        self.measures: list[Measure] = [METRICS.build(dict(measure)) for measure in measures]
        configs = {"train": train_dataset, "val": dataloader["dataset"]}
        self.sets = {name: DATASETS.build(dict(config)) for name, config in configs.items()}
        train, val = self.sets.values()
        check_sets(runner.cfg, {"train_dataloader": train, "test_dataloader": val}).refuse()
        self.data = {"frozen_train": data_identity(train), "test": data_identity(val)}
        self.data_counts = {name: one["samples"] for name, one in self.data.items()}
        self.classes = len(class_names(innermost(train)))
        weights = weights_digest(self.model.backbone)
        self.stores = {
            name: FeatureStore(cache, self._deciding(weights, name, config), len(self.sets[name]))
            for name, config in configs.items()
        }
        self.pending = self._pending()
        own = self.pending[runner.rank :: runner.world_size]
        settings = {k: v for k, v in dataloader.items() if k not in ("dataset", "batch_size")}
        settings.setdefault("pin_memory", torch.cuda.is_available())
        self.batches = ShardBatches(
            [(shard, shard.start + len(train) * (name == "val")) for name, shard in own],
            dataloader["batch_size"],
        )
        self.own = own
        self.heads: dict[str, Tensor] = {}
        settings |= dict(
            dataset=ConcatDataset([train, val]), sampler=None, batch_sampler=self.batches
        )
        super().__init__(runner, settings)

    def _deciding(self, weights: str, name: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """All that the features of a set depend on."""
        model = self.runner.cfg.model.to_dict()
        dataset = innermost(self.sets[name])
        return {
            "weights": weights,
            "backbone": model["backbone"],
            "input": model.get("data_preprocessor"),
            "data": data_identity(self.sets[name]),
            "files": files_state(dataset),
            "pipeline": config.get("pipeline"),
            "precision": self.precision,
            "blocks": self.blocks,
            "torch": torch.__version__,
        }

    def _pending(self) -> list[tuple[str, Shard]]:
        """Shards that have to be made, those of training first."""
        pending = []
        for name, store in self.stores.items():
            for shard in store.shards:
                damage = store.damage(shard)
                if damage is None:
                    continue
                pending.append((name, shard))
                if shard.file.exists():
                    self.runner.logger.warning(f"{shard.file}: {damage}; made anew")
        return pending

    @torch.no_grad()
    def run(self) -> dict[str, float]:
        """Extract what is missing and measure."""
        runner = self.runner
        runner.call_hook("before_test")
        runner.call_hook("before_test_epoch")
        self.model.eval()
        for name, store in self.stores.items():
            left = sum(shard.end - shard.start for of, shard in self.pending if of == name)
            runner.logger.info(
                f"features of {name}: {store.samples - left:,} of {store.samples:,} images are in "
                f"{store.folder}"
            )
        self._extract()
        barrier()
        metrics: dict[str, float] = {}
        card: dict[str, Any] = {"precision": f"mixed {self.precision}" if self.mixed else "float32"}
        card |= {f"{name}_features": store.key for name, store in self.stores.items()}
        if is_main_process():
            for measure in self.measures:
                runner.logger.info(f"measuring {type(measure).__name__}")
                with torch.enable_grad():
                    measured = measure(self._frozen_sets())
                metrics |= measured.metrics
                card |= measured.card
                self.heads |= measured.heads
        runner.run_card |= card
        runner.call_hook("after_test_epoch", metrics=metrics)
        runner.call_hook("after_test")
        return metrics

    def _frozen_sets(self) -> FrozenSets:
        device = next(self.model.parameters()).device
        files = partial(files_of, self.sets["train"])
        return FrozenSets(self.stores["train"], self.stores["val"], self.classes, device, files)

    def _extract(self) -> None:
        batches = enumerate(self.dataloader)
        for name, shard in self.own:
            features: dict[str, list[Tensor]] = {}
            labels: list[Tensor] = []
            for index, batch in islice(batches, self.batches.batches_of(shard)):
                self.runner.call_hook("before_test_iter", batch_idx=index, data_batch=batch)
                data = self.model.data_preprocessor(batch)
                labels += [sample.gt_label for sample in data["data_samples"]]
                for kind, part in self._features(data["inputs"]).items():
                    features.setdefault(kind, []).append(part.to(self.dtype))
                self.runner.call_hook(
                    "after_test_iter", batch_idx=index, data_batch=batch, outputs=()
                )
            # On the device up to here: one transfer a shard, and none to wait for in between.
            whole = {kind: torch.cat(parts).cpu() for kind, parts in features.items()}
            self._check_finite(name, shard, whole)
            self.stores[name].write(shard, whole, torch.cat(labels).cpu())

    def _features(self, images: Tensor) -> dict[str, Tensor]:
        precision = PRECISIONS[self.precision]
        with torch.autocast(images.device.type, precision, enabled=self.mixed):
            return image_features(self.model.backbone, self.output, images, self.blocks)

    def _check_finite(self, name: str, shard: Shard, features: Mapping[str, Tensor]) -> None:
        for kind, tensor in features.items():
            if wrong := int((~tensor.isfinite().all(dim=1)).sum()):
                raise ValueError(
                    f"{kind} of {wrong} {name} images from {shard.start} on is not finite; if "
                    "mixed precision is the reason, --cfg-options test_cfg.precision=float32"
                )
