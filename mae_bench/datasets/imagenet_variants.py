"""ImageNet's validation set and its robustness sets, in the folders in which they come.

Every reader gives the same thing: a folder, the files in it and their labels, which are positions
in ImageNet's 1000 sorted classes, whatever classes a set has.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np

SEVERITIES = (1, 2, 3, 4, 5)
IMAGE_SUFFIXES = {".jpeg", ".jpg", ".png"}
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
        """File of one picture."""
        return self.root / self.names[index].decode()

    @classmethod
    def of(cls, root: Path, pairs: list[tuple[str, int]]) -> "ImageList":
        """From (name, label), in the order of the names.

        Raises:
            FileNotFoundError: there is none.
        """
        if not pairs:
            raise FileNotFoundError(f"{root}: holds no pictures in class folders (n01440764, ...)")
        names, labels = zip(*sorted(pairs), strict=True)
        return cls(root, np.array([name.encode() for name in names]), np.array(labels, np.int64))


def _timm_lines(name: str) -> list[str]:
    return (files("timm.data") / "_info" / name).read_text(encoding="utf-8").split()


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


def read_class_folders(root: Path, labels: Collection[int] | None = None) -> ImageList:
    """Pictures in ``<root>/<WordNet id>/<file>``, the layout of all the sets.

    Args:
        root: folder; files beside the class folders, such as a README, are passed over.
        labels: classes that the set has; all 1000 where None.

    Raises:
        FileNotFoundError: no such folder, or no pictures in it.
        ValueError: a folder that is none of the classes.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    known = {name: label for label, name in enumerate(imagenet_classes())}
    pairs: list[tuple[str, int]] = []
    for folder in root.iterdir():
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        label = known.get(folder.name)
        if label is None or (labels is not None and label not in labels):
            raise ValueError(
                f"{folder}: is no class of this set; class folders are named by WordNet id, such "
                "as n01443537"
            )
        pairs += [(f"{folder.name}/{name}", label) for name in _images(folder)]
    return ImageList.of(root, pairs)


def _images(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES]


def read_validation(root: Path) -> ImageList:
    """ImageNet's validation set: class folders, or all pictures in one folder beside a list.

    The list is ``val.txt``, in the folder, in the one above, or in ``meta/`` of either, with a
    line ``ILSVRC2012_val_00000001.JPEG 65`` for each picture: file name, then label or WordNet id.

    Raises:
        FileNotFoundError: no such folder, no pictures, no list, or a picture of the list is
            missing.
        ValueError: a line of the list is not as above, or a picture is not in it.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    flat = set(_images(root))
    if not flat:
        return read_class_folders(root)
    lists = [root / name for name in VAL_LISTS if (root / name).is_file()]
    if not lists:
        raise FileNotFoundError(
            f"{root}: pictures without class folders need a list of their labels, val.txt or "
            "meta/val.txt, with lines 'ILSVRC2012_val_00000001.JPEG 65'"
        )
    labels = _read_list(lists[0])
    if missing := sorted(labels.keys() - flat):
        raise FileNotFoundError(f"{root / missing[0]}: no such file, but {lists[0]} names it")
    if extra := sorted(flat - labels.keys()):
        raise ValueError(f"{root / extra[0]}: has no label in {lists[0]}")
    return ImageList.of(root, list(labels.items()))


def _read_list(path: Path) -> dict[str, int]:
    known = {name: label for label, name in enumerate(imagenet_classes())}
    labels: dict[str, int] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        name, _, label = line.strip().rpartition(" ")
        value = known.get(label, int(label) if label.isdecimal() else -1)
        if not name or not 0 <= value < len(known):
            raise ValueError(
                f"{path}, line {number}: {line.strip()!r} is not 'FILE LABEL' with a label in "
                f"0..{len(known) - 1} or a WordNet id"
            )
        if name in labels:
            raise ValueError(f"{path}, line {number}: {name} a second time")
        labels[name] = value
    return labels


def find_corruptions(root: Path) -> dict[tuple[str, int], Path]:
    """Folders of ImageNet-C that are there: (corruption, severity) -> folder of class folders.

    Corruptions lie in the root or one folder down, in those of the archives (``blur/fog/3``).

    Raises:
        FileNotFoundError: no such folder.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    above = [root, *sorted(path for path in root.iterdir() if path.is_dir())]
    found = {}
    for corruption in CORRUPTIONS + EXTRA_CORRUPTIONS:
        for severity in SEVERITIES:
            places = [folder / corruption / str(severity) for folder in above]
            there = [place for place in places if place.is_dir()]
            if there:
                found[corruption, severity] = there[0]
    return found
