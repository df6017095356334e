"""Another backbone in a config, by one override: ``model.backbone.type=mae_bench.TimmBackbone``.

What belonged to the old class goes, what the task asks of any backbone stays, and neck and heads
get the widths of the new one.
"""

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mmengine.config import ConfigDict

from ..models import (
    FeaturePyramidAdapter,
    SimpleFeaturePyramid,
    TimmBackbone,
    VisionTransformer,
)
from ..models.backbone import DOCS, as_backbone, blank_features, optional
from ..openmmlab.host_backbone import NUM_SCALES, HostBackbone
from ..registry import MODELS
from .change import Change
from .keys import find

HEADS = ("decode_head", "auxiliary_head")
DENSE_HEADS = ("decode_head", "bbox_head", "rpn_head", "roi_head", "mask_head")
BLANK_SIDE = 224  # pixels, of the image that a backbone without an img_size is tried with
ADAPTERS = (FeaturePyramidAdapter, SimpleFeaturePyramid)
STRIDES = (4, 8, 16, 32)  # an adapter's where its config does not say


class Measures(NamedTuple):
    """What neck and heads have to know of a backbone: its contract in ``docs/backbones.md``."""

    embed_dim: int
    patch_size: int
    num_layers: int
    map_channels: Sequence[int] | None
    map_strides: Sequence[int] | None


_MEASURED: dict[str, Measures] = {}  # by the config of the backbone


