"""Another backbone in a config, by one override: ``model.backbone.type=mae_bench.TimmBackbone``.

What belonged to the old class goes, what the task asks of any backbone stays, and neck and heads
get the widths of the new one.
"""

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from mmengine.config import ConfigDict
from mmengine.logging import print_log

from ..models import FeaturePyramidAdapter, SimpleFeaturePyramid
from ..registry import MODELS
from .keys import find

if TYPE_CHECKING:
    from .derive import Change

TYPE_KEY = "model.backbone.type"
HEADS = ("decode_head", "auxiliary_head")
ADAPTERS = (FeaturePyramidAdapter, SimpleFeaturePyramid)
STRIDES = (4, 8, 16, 32)  # an adapter's where its config does not say


def argument_names(target: type) -> set[str]:
    """Names of a class's arguments, with those of its parents where it hands them on."""
    names: set[str] = set()
    for parent in target.__mro__[:-1]:
        if "__init__" not in vars(parent):
            continue
        parameters = inspect.signature(vars(parent)["__init__"]).parameters
        names |= set(parameters)
        # What a class takes as **kwargs it hands to its parent.
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            break
    return names - {"self", "args", "kwargs"}


def replace_class(backbone: ConfigDict, name: str) -> None:
    """Give a backbone's config another class, without the keys that this class does not take.

    Args:
        backbone: changed in place.
        name: registry name with scope, or module and class, ``my_file.MyBackbone``.

    Raises:
        ValueError: no such class.
    """
    target = MODELS.get(name)
    if not inspect.isclass(target):
        raise ValueError(
            f"override '{TYPE_KEY}': no class {name!r}: give it as module.Class, and put the "
            "module's folder into PYTHONPATH"
        )
    dropped = [key for key in backbone if key != "type" and key not in argument_names(target)]
    for key in dropped:
        del backbone[key]
    backbone.type = target
    if dropped:
        print_log(f"{name} does not take, and is not given: {', '.join(dropped)}", "current")


def fit_to_backbone(change: "Change") -> None:
    """Fit taps, neck, heads and target to a backbone of another class, width, depth or patch.

    Args:
        change: config, changed in place. Its backbone has ``num_layers``, ``embed_dim`` and
            ``patch_size``, and if hierarchical ``map_channels`` and ``map_strides``.

    Raises:
        ValueError: the neck is made for plain ViTs only, and the backbone is none; or the image
            cannot be cut into whole patches.
    """
    model, backbone = change.cfg.model, change.cfg.model.backbone
    old, new = _build(change.before.model.backbone), _build(backbone)
    _check_patches(backbone)
    taps = backbone.get("out_indices", ())
    widths = [new.embed_dim] * len(taps)
    strides = getattr(new, "map_strides", None)
    if strides:
        backbone.pop("out_indices", None)
        widths = list(new.map_channels)
        _leave_out_adapter(model)
        _set_strides(change, strides)
    elif new.num_layers != old.num_layers:
        # At the same relative depths: 3, 5, 7, 11 of 12 blocks are 7, 11, 15, 23 of 24.
        for name in ("out_indices", "global_blocks"):
            if blocks := backbone.get(name):
                moved = [(i + 1) * new.num_layers // old.num_layers - 1 for i in blocks]
                change.set(f"model.backbone.{name}", moved)
    if (old.embed_dim, old.patch_size, old.num_layers, getattr(old, "map_channels", None)) == (
        new.embed_dim,
        new.patch_size,
        new.num_layers,
        getattr(new, "map_channels", None),
    ):
        return
    for key in ("model.target.patch_size", "model.data_preprocessor.test_cfg.size_divisor"):
        if find(change.cfg, key) == old.patch_size:
            change.set(key, new.patch_size)
    for key, neck in _necks(model):
        if neck.type in ADAPTERS:
            before = neck.get("strides", STRIDES)
            change.set(f"{key}.strides", _strides(before, neck.patch_size, new.patch_size))
            change.set(f"{key}.embed_dim", new.embed_dim)
            change.set(f"{key}.patch_size", new.patch_size)
            _set_strides(change, neck.get("strides", STRIDES))
        if neck.type is SimpleFeaturePyramid:
            return
        if "in_channels" in neck:
            change.set(f"{key}.in_channels", widths)
            return
    for name in HEADS:
        if head := model.get(name):
            index = head.in_index
            several = isinstance(index, (list, tuple))
            channels = [widths[i] for i in index] if several else widths[index]
            change.set(f"model.{name}.in_channels", channels)
    if "in_channels" in model.get("head", ()):
        change.set("model.head.in_channels", new.embed_dim)


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


def _strides(strides: Sequence[float], old_patch: int, new_patch: int) -> list[float | int]:
    """Strides of an adapter: the same where it can make them, else resampled as before."""
    if all(new_patch in (4 * s, 2 * s) or s % new_patch == 0 for s in strides):
        return list(strides)
    return [_whole(stride * new_patch / old_patch) for stride in strides]


def _set_strides(change: "Change", strides: Sequence[float]) -> None:
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


def _build(backbone: ConfigDict) -> Any:
    """A backbone to measure, without taps and weights; the random state is kept."""
    left_out = ("init_cfg", "out_indices", "global_blocks", "window_size", "trainable_blocks")
    config = {key: value for key, value in backbone.items() if key not in left_out}
    if "output" in config:
        config["output"] = "mean"
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):  # shapes are enough
                return MODELS.build(config)
        except (NotImplementedError, RuntimeError):  # a class that looks at values
            return MODELS.build(config)
