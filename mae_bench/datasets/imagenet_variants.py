"""ImageNet's validation set and its robustness sets, in the folders in which they come.

Every reader gives the same thing: a folder, the files in it and their labels, which are positions
in ImageNet's 1000 sorted classes, whatever classes a set has, or in classes of one's own.
"""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from .folders import class_folders, is_number
from .label_file import read_label_file
from .reading import is_image

SEVERITIES = (1, 2, 3, 4, 5)
# In the order of Hendrycks and Dietterich (2019), Table 1.
CORRUPTIONS = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
# "Validation" corruptions: distributed with the others, no part of mCE.
EXTRA_CORRUPTIONS = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
VAL_LISTS = ("val.txt", "meta/val.txt", "../val.txt", "../meta/val.txt")


@dataclass(frozen=True)
class ImageList:
    """Files below a folder with their labels.

    Args:
        root: the folder.
        names: (N,) file names relative to it, UTF-8 bytes; an array, because a list of Python
            objects would be copied into every worker process.
        labels: (N,) int64, positions among ImageNet's 1000 classes.
    """

    root: Path
    names: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> Path:
        """File of one image."""
        return self.root / self.names[index].decode()

    @classmethod
    def of(cls, root: Path, pairs: list[tuple[str, int]]) -> "ImageList":
        """From (name, label), in the order of the names.

        Raises:
            FileNotFoundError: there is none.
        """
        if not pairs:
            raise FileNotFoundError(
                f"{root}: holds no images in class folders: unpack the set again, with its "
                "folders, so that an image is <class>/<file> in this one"
            )
        names, labels = zip(*sorted(pairs), strict=True)
        return cls(root, np.array([name.encode() for name in names]), np.array(labels, np.int64))


def _timm_text(name: str) -> str:
    return (files("timm.data") / "_info" / name).read_text(encoding="utf-8")


def _timm_lines(name: str) -> list[str]:
    return _timm_text(name).split()


@cache
def imagenet_classes() -> tuple[str, ...]:
    """WordNet ids of the 1000 classes in sorted order; the position is the label."""
    return tuple(_timm_lines("imagenet_synsets.txt"))


@cache
def subset_indices(name: str) -> tuple[int, ...]:
    """Labels of the 200 classes of ImageNet-A or ImageNet-R, ascending.

    Args:
        name: ``"imagenet_a"`` or ``"imagenet_r"``.

    Raises:
        ValueError: timm's two lists of the set, ids and positions, disagree.

    Source: timm's data files, which hold the lists of Hendrycks et al. (natural-adv-examples and
    imagenet-r, ``eval.py``).
    """
    indices = tuple(int(line) for line in _timm_lines(f"{name}_indices.txt"))
    if [imagenet_classes()[i] for i in indices] != _timm_lines(f"{name}_synsets.txt"):
        raise ValueError(f"timm's lists {name}_indices.txt and {name}_synsets.txt disagree")
    return indices


def real_labels(names: Sequence[str]) -> np.ndarray | None:
    """ReaL labels of images of the validation set (Beyer et al. 2020).

    Args:
        names: of the files, ``ILSVRC2012_val_00000001.JPEG`` and so on, in any folder.

    Returns:
        (N, K) int64: what is right for each, filled up with -1; only that where the raters found
        no label to fit, and the image does not count. None where a file is named otherwise.

    Source: timm's copy of ``real.json`` of google-research/reassessed-imagenet, a list for each
    image in the order of their numbers.
    """
    numbers = [re.fullmatch(r"(?:.*/)?ILSVRC2012_val_(\d{8})\.\w+", name) for name in names]
    if None in numbers:
        return None
    lists = json.loads(_timm_text("imagenet_real_labels.json"))
    found = [lists[int(number[1]) - 1] for number in numbers if number]
    padded = np.full((len(found), max(map(len, lists))), -1, np.int64)
    for row, labels in zip(padded, found, strict=True):
        row[: len(labels)] = labels
    return padded


