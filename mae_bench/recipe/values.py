"""Every value of a config, with the defaults of the classes that it names."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.registry import (
    DATA_SAMPLERS,
    MODELS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    TASK_UTILS,
    TRANSFORMS,
    WEIGHT_INITIALIZERS,
)

from ..config.keys import BATCH_KEY

REGISTRIES = (
    MODELS,
    TASK_UTILS,
    TRANSFORMS,
    DATA_SAMPLERS,
    OPTIMIZERS,
    OPTIM_WRAPPERS,
    WEIGHT_INITIALIZERS,
)
# What decides where data lies or how fast it comes, and no number. First weights have a table of
# their own, which shows what becomes of init_cfg.
SILENT = {
    "ann_file",
    "backend_args",
    "collect_device",
    "data_prefix",
    "data_root",
    "debug",
    "file_client_args",
    "fused",
    "img_suffix",
    "init_cfg",
    "last_step",
    "lazy_init",
    "max_refetch",
    "meta_keys",
    "metainfo",
    "num_workers",
    "outfile_prefix",
    "persistent_workers",
    "pin_memory",
    "poly2mask",
    "seg_map_suffix",
    "serialize_data",
    "with_cp",
}
EXPORT = "ExportCheckpoint"  # a hook that decides no number
ENDLESS = 10**9  # a default of MMEngine's schedulers, which the run replaces by its length
NOTHING: tuple[Any, ...] = (None, False, 0, "", (), [], {}, ENDLESS)


class Value(NamedTuple):
    """One value of a recipe.

    Attributes:
        key: dotted path in the config, with class names for places in a list.
        text: the value; for an object the name of its class.
        default_of: package of the class whose default it is; empty where the config gives it.
        is_object: whether its own values follow.
    """

    key: str
    text: str
    default_of: str = ""
    is_object: bool = False


def values_of(node: Any, key: str) -> Iterator[Value]:
    """Values at and below a node of a config, those of an object after its class.

    Defaults that are nothing (None, False, 0, empty) are left out: where a class gets another one,
    a row appears.
    """
    if isinstance(node, Mapping):
        kind = node.get("type")
        if kind is not None:
            yield Value(key, name_of(kind), is_object=True)
        for name, value in node.items():
            if name != "type" and name not in SILENT:
                yield from values_of(value, f"{key}.{name}")
        for name, (value, package) in sorted(_defaults(resolve(kind)).items()):
            if name in node or name in SILENT or any(value is n or value == n for n in NOTHING):
                continue
            for row in values_of(value, f"{key}.{name}"):
                yield row._replace(default_of=row.default_of or package)
    elif isinstance(node, (list, tuple)) and any(isinstance(item, Mapping) for item in node):
        names = [name_of(item.get("type", "")) or str(i) for i, item in enumerate(node)]
        for i, (name, item) in enumerate(zip(names, node, strict=True)):
            place = name if names.count(name) == 1 else f"{name}[{i}]"
            yield from values_of(item, f"{key}.{place}")
    else:
        yield Value(key, text_of(node))


def resolve(kind: Any) -> Any:
    """Class or function of a ``type``; None where no registry knows its name."""
    if not isinstance(kind, str):
        return kind
    for registry in REGISTRIES:
        found = registry.get(kind)
        if found is not None:
            return found
    return None


def name_of(kind: Any) -> str:
    """Name of a class or function, as it is written in a config."""
    return (
        kind.rpartition(".")[2] if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
    )


def text_of(value: Any) -> str:
    """A value as a reader writes it."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(text_of, value)) + "]"
    if inspect.isclass(value) or inspect.isroutine(value):
        return name_of(value)
    return str(value)


def _defaults(target: Any) -> dict[str, tuple[Any, str]]:
    """Name of an argument -> its default and the package that sets it, parents included."""
    found: dict[str, tuple[Any, str]] = {}
    parents = target.__mro__[:-1] if inspect.isclass(target) else [target]
    for parent in parents:
        function = vars(parent).get("__init__") if inspect.isclass(parent) else parent
        if function is None:
            continue
        try:
            parameters = inspect.signature(function).parameters
        except (TypeError, ValueError):  # not written in Python
            continue
        for name, parameter in parameters.items():
            if parameter.default is not parameter.empty and name not in found:
                found[name] = (parameter.default, parent.__module__.partition(".")[0])
        # What a class takes as **kwargs it hands to its parent.
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            break
    return found


def sections_of(cfg: Config) -> dict[str, list[Value]]:
    """Values of a config that decide a number, by heading."""
    sections = {"Model": list(values_of(cfg.model, "model"))}
    for part, heading in (("train", "Training data"), ("val", "Validation"), ("test", "Test")):
        loader = cfg.get(f"{part}_dataloader")
        if loader is None or (part == "test" and loader == cfg.get("val_dataloader")):
            continue
        rows = list(values_of(loader, f"{part}_dataloader"))
        if part == "train" and BATCH_KEY in cfg:
            rows.insert(0, Value(BATCH_KEY, str(cfg[BATCH_KEY])))
        for name in (f"{part}_evaluator", f"{part}_cfg"):
            if cfg.get(name) is not None:
                rows += values_of(cfg[name], name)
        sections[heading] = rows
    schedule: list[Value] = []
    for name in ("optim_wrapper", "auto_scale_lr", "param_scheduler", "custom_hooks"):
        if cfg.get(name) is not None:
            schedule += values_of(cfg[name], name)
    schedule = [value for value in schedule if EXPORT not in value.key]
    if schedule:
        sections["Optimizer and schedule"] = schedule
    return sections
