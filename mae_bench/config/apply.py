"""Overrides put into a config: each where something reads it, else refused with what to write."""

import difflib
import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.config import Config, ConfigDict

from ..signature import arguments
from .arguments import OWN_KEYS, RUNNER_KEYS, find_class, legal_keys
from .host_classes import ASKED, BACKBONE, is_host_class, wrap_host_class
from .keys import find, walk

# Top-level keys that a command line has an option for.
_OPTIONS = {"work_dir": "--work-dir", "launcher": "--launcher", "resume": "--resume"}
# Top-level keys that hold dicts.
_SECTIONS = RUNNER_KEYS - {
    "activation_checkpointing",
    "compile",
    "default_scope",
    "efficient_conv_bn_eval",
    "experiment_name",
    "find_unused_parameters",
    "load_from",
    "log_level",
    "sync_bn",
    "total_batch_size",
}
# What people call a value that has another key.
_ALIASES = {
    "epochs": "train_cfg.max_epochs",
    "max_epochs": "train_cfg.max_epochs",
    "iterations": "train_cfg.max_iters",
    "max_iters": "train_cfg.max_iters",
    "size": "model.backbone.img_size",
    "img_size": "model.backbone.img_size",
    "vis_backends": "visualizer.vis_backends",
    "seed": "randomness.seed",
}
# Types that hosts compare with or look up by their text, so the text stays.
_BY_NAME = re.compile(
    r".*(roi_layer|nms|norm_cfg|act_cfg|conv_cfg|init_cfg(\.\d+)?)|model_wrapper_cfg"
)


_HOOK = re.compile(r"(default|custom)_hooks\.\w+")


class OverrideError(ValueError):
    """An override that nothing would read, or that cannot be as it is."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"override '{key}': {reason}")


def flatten(cfg: Config, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides whose dicts are merged into dicts of the config, as one override for each key.

    Raises:
        OverrideError: an empty dict, which would change nothing.
    """
    flat: dict[str, Any] = {}
    for key, value in overrides.items():
        names = list(value) if isinstance(value, Mapping) else []
        if isinstance(value, Mapping) and not names:
            raise OverrideError(key, "an empty dict changes nothing: empty it by _delete_=True")
        merged = hasattr(find(cfg, key), "keys") and names
        if merged and all(isinstance(name, str) and "." not in name for name in names):
            flat |= flatten(cfg, {f"{key}.{name}": value[name] for name in names})
        else:
            flat[key] = value
    return flat


def apply_overrides(cfg: Config, overrides: Mapping[str, Any], helpers: Mapping[str, Any]) -> None:
    """Set each dotted key of a config.

    ``KEY._delete_=True`` empties the dict at KEY first; an index one beyond a list's end appends to
    it; a hook that is None goes.

    Args:
        cfg: changed in place.
        overrides: dotted key -> value, flat.
        helpers: variables of the config file that nothing reads, for what to write in their place.

    Raises:
        OverrideError: nothing reads the key, or its value is of another kind.
    """
    for key in sorted(overrides, key=_rank):
        top = key.split(".")[0]
        if top in _OPTIONS:
            raise OverrideError(key, f"is the option {_OPTIONS[top]} of the command")
        if top not in RUNNER_KEYS | OWN_KEYS & set(cfg):
            raise OverrideError(key, _instead(cfg, key, helpers))
        if top == "data_preprocessor" and top in (cfg.model or {}):
            raise OverrideError(key, "that of the model is used: set model.data_preprocessor")
        _Setter(cfg, key, set(overrides)).set(overrides[key])
    for name in ("default_hooks", "custom_hooks"):
        _drop_hooks(cfg, name)


def _rank(key: str) -> list[tuple[int, int, str]]:
    """Outer dicts before what lies in them, a class before its arguments, items in their order."""
    first = {"_delete_": 0, "type": 1}
    parts = key.split(".")
    return [(first.get(p, 2), int(p) if p.isdigit() else -1, p) for p in parts]