def read_class_folders(
    root: Path, classes: Sequence[str] | None = None, labels: Collection[int] | None = None
) -> ImageList:
    """Images in ``<root>/<class folder>/<file>``, the layout of all the sets.

    Args:
        root: folder; hidden folders, and files beside the class folders, such as a README, are
            passed over.
        classes: names of the class folders in the order of the labels; ImageNet's WordNet ids
            where None. Folders that are all numbers below the number of classes, as those of
            ImageNet-V2, are labels themselves.
        labels: classes that the set has; all where None.

    Raises:
        FileNotFoundError: no such folder, or no images in it.
        ValueError: a folder that is none of the classes.
    """
    names = imagenet_classes() if classes is None else tuple(classes)
    known = {name: label for label, name in enumerate(names)}
    folders = class_folders(root)
    if folders and all(map(is_number, folders)) and not known.keys() & set(folders):
        known = {name: int(name) for name in folders if int(name) < len(names)}
    pairs: list[tuple[str, int]] = []
    for folder in folders:
        label = known.get(folder)
        if label is None or (labels is not None and label not in labels):
            inside = class_folders(root / folder)
            deeper = inside and all(name in known or is_number(name) for name in inside)
            raise ValueError(
                f"{root / folder}: is no class of this set; class folders are named as {names[0]}, "
                f"or all by their number, 0 to {len(names) - 1}"
                + (f": move those in it up, into {root}" if deeper else "")
            )
        pairs += [(f"{folder}/{name}", label) for name in _images(root / folder)]
    return ImageList.of(root, pairs)


def _images(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir() if is_image(file.name)]


def read_validation(root: Path, classes: Sequence[str] | None = None) -> ImageList:
    """ImageNet's validation set: class folders, or all images in one folder beside a list.

    The list is ``val.txt``, in the folder, in the one above, or in ``meta/`` of either, with a
    line ``ILSVRC2012_val_00000001.JPEG 65`` for each image: file name, then label or WordNet id.

    Args:
        root: the folder.
        classes: of :func:`read_class_folders`.

    Raises:
        FileNotFoundError: no such folder, no images, no list, or an image of the list is missing.
        ValueError: a line of the list is not as above, or an image is not in it.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    flat = set(_images(root))
    if not flat:
        return read_class_folders(root, classes)
    lists = [root / name for name in VAL_LISTS if (root / name).is_file()]
    if not lists:
        raise FileNotFoundError(
            f"{root}: images without class folders need a list of their labels, val.txt or "
            "meta/val.txt, with lines 'ILSVRC2012_val_00000001.JPEG 65'"
        )
    listed = read_label_file(lists[0])
    numbers, _ = listed.numbers(imagenet_classes() if classes is None else classes)
    labels = dict(zip(listed.names, numbers, strict=True))
    if missing := sorted(labels.keys() - flat):
        raise FileNotFoundError(f"{root / missing[0]}: no such file, but {lists[0]} names it")
    if extra := sorted(flat - labels.keys()):
        raise ValueError(f"{root / extra[0]}: has no label in {lists[0]}")
    return ImageList.of(root, list(labels.items()))


def find_corruptions(root: Path) -> dict[tuple[str, int], Path]:
    """Folders of ImageNet-C that are there: (corruption, severity) -> folder of class folders.

    Corruptions lie in the root or one folder down, in those of the archives (``blur/fog/3``).

    Raises:
        FileNotFoundError: no such folder.
        ValueError: a corruption lies in two places.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    above = [root, *sorted(path for path in root.iterdir() if path.is_dir())]
    found = {}
    for corruption in CORRUPTIONS + EXTRA_CORRUPTIONS:
        for severity in SEVERITIES:
            places = [folder / corruption / str(severity) for folder in above]
            there = [place for place in places if place.is_dir()]
            if len(there) > 1:
                raise ValueError(
                    f"{there[0]} and {there[1]}: one corruption in two places; take one away"
                )
            if there:
                found[corruption, severity] = there[0]
    return found
