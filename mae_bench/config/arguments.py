"""Which keys a part of a config may have: those that its class or its host takes."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import mmengine.registry
import torch
from mmengine.config import Config
from mmengine.dist import init_dist
from mmengine.registry import Registry
from mmengine.runner import LogProcessor, Runner
from mmengine.utils.dl_utils import set_multi_processing
from torch.utils.data import DataLoader, Dataset

from ..datasets.own_data import find_own_data
from ..models.mae import MAEDecoder
from ..models.vit import SIZES
from ..registry import SCOPE
from ..signature import arguments, arguments_of
from .keys import LOADERS, walk

# Arguments that name the class which gets all other arguments, and that class by default.
_HANDS_ON = {
    "ema_type": "ExponentialMovingAverage",
    "host_class": "",
    "resize_type": "Resize",
}
# Dicts without a type that are handed over whole, to what refuses a name it does not know.
_OPEN = {
    "clip_grad",
    "default_hooks",
    "folders",
    "model_kwargs",
    "override",
    "paramwise_cfg",
    "transform",
}
# What a registry, the runner or an initialiser takes out of a dict before the class sees it.
_BUILD_KEYS = (
    (r"param_scheduler(\.\d+)?", {"convert_to_iter_based"}),
    (r"(default|custom)_hooks\.\w+", {"priority"}),
    (r"optim_wrapper", {"constructor", "optimizer", "paramwise_cfg"}),
    (r".*init_cfg(\.\d+)?", {"layer", "override"}),
    (r".*norm_cfg", {"requires_grad"}),
)


# Keys that the runner looks up in the config.
RUNNER_KEYS = arguments_of(Runner.__init__) - {"cfg"}
RUNNER_KEYS |= {
    "activation_checkpointing",
    "compile",
    "efficient_conv_bn_eval",
    "find_unused_parameters",
    "model_wrapper_cfg",
    "sync_bn",
    "total_batch_size",
}
# Further top-level keys, where a config has them: they are read before there is a runner.
OWN_KEYS = {"custom_imports", "own_data"}
# Dicts without a type: what the code of their host reads, of all hosts or of one.
_RPN_PROPOSALS = {"nms_pre", "max_per_img", "nms", "min_bbox_size", "score_thr"}
_NMS = {"iou_threshold", "offset", "class_agnostic", "split_thr", "max_num", "score_threshold"}
_READERS: tuple[tuple[str, set[str]], ...] = (
    ("|".join(LOADERS), arguments_of(DataLoader) | {"num_batch_per_epoch"}),
    (r"auto_scale_lr", {"base_batch_size", "enable"}),
    (r"compile", arguments_of(torch.compile) - {"model"} | {"target"}),
    (r"custom_imports", {"imports", "allow_failed_imports"}),
    (r"env_cfg", {"cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit"}),
    (
        r"env_cfg\.dist_cfg",
        arguments_of(init_dist) - {"launcher"}
        | arguments_of(torch.distributed.init_process_group) - {"_ranks"}
        | {"init_backend"},
    ),
    (r"env_cfg\.mp_cfg", arguments_of(set_multi_processing) - {"distributed"}),
    (r"log_processor", arguments_of(LogProcessor.__init__)),
    (r"own_data", arguments_of(find_own_data) - {"task"}),
    (r"randomness", arguments_of(Runner.set_randomness)),
    (r"model\.backbone\.arch", set(SIZES["base"])),
    (r"model\.decoder", arguments_of(MAEDecoder.__init__) - {"encoder_dim", "out_dim", "grid"}),
    (r"model\.data_preprocessor\.test_cfg", {"size", "size_divisor"}),
    (r"mmpretrain:model\.train_cfg", {"augments", "probs"}),
    (r"mmdet:model\.train_cfg", {"rpn", "rpn_proposal", "rcnn"}),
    (r"model\.train_cfg\.rpn", {"assigner", "sampler", "allowed_border", "pos_weight"}),
    (r"model\.train_cfg\.rcnn(\.\d+)?", {"assigner", "sampler", "mask_size", "pos_weight"}),
    (r"mmseg:model\.train_cfg", set()),
    (r"mmdet:model\.test_cfg", {"rpn", "rcnn"}),
    (r"mmseg:model\.test_cfg", {"mode", "crop_size", "stride"}),
    (r"model\.(train_cfg\.rpn_proposal|test_cfg\.rpn)", _RPN_PROPOSALS),
    (r"model\.test_cfg\.rcnn", {"score_thr", "nms", "max_per_img", "mask_thr_binary"}),
    (r"model\..*\.nms", _NMS),
    (r".*dataset\.data_prefix", {"img", "img_path", "seg_map_path"}),
    (r".*dataset\.filter_cfg", {"filter_empty_gt", "min_size"}),
    (r".*dataset\.metainfo", {"classes", "palette"}),
    (r".*\.pad_val", {"img", "masks", "seg"}),
)

_REGISTRIES = [r for r in vars(mmengine.registry).values() if isinstance(r, Registry)]
# Registries that a key belongs to; the others are looked at after these.
_PREFERRED = (
    (r".*\.collate_fn", mmengine.registry.FUNCTIONS),
    (r".*init_cfg(\.\d+)?", mmengine.registry.WEIGHT_INITIALIZERS),
    (r"model\..*\.(assigner|sampler|bbox_coder|anchor_generator)", mmengine.registry.TASK_UTILS),
    (r"\w+_dataloader\.(batch_)?sampler", mmengine.registry.DATA_SAMPLERS),
    (r".*\.pipeline\..*", mmengine.registry.TRANSFORMS),
    (r".*\.optimizer", mmengine.registry.OPTIMIZERS),
    (r"model\b.*", mmengine.registry.MODELS),
)


def find_class(name: Any, key: str, scope: str) -> Callable[..., Any] | None:
    """The class or function that a ``type`` of a config means; None where nobody knows it.

    Args:
        name: a class, or a registered name with or without its scope, or ``module.Class``.
        key: dotted key of the dict with the ``type``, which says the registry to prefer.
        scope: the config's ``default_scope``.
    """
    if not isinstance(name, str):
        return name if callable(name) else None
    if key.endswith(("roi_layer", "nms")):  # taken from mmcv.ops, not from a registry
        import mmcv.ops  # half a second, for detectors only

        return getattr(mmcv.ops, name, None)
    preferred = [registry for pattern, registry in _PREFERRED if re.fullmatch(pattern, key)]
    for full_name in (name, f"{scope}.{name}", f"{SCOPE}.{name}"):
        for registry in [*preferred, *_REGISTRIES]:
            try:
                found = registry.get(full_name)
            except (RuntimeError, RecursionError):  # MMEngine's own, for a name it cannot find
                found = None
            if callable(found):
                return found
    return None


def dataset_nodes(cfg: Config, loader: str) -> Iterator[tuple[str, Any, type]]:
    """Data sets of a loader that read files, not those that wrap others: key, dict and class."""
    for key, node in walk((cfg.get(loader) or {}).get("dataset"), f"{loader}.dataset"):
        kind = find_class(node.get("type"), key, cfg.default_scope)
        wraps = node.keys() & {"dataset", "datasets"}
        if inspect.isclass(kind) and issubclass(kind, Dataset) and not wraps:
            yield key, node, kind


def legal_keys(node: Mapping[str, Any], key: str, scope: str) -> set[str] | None:
    """Keys that a dict of a config may have.

    Args:
        node: the dict.
        key: its dotted key; empty for the config itself.
        scope: the config's ``default_scope``.

    Returns:
        the names, those that stand there among them; None where any is taken, or where what gets
        the dict refuses the names that it does not know.
    """
    if not key:
        return RUNNER_KEYS | OWN_KEYS & set(node)
    names = {"type"}
    for pattern, keys in _BUILD_KEYS:
        if re.fullmatch(pattern, key):
            names |= keys
    for pattern, keys in _READERS:
        if re.fullmatch(pattern if ":" in pattern else rf"\w+:({pattern})", f"{scope}:{key}"):
            return names | keys if "type" in node else keys | set(node)
    if "type" not in node:
        return None if key.rpartition(".")[2] in _OPEN else set(node)
    target = find_class(node["type"], key, scope)
    if target is None:
        return names | set(node)
    taken, takes_any = arguments(target)
    names |= set(taken)
    for name, default in _HANDS_ON.items():
        if name in taken and (receiver := find_class(node.get(name, default), key, scope)):
            return names.union(arguments(receiver)[0])
    return None if takes_any else names