def fit_to_backbone(change: Change) -> None:
    """Fit what depends on the backbone to one of another class, width, depth or patch size.

    Args:
        change: config, changed in place. Its backbone has ``num_layers``, ``embed_dim`` and
            ``patch_size``, and if hierarchical ``map_channels`` and ``map_strides``.

    Raises:
        ValueError: the neck is made for plain ViTs only, and the backbone is none; or the image
            cannot be cut into whole patches.
    """
    model, backbone = change.cfg.model, change.cfg.model.backbone
    old, new = _measure(change.before.model.backbone), _measure(backbone)
    _check_patches(backbone)
    out_indices = backbone.get("out_indices", ())
    widths = [new.embed_dim] * len(out_indices)
    if new.map_strides:
        backbone.pop("out_indices", None)
        widths = list(new.map_channels or ())
        _leave_out_adapter(model)
        _set_strides(change, new.map_strides)
    elif new.num_layers != old.num_layers:
        # At the same relative depths: 3, 5, 7, 11 of 12 blocks are 7, 11, 15, 23 of 24.
        for name in ("out_indices", "global_blocks"):
            if blocks := backbone.get(name):
                moved = [(i + 1) * new.num_layers // old.num_layers - 1 for i in blocks]
                change.set(f"model.backbone.{name}", moved)
    same = old == new
    source = f"model.backbone, {new.embed_dim} wide with patches of {new.patch_size}"

    def expect(key: str, value: Any) -> None:
        if not same or change.is_given(key):
            change.expect(key, value, source)

    for key in ("model.target.patch_size", "model.data_preprocessor.test_cfg.size_divisor"):
        if find(change.before, key) == old.patch_size:
            expect(key, new.patch_size)
    for key, neck in _necks(model):
        if neck.type in ADAPTERS:
            before = neck.get("strides", STRIDES)
            if not same:
                change.set(f"{key}.strides", _strides(neck, before, old.patch_size, new))
            expect(f"{key}.embed_dim", new.embed_dim)
            expect(f"{key}.patch_size", new.patch_size)
            if not same or change.is_given(f"{key}.strides"):
                _set_strides(change, neck.get("strides", STRIDES))
        if neck.type is SimpleFeaturePyramid:
            return
        if "in_channels" in neck:
            expect(f"{key}.in_channels", widths)
            return
    for name in HEADS if widths else ():
        if head := model.get(name):
            index = head.in_index
            several = isinstance(index, (list, tuple))
            channels = [widths[i] for i in index] if several else widths[index]
            expect(f"model.{name}.in_channels", channels)
    if "in_channels" in model.get("head", ()):
        expect("model.head.in_channels", new.embed_dim)


def _check_patches(backbone: ConfigDict) -> None:
    size, patch = backbone.get("img_size"), backbone.get("patch_size")
    sides = size if isinstance(size, (list, tuple)) else [size]
    if patch and all(isinstance(side, int) for side in sides) and any(s % patch for s in sides):
        fits = [max(1, side // patch) * patch for side in sides]
        raise ValueError(
            f"model.backbone.img_size={size} cannot be cut into patches of "
            f"model.backbone.patch_size={patch}: take a multiple, such as "
            f"{fits if len(fits) > 1 else fits[0]}"
        )


def _necks(model: ConfigDict) -> list[tuple[str, ConfigDict]]:
    neck = model.get("neck")
    if isinstance(neck, list):
        return [(f"model.neck.{i}", part) for i, part in enumerate(neck)]
    return [("model.neck", neck)] if neck else []


def _leave_out_adapter(model: ConfigDict) -> None:
    """Take the adapter of plain ViTs out of the neck: the backbone has scales of its own."""
    necks = [neck for _, neck in _necks(model)]
    if any(neck.type is SimpleFeaturePyramid for neck in necks):
        raise ValueError(
            "SimpleFeaturePyramid is made from the last map of a plain ViT: take a config with "
            "FeaturePyramidAdapter and FPN for a hierarchical backbone"
        )
    rest = [neck for neck in necks if neck.type is not FeaturePyramidAdapter]
    if rest:
        model.neck = rest
    else:
        model.pop("neck", None)


def _strides(
    neck: ConfigDict, strides: Sequence[float], old_patch: int, new: Measures
) -> list[float | int]:
    """Strides of an adapter: the same where it can make them, else resampled as before."""
    try:
        sizes = dict(embed_dim=new.embed_dim, patch_size=new.patch_size, strides=list(strides))
        with torch.device("meta"):
            MODELS.build({**neck, **sizes})
    except ValueError:
        return [_whole(stride * new.patch_size / old_patch) for stride in strides]
    return list(strides)


def _set_strides(change: Change, strides: Sequence[float]) -> None:
    """Tell a detector's anchors and regions the strides of the maps they are taken from."""
    for key in (
        "model.rpn_head.anchor_generator.strides",
        "model.roi_head.bbox_roi_extractor.featmap_strides",
        "model.roi_head.mask_roi_extractor.featmap_strides",
    ):
        if old := find(change.cfg, key):
            # FPN makes further levels, each of half the size.
            more = len(old) - len(strides)
            change.set(key, [*strides, *(strides[-1] * 2 ** (i + 1) for i in range(more))])


def _whole(value: float) -> float | int:
    return int(value) if value == int(value) else value


def _measure(backbone: ConfigDict) -> Measures:
    """Build a backbone that gives pooled features, without weights, and measure it.

    Raises:
        ValueError: it cannot be built.
    """
    left_out = {"init_cfg", "out_indices"}
    if "host_class" not in backbone:
        left_out |= {"global_blocks", "window_size", "trainable_blocks", "norm_maps"}
    config = {key: value for key, value in backbone.items() if key not in left_out}
    maps = config.get("output") == "maps"
    if "output" in config:
        config["output"] = "mean"
    known = repr((maps, sorted(config.items())))
    if known not in _MEASURED:
        with torch.random.fork_rng(devices=[]):
            try:
                _MEASURED[known] = _measured(config, maps)
            except Exception as error:  # whatever a class says of arguments that it cannot have
                raise ValueError(f"model.backbone cannot be built: {error}") from error
    return _MEASURED[known]


def _measured(config: dict[str, Any], of_maps: bool) -> Measures:
    module = _build(config)
    if of_maps and isinstance(module, TimmBackbone) and not module.map_strides:
        # SAM has another width after its neck, which only a pooled feature passes.
        last = dict(output="maps", out_indices=[module.num_layers - 1])
        module = _build({**config, **last})
    built = as_backbone(module)
    maps = (optional(built, name) for name in ("map_channels", "map_strides"))
    return Measures(built.embed_dim, built.patch_size, built.num_layers, *maps)


def _build(config: dict[str, Any]) -> Any:
    try:
        with torch.device("meta"):  # shapes are enough
            return MODELS.build(config)
    except (NotImplementedError, RuntimeError):  # a class that looks at values
        return MODELS.build(config)


class _Stated(Change):
    """A config that states everything itself."""

    def is_given(self, key: str) -> bool:
        return True

    def set(self, key: str, value: Any) -> None:
        self.expect(key, value, "the strides of the maps")

    def expect(self, key: str, value: Any, source: str) -> None:
        stated = find(self.cfg, key)
        stated = list(stated) if isinstance(stated, tuple) else stated
        if stated is not None and stated != value:
            raise ValueError(f"{key}={stated} contradicts {source}: give {value}")


def check_backbone(cfg: Any) -> None:
    """Compare what a config states with what a backbone that is not ours gives for a blank image.

    Raises:
        ValueError: it gives other features than the task takes or than it says of itself; or neck,
            heads or anchors state other widths or strides.
    """
    backbone = find(cfg, "model.backbone")
    kind = backbone.get("type") if hasattr(backbone, "keys") else None
    if not isinstance(kind, type) or kind is VisionTransformer:
        return
    measures = _measure(backbone)
    if "host_class" in backbone or not kind.__module__.startswith("mae_bench."):
        _check_features(cfg.model, measures)
    for key, neck in _necks(cfg.model):
        if measures.map_strides and neck.type is FeaturePyramidAdapter:
            raise ValueError(
                f"{key}: FeaturePyramidAdapter is for plain ViTs, and {kind.__name__} has maps of "
                f"strides {measures.map_strides}: leave it out"
            )
    stated = copy.deepcopy(cfg)
    fit_to_backbone(_Stated(stated, stated, set()))


def _check_features(model: ConfigDict, measures: Measures) -> None:
    """Compare the features of a backbone with its contract."""
    config = {key: value for key, value in model.backbone.items() if key != "init_cfg"}
    name = f"model.backbone ({config.get('host_class') or config['type'].__name__})"
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                maps, last = _look_at(config)
        except Exception:  # of a class that looks at values, or its refusal
            try:
                maps, last = _look_at(config)
            except Exception as error:
                blocks = config.get("out_indices")
                chosen = f" with out_indices={list(blocks)}" if blocks else ""
                raise ValueError(f"{name} fails on a blank image{chosen}: {error}") from error
    if any(model.get(head) for head in DENSE_HEADS):
        strides = list(measures.map_strides or [measures.patch_size] * len(maps))
        widths = list(measures.map_channels or [measures.embed_dim] * len(maps))
        if maps != list(zip(widths, strides, strict=True)):
            if "host_class" in config and not measures.map_strides:
                raise ValueError(
                    f"{name} has no {NUM_SCALES} scales for FPN and UperNet, and is no plain ViT, "
                    "whose maps are alike: it serves classification"
                )
            raise ValueError(
                f"{name} says strides {strides} and widths {widths}, and gives maps of strides "
                f"{[s for _, s in maps]} and widths {[w for w, _ in maps]}: see {DOCS}"
            )
        if strides != sorted(strides):
            raise ValueError(f"{name} gives maps of strides {strides}: give the finest first")
    elif model.get("head") and not model.get("neck"):
        takes_maps = getattr(model.head.type, "takes_maps", False)
        if last[:2] != (1, measures.embed_dim) or len(last) != (4 if takes_maps else 2):
            wanted = "maps" if takes_maps else f"features {(1, measures.embed_dim)}"
            raise ValueError(f"{name} gives {last} where the head takes {wanted}: see {DOCS}")


def _look_at(config: dict[str, Any]) -> tuple[list[tuple[int, int]], tuple[int, ...]]:
    """(width, stride) of each map of a blank image, and the shape of the last feature."""
    module: Any = MODELS.build(config)
    if isinstance(module, HostBackbone):
        return list(module.maps), module.last_shape
    size = config.get("img_size") or BLANK_SIDE
    height, width = (size, size) if isinstance(size, int) else size
    features = blank_features(module, height, width)
    maps = [(f.shape[1], round(height / f.shape[2])) for f in features if f.ndim == 4]
    return maps, tuple(features[-1].shape)