class _Setter:
    """One override on its way down the config."""

    def __init__(self, cfg: Config, key: str, given: set[str]) -> None:
        self.cfg, self.key, self.given = cfg, key, given
        self.scope: str = cfg.default_scope

    def set(self, value: Any) -> None:
        self._descend(self.cfg._cfg_dict, self.key.split("."), "", value)

    def _descend(self, node: Any, parts: list[str], here: str, value: Any) -> Any:
        """Set the value below a node; the node itself, or a new one in place of a tuple."""
        part, *rest = parts
        if isinstance(node, (list, tuple)):
            return self._in_list(node, parts, here, value)
        if not hasattr(node, "keys"):
            raise OverrideError(
                self.key, f"{here} is a plain value, not a dict: give {here} itself"
            )
        below = f"{here}.{part}" if here else part
        if not rest and part == "_delete_":
            self._empty(node, here, value)
        elif not rest and part == "type":
            self._set_class(node, here, value)
        else:
            self._check_legal(node, part, here)
            if rest:
                child = node.get(part)
                if child is None:
                    child = self._new(below)
                node[part] = self._descend(child, rest, below, value)
            else:
                node[part] = self._checked(self._value(node, part, here), value, below)
        return node

    def _value(self, node: Any, part: str, here: str) -> Any:
        """What an argument is, or the number or truth value that it is by default."""
        target = find_class(node.get("type"), here, self.scope) if here else None
        if part in node or target is None:
            return node.get(part)
        default = arguments(target)[0].get(part)
        return default if isinstance(default, (bool, int, float)) else None

    def _in_list(self, node: Any, parts: list[str], here: str, value: Any) -> Any:
        part, *rest = parts
        items = list(node)
        if not part.isdigit() or int(part) > len(items):
            raise OverrideError(
                self.key,
                f"{here} is a list of {len(items)}: use an index (that of the end appends)",
            )
        index, below = int(part), f"{here}.{part}"
        if index == len(items):
            items.append(self._new(below) if rest else None)
        if rest:
            items[index] = self._descend(items[index], rest, below, value)
        else:
            items[index] = self._checked(items[index], value, below)
            if items[index] is None and below.split(".")[0] != "custom_hooks":
                raise OverrideError(self.key, f"None cannot stand in {here}: give the whole list")
        if isinstance(node, tuple):
            return tuple(items)
        node[:] = items
        return node

    def _new(self, key: str) -> ConfigDict:
        """A dict where the config has none: it needs a type, but for those that have none."""
        needs_class = legal_keys({}, key, self.scope) == set() and not self._is_strangers(key)
        if needs_class and f"{key}.type" not in self.given:
            in_list = self.key.removeprefix(f"{key}.")[0].isdigit()
            whole = f"{key}=[...]" if in_list else f"{key}.type too"
            raise OverrideError(self.key, f"{key} is not set: give {whole}")
        return ConfigDict()

    def _is_strangers(self, key: str) -> bool:
        """Whether a dict is an argument of a backbone class that is not ours."""
        return key.startswith(f"{BACKBONE}.") and bool(find(self.cfg, f"{BACKBONE}.host_class"))

    def _check_legal(self, node: Mapping[str, Any], part: str, here: str) -> None:
        if self._is_strangers(here):
            return
        legal = legal_keys(node, here, self.scope)
        if legal is None or part in legal:
            return
        kind = find_class(node.get("type"), here, self.scope)
        if "type" in node and kind is None:
            raise OverrideError(self.key, f"nobody knows the class {node['type']!r} of {here}")
        name = f" ({kind.__name__})" if kind else ""
        raise OverrideError(
            self.key, f"{here}{name} has no key '{part}'{did_you_mean(part, legal)}"
        )

    def _empty(self, node: Any, here: str, value: Any) -> None:
        if not here or value is not True:
            raise OverrideError(self.key, "write _delete_=True, below the dict to be made anew")
        if "type" in node and f"{here}.type" not in self.given:
            raise OverrideError(self.key, f"empties {here}: give {here}.type too")
        node.clear()

    def _set_class(self, node: Any, here: str, name: Any) -> None:
        """Give a dict another class, without the keys that this class does not take."""
        node["type"] = self._class(here, name)
        if here == BACKBONE and is_host_class(node["type"]):
            for key in [key for key in node if key not in ("type", *ASKED)]:
                del node[key]  # the old class's own, of whatever meaning
            wrap_host_class(self.cfg.model)
        legal = legal_keys(node, here, self.scope)
        dropped = [key for key in node if legal is not None and key not in legal]
        for key in dropped:
            del node[key]
        if dropped:
            print(f"{here}: {name} does not take, and is not given: {', '.join(dropped)}")

    def _class(self, here: str, name: Any) -> Any:
        target = find_class(name, here, self.scope)
        if target is None:
            raise OverrideError(
                self.key,
                f"no class {name!r}: give its registered name, or module.Class, and put the "
                "module's folder into PYTHONPATH",
            )
        return name if _BY_NAME.fullmatch(here) else target

    def _checked(self, old: Any, value: Any, key: str) -> Any:
        """A value of the kind that was there, its dicts checked and converted."""
        if reason := _another_kind(old, value, key):
            raise OverrideError(self.key, reason)
        value = _converted(value)
        for place, node in walk(value, key):
            if "type" in node:
                node["type"] = self._class(place, node["type"])
            elif _HOOK.fullmatch(place):
                raise OverrideError(self.key, f"{place} has no type")
            for part in list(node):
                self._check_legal(node, part, place)
        return value


