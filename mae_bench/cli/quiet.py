"""Hides messages of the host libraries that tell a user of this package nothing."""

from __future__ import annotations

import builtins
import functools
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# Printed by mmdet, mmseg and mmpretrain when their datasets are imported: an optional data service
# is not installed. They are printed, not logged, so no log level hides them.
HIDDEN_LINES = frozenset(
    {"Could not import OneDL", "Could not import OneDL. Skipping OneDL datasets."}
)


def hide_host_library_noise() -> None:
    """Drop exactly the lines in ``HIDDEN_LINES`` from what this process prints.

    Call it at the top of a command's module, outside ``main``: worker processes started with
    "spawn" run that code too. Everything else is printed as before, and calling it again is free.
    """
    print_all = builtins.print
    if hasattr(print_all, "hides_host_library_noise"):
        return

    @functools.wraps(print_all)
    def print_useful(*values, **options):
        if not (len(values) == 1 and isinstance(values[0], str) and values[0] in HIDDEN_LINES):
            print_all(*values, **options)

    print_useful.hides_host_library_noise = True  # type: ignore[attr-defined]
    builtins.print = print_useful


@contextmanager
def without_logs(level: int = logging.WARNING) -> Iterator[None]:
    """Log nothing up to a level, such as what MMEngine says of each parameter that it builds.

    Python's own warnings are of the level that is called so.
    """
    before = logging.root.manager.disable
    logging.disable(level)
    try:
        with warnings.catch_warnings():
            if level >= logging.WARNING:
                warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
