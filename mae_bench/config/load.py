"""Config files and command-line options, checked before a runner is built; work directories."""

import copy
import difflib
import inspect
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from ..config.backbone_swap import TYPE_KEY, argument_names, replace_class
from ..datasets.own_data import settings_of
from .derive import derive
from .keys import LOADERS, set_at
from .old_names import hint_for_old_name

REQUIRED_KEYS = ("model", "work_dir", "default_scope")
RUNNER_KEYS = set(inspect.signature(Runner.__init__).parameters) - {"self", "cfg"}
# What the runner looks up in the config without having it as an argument.
RUNNER_KEYS |= {"compile", "activation_checkpointing"}


def load_config(path: str | Path, overrides: dict[str, Any] | None = None) -> Config:
    """Read a config and apply ``--cfg-options``.

    Args:
        path: config file in MMEngine's pure-Python style.
        overrides: dotted key -> value.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a required key is missing; a top-level key looks like a misspelt one; an
            override names a key that neither stands in the config nor is an argument of the
            class there; another class for the backbone does not fit (``backbone_swap.py``);
            or the folder of ``own_data`` is not understood (``datasets/own_data.py``).
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such config file{hint_for_old_name(path)}")
    cfg = Config.fromfile(str(path))
    for key in REQUIRED_KEYS:
        if key != "work_dir" and key not in cfg:
            raise ValueError(f"{path}: key '{key}' is missing{_suggestion(key, cfg)}")
    for key in cfg:
        if key in RUNNER_KEYS:
            continue
        close = difflib.get_close_matches(key, RUNNER_KEYS, n=1, cutoff=0.85)
        if close and close[0] not in cfg:
            raise ValueError(f"{path}: unknown key '{key}'; did you mean '{close[0]}'?")
    given = dict(overrides or {})
    cfg.overrides = dict(given)
    before = copy.deepcopy(cfg)
    if TYPE_KEY in given:
        _check_override(cfg, TYPE_KEY, path)
        replace_class(cfg.model.backbone, given.pop(TYPE_KEY))
    for key in given:
        _check_override(cfg, key, path)
    cfg.merge_from_dict(given)
    own = settings_of(cfg)
    for key, value in own.items():
        if key not in given:
            set_at(cfg, key, value)
    if overrides or own:
        derive(cfg, before, {*(overrides or {}), *own})
    return cfg


def _suggestion(key: str, known: Any) -> str:
    close = difflib.get_close_matches(key, [str(k) for k in known], n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _check_override(cfg: Config, key: str, path: Path) -> None:
    """Raise ValueError where an override would silently add a key that nothing reads."""
    node: Any = cfg
    walked: list[str] = []
    for part in key.split("."):
        here = ".".join(walked) or "the config"
        if isinstance(node, (list, tuple)):
            if not part.isdigit() or int(part) >= len(node):
                raise ValueError(
                    f"{path}: override '{key}': {here} is a list of {len(node)}, use an index"
                )
            node = node[int(part)]
        elif hasattr(node, "keys"):
            if part not in node:
                known = set(node) | _arguments(here, node)
                if part in known:
                    return  # what lies below, its class checks
                raise ValueError(
                    f"{path}: override '{key}': {here} has no key '{part}'"
                    f"{_suggestion(part, known)}"
                )
            node = node[part]
        else:
            raise ValueError(f"{path}: override '{key}': {here} is a plain value, not a dict")
        walked.append(part)


def _arguments(key: str, node: Any) -> set[str]:
    """Argument names of what a config dict builds; empty where it does not say."""
    if key in LOADERS:
        return set(inspect.signature(DataLoader).parameters)
    if key == "randomness":
        return set(inspect.signature(Runner.set_randomness).parameters) - {"self"}
    target = node.get("type")
    if not inspect.isclass(target):
        return RUNNER_KEYS if target is None and "default_scope" in node else set()
    return argument_names(target)
