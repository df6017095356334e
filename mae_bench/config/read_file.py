"""Read a config file, and the ones it imports, once where many runs are planned with it."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from mmengine.config import Config

_kept: ContextVar[dict[str, Config] | None] = ContextVar("kept", default=None)


@contextmanager
def keep_files() -> Iterator[None]:
    """Within this, a file is read once: a suite has hundreds of jobs with the same few recipes."""
    token = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(token)


def read_file(path: str | Path) -> Config:
    """A config of its own for each caller, as ``Config.fromfile`` gives it.

    Raises:
        Exception: of the file; a config is Python.
    """
    kept = _kept.get()
    if kept is None:
        return Config.fromfile(str(path))
    if str(path) not in kept:
        kept[str(path)] = Config.fromfile(str(path))
    return copy.deepcopy(kept[str(path)])
