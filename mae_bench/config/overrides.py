"""Overrides of a config as they stand on a command line, ``--cfg-options key=value``."""

import argparse
from collections.abc import Mapping
from typing import Any


def as_options(overrides: Mapping[str, Any]) -> dict[str, str]:
    """Text of each value: numbers, true and false, null, strings, and lists of these.

    YAML reads ``1e-3`` as a string, the command line as the number that was meant.

    Raises:
        ValueError: the command line would read another value than the one given.
    """
    options = {key: _text(value) for key, value in overrides.items()}
    for key, value in overrides.items():
        if not isinstance(value, str) and parse_options({key: options[key]})[key] != value:
            raise ValueError(f"{value!r} cannot stand on a command line; change the config")
    return options


def parse_options(options: dict[str, str]) -> dict[str, Any]:
    """Values as the commands read them, by MMEngine's own parser."""
    from mmengine.config import DictAction

    if not options:
        return {}
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    return parser.parse_args(
        ["--cfg-options", *(f"{key}={text}" for key, text in options.items())]
    ).cfg_options


def _text(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, str) and (not value or set(value) & set(" ,()[]'\"")):
        raise ValueError(f"{value!r} cannot stand on a command line; change the config")
    if value is not None and not isinstance(value, (bool, int, float, str)):
        raise ValueError(f"a {type(value).__name__} cannot stand on a command line; name its keys")
    return str(value)
