"""Configs and suites that were merged into others: what to write in place of an old name."""

import shlex
from pathlib import Path

import yaml

from .overrides import as_options

FILE = "old_names.yaml"  # in configs/, which their folders are in


def hint_for_old_name(path: str | Path) -> str:
    """What replaces the config or suite of an old name, as the end of a sentence; else empty."""
    path = Path(path)
    names = path.parent.parent / FILE
    if not names.is_file():
        return ""
    entry = yaml.safe_load(names.read_text(encoding="utf-8")).get(f"{path.parent.name}/{path.name}")
    if entry is None:
        return ""
    options = as_options(entry.get("overrides", {}))
    words = [str(names.parent / entry["config"])]
    if options:
        words += ["--cfg-options", *(f"{key}={text}" for key, text in options.items())]
    if only := entry.get("only"):
        words += ["--only", only]
    return f": it was merged, and is now {' '.join(map(shlex.quote, words))}"
