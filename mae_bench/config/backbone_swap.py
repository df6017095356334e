"""Another backbone in a config, by one override: ``model.backbone.type=mae_bench.TimmBackbone``.

What belonged to the old class goes, what the task asks of any backbone stays, and neck and heads
get the widths of the new one.
"""

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.logging import print_log

from ..models import FeaturePyramidAdapter, SimpleFeaturePyramid
from ..registry import MODELS

TYPE_KEY = "model.backbone.type"
HEADS = ("decode_head", "auxiliary_head")
ADAPTERS = (FeaturePyramidAdapter, SimpleFeaturePyramid)
STRIDES = (4, 8, 16, 32)  # an adapter's where its config does not say


def argument_names(target: type) -> set[str]:
    """Names of a class's arguments, with those of its parents where it hands them on."""
    names: set[str] = set()
    for parent in target.__mro__[:-1]:
        parameters = inspect.signature(vars(parent).get("__init__", object)).parameters
        names |= set(parameters)
        # What a class takes as **kwargs it hands to its parent.
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            break
    return names - {"self", "args", "kwargs"}


def replace_class(backbone: ConfigDict, name: str) -> ConfigDict:
    """Give a backbone's config another class, without the keys that this class does not take.

    Args:
        backbone: changed in place.
        name: registry name with scope, or module and class, ``my_file.MyBackbone``.

    Returns:
        the config as it was.

    Raises:
        ValueError: no such class.
    """
    before = copy.deepcopy(backbone)
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
    return before


def fit_to_backbone(cfg: Any, before: ConfigDict, given: set[str]) -> None:
    """Fit taps, neck and heads of ``cfg.model`` to a backbone of another class.

    Args:
        cfg: config, changed in place. Its backbone has ``num_layers``, ``embed_dim`` and
            ``patch_size``, and if hierarchical ``map_channels`` and ``map_strides``.
        before: config of the old backbone.
        given: dotted keys that the user set, which stay.

    Raises:
        ValueError: the neck is made for plain ViTs only, and the backbone is none.
    """
    backbone = cfg.model.backbone
    # As it is built without taps: which there are depends on what it is.
    bare = {key: value for key, value in backbone.items() if key != "out_indices"}
    if "output" in bare:
        bare["output"] = "mean"
    built = _build(bare)
    taps = backbone.get("out_indices", ())
    widths = [built.embed_dim] * len(taps)
    strides = getattr(built, "map_strides", None)
    if strides:
        backbone.pop("out_indices", None)
        widths = list(built.map_channels)
        _leave_out_adapter(cfg.model)
        _set_strides(cfg.model, strides)
    elif taps and "model.backbone.out_indices" not in given:
        # At the same relative depths: 3, 5, 7, 11 of 12 blocks are 7, 11, 15, 23 of 24.
        old_depth = _build(before).num_layers
        backbone.out_indices = [(i + 1) * built.num_layers // old_depth - 1 for i in taps]
    for neck in _necks(cfg.model):
        if neck.type in ADAPTERS:
            # Resampled by the same factors, from another stride.
            old = neck.get("strides", STRIDES)
            neck.strides = [_whole(s * built.patch_size / neck.patch_size) for s in old]
            neck.embed_dim, neck.patch_size = built.embed_dim, built.patch_size
            _set_strides(cfg.model, neck.strides)
        if neck.type is SimpleFeaturePyramid:
            return
        if "in_channels" in neck:
            neck.in_channels = widths
            return
    for name in HEADS:
        if head := cfg.model.get(name):
            index = head.in_index
            several = isinstance(index, (list, tuple))
            head.in_channels = [widths[i] for i in index] if several else widths[index]
    if "in_channels" in cfg.model.get("head", ()):
        cfg.model.head.in_channels = built.embed_dim


def _necks(model: ConfigDict) -> list[ConfigDict]:
    neck = model.get("neck")
    return neck if isinstance(neck, list) else [neck] if neck else []


def _leave_out_adapter(model: ConfigDict) -> None:
    """Take the adapter of plain ViTs out of the neck: the backbone has scales of its own."""
    if any(neck.type is SimpleFeaturePyramid for neck in _necks(model)):
        raise ValueError(
            "SimpleFeaturePyramid is made from the last map of a plain ViT: take a config with "
            "FeaturePyramidAdapter and FPN for a hierarchical backbone"
        )
    rest = [neck for neck in _necks(model) if neck.type is not FeaturePyramidAdapter]
    if rest:
        model.neck = rest
    else:
        model.pop("neck", None)


def _set_strides(model: ConfigDict, strides: Sequence[float]) -> None:
    """Tell a detector's anchors and regions the strides of the maps they are taken from."""
    roi_head = model.get("roi_head", {})
    holders = [
        (model.get("rpn_head", {}).get("anchor_generator"), "strides"),
        (roi_head.get("bbox_roi_extractor"), "featmap_strides"),
        (roi_head.get("mask_roi_extractor"), "featmap_strides"),
    ]
    for holder, key in holders:
        if holder is not None:
            # FPN makes further levels, each of half the size.
            more = len(holder[key]) - len(strides)
            holder[key] = [*strides, *(strides[-1] * 2 ** (i + 1) for i in range(more))]


def _whole(value: float) -> float | int:
    return int(value) if value == int(value) else value


def _build(backbone: dict[str, Any]) -> Any:
    """A backbone without its weights; the random state is kept."""
    config = {key: value for key, value in backbone.items() if key != "init_cfg"}
    with torch.random.fork_rng(devices=[]):
        return MODELS.build(config)
