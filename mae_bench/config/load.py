"""From a config file and overrides to a config that a runner can be built of."""

import copy
import difflib
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from ..datasets.findings import DataError
from ..datasets.own_data import settings_of
from .apply import apply_overrides, did_you_mean, flatten
from .arguments import OWN_KEYS, RUNNER_KEYS
from .backbone_swap import check_backbone
from .consistency import check_consistency
from .derive import derive
from .host_classes import wrap_backbone
from .keys import set_at, walk
from .locate import find_config
from .old_names import hint_for_old_name
from .read_file import read_file

REQUIRED_KEYS = ("model", "default_scope")


def load_config(path: str | Path, overrides: dict[str, Any] | None = None) -> Config:
    """Read a config and apply ``--cfg-options``.

    What is left are the keys that something reads; variables that only helped to write the file
    are gone.

    Args:
        path: config file in MMEngine's pure-Python style; ``configs/...`` may be a shipped one.
        overrides: dotted key -> value.

    Returns:
        the config, with the overrides as they were given in ``overrides``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a required key is missing; a top-level key looks like a misspelt one; nothing
            reads an override (``apply.py``); values contradict each other (``consistency.py``); or
            the folder of ``own_data`` is not understood (``datasets/own_data.py``).
    """
    path = find_config(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such config file{hint_for_old_name(path)}")
    try:
        cfg, helpers = _read(path, (overrides or {}).get("custom_imports.imports"))
        wrap_backbone(cfg)
        before = copy.deepcopy(cfg)
        given = {k: v for k, v in (overrides or {}).items() if not k.startswith("custom_imports")}
        given = flatten(cfg, given)
        apply_overrides(cfg, given, helpers)
        own = settings_of(cfg)
        for key in own.keys() - given.keys():
            set_at(cfg, key, own[key])
        if given or own:
            derive(cfg, before, {*given, *own})
        check_backbone(cfg)
        check_consistency(cfg)
    except DataError:  # names files of its own
        raise
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    cfg.overrides = dict(overrides or {})
    return cfg


def _read(path: Path, more_imports: Any) -> tuple[Config, dict[str, Any]]:
    """The config of a file without its helper variables, and those."""
    try:
        cfg = read_file(path)
    except RuntimeError as error:  # of MMEngine's placeholders, without a text
        raise ValueError(
            "a config cannot call what it imports from a package, only name it as a type"
        ) from error
    for key in REQUIRED_KEYS:
        if key not in cfg:
            raise ValueError(f"key '{key}' is missing{did_you_mean(key, cfg)}")
    others = [key for key in cfg if key not in RUNNER_KEYS | OWN_KEYS]
    for key in filter(str.islower, others):  # the others are classes
        close = difflib.get_close_matches(key, RUNNER_KEYS, n=1, cutoff=0.85)
        if close and close[0] not in cfg:
            raise ValueError(f"unknown key '{key}'; did you mean '{close[0]}'?")
    helpers = {key: cfg.pop(key) for key in others}
    # MMEngine does this for configs of the older style only.
    for imports in (cfg.pop("custom_imports", {}).get("imports"), more_imports):
        if imports:
            names = [imports] if isinstance(imports, str) else list(imports)
            try:
                import_modules_from_strings(names)
            except ImportError as error:
                raise ValueError(f"custom_imports.imports={names}: {error}") from None
    for top in cfg:
        for key, node in walk(cfg[top], top):
            if "_delete_" in node:
                raise ValueError(
                    f"key '{key}._delete_' means nothing in a config of Python: assign the dict "
                    "anew, KEY = dict(...)"
                )
    return cfg, helpers
