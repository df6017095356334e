"""Files and class folders of a data set: which count, in which order, and under which label."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from .reading import hidden, is_image

NAMED = 3


def list_images(root: str | Path, seen: list[str] | None = None) -> Iterator[str]:
    """Names of the images below a folder, relative to it, in the order of the names.

    Links to folders are followed. Hidden files and folders, such as ``.ipynb_checkpoints`` and
    macOS's ``._x.jpg``, are none of the data.

    Args:
        root: the folder.
        seen: the folders that were looked into are added to it.

    Raises:
        FileNotFoundError: no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder: put or link the data there")
    names = []
    for folder, subfolders, files in os.walk(root, followlinks=True):
        if seen is not None:
            seen.append(folder)
        subfolders[:] = [name for name in subfolders if not hidden([name])]
        base = os.path.relpath(folder, root)
        start = "" if base == "." else f"{base}/"
        names += [start + name for name in files if is_image(name)]
    yield from sorted(names)


def class_folders(root: str | Path) -> list[str]:
    """Names of the folders in a folder, hidden ones aside: numbers as numbers, the rest as text.

    Raises:
        FileNotFoundError: no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder: put or link the data there")
    names = [e.name for e in os.scandir(root) if e.is_dir() and not hidden([e.name])]
    return sort_folders(names)


def sort_folders(names: Iterable[str]) -> list[str]:
    """Class folders in the order of their labels: numbers as numbers, the rest as text."""
    names = list(names)
    return sorted(names, key=by_number if all(map(is_number, names)) else None)


def is_number(name: str) -> bool:
    """Whether a folder's name is a number, as of ImageNet-V2's."""
    return name.isascii() and name.isdigit()


def by_number(name: str) -> int:
    """Key that sorts 2 before 10."""
    return int(name)


def label_folders(
    folders: Sequence[str], classes: Sequence[str] | None, ids: Sequence[str] = (), where: str = ""
) -> dict[str, int]:
    """Labels of class folders.

    Args:
        folders: as of :func:`class_folders`.
        classes: names by label; None: the folders are the classes.
        ids: what the folders of these classes are called by their makers, by label, such as WordNet
            ids.
        where: the folder they are in, for messages.

    Returns:
        folder -> label: of its name, or id; of its number, if all names are numbers below the
        number of classes; else, where no name is known and there are as many folders as classes,
        its place.

    Raises:
        ValueError: it cannot be told which folder is which class.
    """
    if classes is None:
        return {name: label for label, name in enumerate(folders)}
    for names in (classes, ids):
        known = {name: label for label, name in enumerate(names)}
        if folders and all(name in known for name in folders):
            return {name: known[name] for name in folders}
    if folders and all(map(is_number, folders)) and all(map(is_number, classes)):
        numbers = {int(name): label for label, name in enumerate(classes)}
        if all(int(name) in numbers for name in folders):  # 08 is 8
            return {name: numbers[int(name)] for name in folders}
    if folders and all(is_number(name) and int(name) < len(classes) for name in folders):
        labels = {name: int(name) for name in folders}
        if len(set(labels.values())) == len(labels):
            return labels
    strange = [name for name in folders if name not in classes and name not in ids]
    if len(folders) == len(classes) and len(strange) == len(folders):
        return {name: label for label, name in enumerate(folders)}
    raise ValueError(
        f"{where}: {len(folders)} class folders, metainfo.classes has {len(classes)} names; "
        f"{_some(strange)} not among them: rename the folders, or correct metainfo.classes"
    )


def compare_labels(
    one: Mapping[str, int], where_one: str, other: Mapping[str, int], where_other: str
) -> tuple[list[str], list[str]]:
    """How the class folders of two splits differ.

    Args:
        one, other: folder -> label, of training and of evaluation.
        where_one, where_other: the folders they are in.

    Returns:
        what makes labels mean different things; and what is only missing in ``other``.
    """
    numbers = all(map(is_number, one)) and all(map(is_number, other))

    def key(name: str) -> str | int:
        return int(name) if numbers else name

    first, second = ({key(n): label for n, label in part.items()} for part in (one, other))
    if all(map(is_number, other)) and not any(map(is_number, one)):
        # Numbers that are labels, beside folders of the makers' ids.
        second = {n: label for n, label in second.items() if label not in first.values()}
        first = {}
    wrong = []
    if strange := [str(name) for name in second if name not in first]:
        wrong.append(
            f"{where_other}: {_some(strange)} no class folder of {where_one}: both need the same"
        )
    moved = [str(n) for n, label in second.items() if first.get(n, label) != label]
    if moved:
        wrong.append(
            f"{where_other}: {_some(moved)} another label than in {where_one}: give "
            "metainfo.classes, the names of the folders, to both"
        )
    missing = [str(name) for name in first if name not in second]
    return wrong, [f"{where_other}: {_some(missing)} missing"] if missing else []


def _some(names: Sequence[str]) -> str:
    """The first of some names, as the subject of a sentence."""
    shown = ", ".join(map(repr, names[:NAMED])) + (", ..." if len(names) > NAMED else "")
    return f"{shown} {'is' if len(names) == 1 else 'are'}"
