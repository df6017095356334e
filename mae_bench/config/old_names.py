"""Configs that were merged into others: what to write in place of an old name."""

import shlex
from pathlib import Path

import yaml

from .overrides import as_options

FILE = "old_names.yaml"  # in configs/, which a config's folder is in


def hint_for_old_name(path: str | Path) -> str:
    """What replaces the config of an old name, as the end of a sentence; empty for other names."""
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
    return f": it was merged, and is now {' '.join(map(shlex.quote, words))}"
