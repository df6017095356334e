"""Checks that all readers of annotation files share."""

import os
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any


def check_images_exist(paths: Iterable[str], where: str | Path) -> None:
    """Raise FileNotFoundError where images that a file names are not on disk.

    Folders are listed once each: asking for every file takes minutes on a network file system.

    Args:
        paths: image files.
        where: the annotation file that names them, for the message.
    """

    @cache
    def names_in(folder: str) -> frozenset[str]:
        return frozenset(os.listdir(folder)) if os.path.isdir(folder) else frozenset()

    missing = [
        path for path in paths if os.path.basename(path) not in names_in(os.path.dirname(path))
    ]
    if missing:
        raise FileNotFoundError(
            f"{where}: {len(missing)} of its images are not on disk, first {missing[0]}: unpack "
            "the archive there, or correct data_root and data_prefix"
        )


def check_num_classes(expected: int | None, found: int, where: str | Path) -> None:
    """Raise ValueError where a file has another number of classes than the model's head."""
    if expected is not None and expected != found:
        raise ValueError(
            f"{where}: has {found} classes and the config says num_classes={expected}: it belongs "
            "to another data set, or the config does"
        )


def unique(items: Iterable[tuple], where: str | Path, what: str) -> dict[Any, Any]:
    """A dict from (key, value) pairs.

    Raises:
        ValueError: a key occurs twice.
    """
    found: dict[Any, Any] = {}
    for key, value in items:
        if key in found:
            raise ValueError(f"{where}: {what} {key!r} occurs twice")
        found[key] = value
    return found


def class_names(given: Sequence[str] | None, found: Sequence[str], file: Path) -> tuple[str, ...]:
    """Names by label: those that the config gives, else those of the data.

    Args:
        given: ``classes`` of the data set's arguments or ``metainfo``; they rename the labels, and
            change none.
        found: names by label as the data has them.
        file: where they are from.

    Raises:
        ValueError: another number of names, or the data's own in another order.
    """
    names = tuple(given or found)
    if len(names) != len(found):
        raise ValueError(f"classes: {len(names)} names are given, {file} has {len(found)} classes")
    if names != tuple(found) and sorted(names) == sorted(found):
        raise ValueError(
            f"classes: the names of {file} in another order, which would rename every label: leave "
            "classes out"
        )
    return names