def _another_kind(old: Any, value: Any, key: str) -> str | None:
    """Why a value cannot take the place of another."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    is_list = isinstance(old, (list, tuple))
    if key in _SECTIONS and not isinstance(value, (dict, list, tuple, type(None))):
        return f"is made of dicts, and {value!r} is none"
    if key == "model" and value is None:
        return "there is no run without a model"
    if isinstance(value, str) and isinstance(old, (bool, int, float)):
        return f"is {old!r}, and {value!r} is text"
    if isinstance(value, str) and (is_list or (_is_dict(old) and "type" in old)):
        return f"is a {'list' if is_list else 'dict'}, and {value!r} is text"
    if isinstance(value, (bool, int, float)) and any(walk(old, key)):
        return f"holds dicts, and {value!r} is none"
    if number and isinstance(old, bool):
        return f"is {old}: write true or false, not {value!r}"
    if isinstance(value, bool) and isinstance(old, (int, float)) and not isinstance(old, bool):
        return f"is {old!r}, and {value!r} is no number"
    if number and isinstance(old, str):
        return f'is text: quote it, {key}="{str(value)!r}"'
    return None


def _is_dict(value: Any) -> bool:
    return hasattr(value, "keys")


def _converted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return ConfigDict({key: _converted(item) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return type(value)(map(_converted, value))
    return value


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message that a name is not known."""
    close = difflib.get_close_matches(name, [str(key) for key in known], n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _instead(cfg: Config, key: str, helpers: Mapping[str, Any]) -> str:
    """Why what is below a top-level key cannot be set, and which key the value has."""
    name, _, below = key.partition(".")
    if name in _ALIASES:
        return f"nothing reads it: set {_ALIASES[name]}"
    sections = [(top, cfg[top]) for top in RUNNER_KEYS & set(cfg)]
    keys = [
        f"{place}.{part}"
        for top, section in sections
        for place, node in walk(section, top)
        for part in node
    ]
    named = [key for key in keys if key.endswith(f".{name}")]
    if name not in helpers:
        hint = f": set {_some(named, below)}" if named else did_you_mean(name, RUNNER_KEYS)
        return f"the config has no key '{name}'{hint}"
    value = helpers[name]
    if inspect.isclass(value) or inspect.isfunction(value):
        return "is a class that the config imports: set the type of a dict"
    if not named and isinstance(value, (dict, list, tuple)):
        named = [key for key in keys if _same(find(cfg, key), value)]
    hint = f": set {_some(named, below)}" if named else ""
    return f"is a variable of the config file that nothing reads{hint}"


def _some(keys: list[str], below: str) -> str:
    shortest = sorted(keys, key=lambda key: (key.count("."), key))[:4]
    return " or ".join(f"{key}.{below}" if below else key for key in shortest)


def _same(found: Any, value: Any) -> bool:
    return type(found) is type(value) and found == value


def _drop_hooks(cfg: Config, name: str) -> None:
    """Take out the hooks that are None: MMEngine's runner does so for its own six only."""
    hooks = cfg.get(name)
    if isinstance(hooks, list):
        cfg[name] = [hook for hook in hooks if hook is not None]
    elif hooks:
        for key in [key for key, hook in hooks.items() if hook is None and key not in _OWN_HOOKS]:
            del hooks[key]


_OWN_HOOKS = ("runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint")
