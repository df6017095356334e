"""Where the values of the shipped recipes are from: configs/sources.yaml."""

from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from .built import Run

FILE = "sources.yaml"  # in configs/, which a config's folder is in


class Sources:
    """What is known of the values of one config.

    Args:
        path: of the config, in a folder below that of ``sources.yaml``.

    Raises:
        FileNotFoundError: no ``sources.yaml`` there.
    """

    def __init__(self, path: Path) -> None:
        name = f"{path.parent.name}/{path.name}"
        data = _read(path.resolve().parent.parent / FILE)
        self.patterns: list[tuple[str, str]] = []
        for block in data["sources"]:
            if _matches(name, block["configs"]):
                self.patterns += block["sources"].items()
        self.runs = [entry for entry in data["runs"] if _matches(name, entry["configs"])]

    def of(self, key: str) -> str:
        """Source of a value; empty where none is stated."""
        found = [source for pattern, source in self.patterns if fnmatchcase(key, pattern)]
        return found[-1] if found else ""

    def run(self, batch: int) -> Run | None:
        """How long the recipe runs with a batch."""
        if not self.runs:
            return None
        entry = self.runs[-1]
        return Run(entry["images"], batch)


def images_of(path: Path) -> int | None:
    """Images of an epoch of a shipped recipe; None for another config."""
    if not (path.resolve().parent.parent / FILE).is_file():
        return None
    run = Sources(path).run(1)
    return (run.images or None) if run else None


def _matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@cache
def _read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))
