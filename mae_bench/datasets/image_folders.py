"""Images in class folders, or in a list with their labels, as the data of a classification."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmpretrain.datasets import CustomDataset
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

from ..registry import DATASETS
from .annotations import check_images_exist
from .archives import DEVKIT, Member, devkit_labels, find_archives, list_members
from .findings import Findings
from .folders import class_folders, is_number, label_folders, list_images, sort_folders
from .hold_out import part_of
from .imagenet_variants import imagenet_classes
from .kept_samples import KeptSamples
from .label_file import LabelFile, read_label_file
from .named_samples import NamedSamples
from .parquet import read_parquet
from .reading import IMAGE_SUFFIXES

KEPT_FROM = 100_000  # images whose list is kept for other processes
SAME_NAMES = 0.99  # of the classes, where they are taken for those of the config in their order


@DATASETS.register_module()
class ImageFolders(NamedSamples, KeptSamples, CustomDataset):
    """mmpretrain's ``CustomDataset``, labelled by the names of classes where it can be told.

    Class folders: ``<data_root>/<data_prefix>/<class>/**/<image>``, labelled as by
    :func:`label_folders`. A list, with ``ann_file``: see :func:`read_label_file`. Archives in place
    of the folder, see :func:`find_archives`: labels by a list, by files beside the images as in
    WebDataset's shards, by folders or archives inside, or by the column of a Parquet file.
    Without labels, ``with_label=False``: all images below the folder, or of the list. Hidden files
    and folders are passed over.

    Args:
        hold_out: which part of the images, see :func:`part_of`; None: all.
        args, kwargs: of ``CustomDataset``; ``extensions`` are all that can be read where left out.

    Attributes:
        folder_to_idx: class folder -> label; empty of a list.
        class_counts: name of a class -> images.
        findings: remarks.

    Raises:
        FileNotFoundError: the folder, the list or an image in it is missing, or there is none.
        ValueError: it cannot be told which folder or label is which class.
    """

    IDS: Sequence[str] = ()  # what the makers call the classes, by label
    FACTS = {
        "findings": lambda found: Findings(**found),
        "class_counts": Counter,
        "folder_to_idx": dict,
    }

    def __init__(
        self, *args: Any, hold_out: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        self.hold_out = hold_out
        self.folder_to_idx: dict[str, int] = {}
        self.class_counts: Counter[str] = Counter()
        self.findings = Findings()
        kwargs.setdefault("extensions", tuple(sorted(IMAGE_SUFFIXES)))
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """One dict with ``img_path`` and, unless there are none, ``gt_label`` for each image."""
        self.sources = [self.img_prefix]
        if archives := find_archives(self.img_prefix):
            is_parquet = archives[0].suffix == ".parquet"
            read = self._from_parquet if is_parquet else self._from_archives
            samples = read(archives)
        elif self.ann_file:
            samples = self._from_list()
        elif self.with_label:
            samples = self._from_folders()
        else:
            listed = list_images(self.img_prefix, self.sources)
            names = (name for name in listed if self.is_valid_file(name))
            samples = [dict(img_path=f"{self.img_prefix}/{name}") for name in names]
        if not samples:
            raise FileNotFoundError(
                f"{self.img_prefix}: no images ({', '.join(self.extensions)}): correct data_root "
                "and data_prefix"
            )
        samples = part_of(samples, self.hold_out)
        if self.with_label:
            self._count(samples)
        return samples

    def _from_folders(self) -> list[dict]:
        root = self.img_prefix
        folders = class_folders(root)
        if not folders:
            raise FileNotFoundError(
                f"{root}: no class folders: put each class's images into a folder of its name, or "
                "give a list of them as ann_file"
            )
        self._label(folders)
        return [
            dict(img_path=f"{root}/{folder}/{name}", gt_label=label)
            for folder, label in self.folder_to_idx.items()
            for name in list_images(f"{root}/{folder}", self.sources)
            if self.is_valid_file(name)
        ]

    def _label(self, folders: Sequence[str]) -> None:
        self.folder_to_idx = label_folders(folders, self.CLASSES, self.IDS, self.img_prefix)
        if self.CLASSES is None:
            self._metainfo["classes"] = tuple(folders)

    def _from_archives(self, archives: list[Path]) -> list[dict]:
        """Labels by a list, by the files beside each image, or by the folders in the archives."""
        members = [m for m in list_members(archives) if self.is_valid_file(m.name)]
        if not members:
            return []
        if not self.with_label:
            members.sort(key=lambda member: member.name)
            return [_archived(member) for member in members]
        listed = self._listed_members(members)
        if listed is None and all(member.folder for member in members):
            self._label(sort_folders({member.folder for member in members}))
            members.sort(key=lambda m: (self.folder_to_idx[m.folder], m.name))
            return [_archived(m, self.folder_to_idx[m.folder]) for m in members]
        if listed is None:
            raise ValueError(
                f"{members[0].path}: has no folder of its class, and no list says its label: give "
                "ann_file, or put ImageNet's development kit beside it"
            )
        labels, classes = listed.numbers(self.CLASSES, self.IDS)
        self._metainfo["classes"] = classes
        known = _by_name(members)
        chosen = [known[name] for name in listed.names]
        if None in chosen:
            raise ValueError(
                f"{listed.path}: several images in {Path(members[0].archive).parent} are called "
                f"{listed.names[chosen.index(None)]}: write their folders too"
            )
        return [_archived(m, label) for m, label in zip(chosen, labels, strict=True) if m]

    def _from_parquet(self, files: list[Path]) -> list[dict]:
        """Labels by the column, whose numbers have names, or by what is written in it."""
        found = read_parquet(files, self.with_label)
        if not self.with_label:
            return [_archived(member) for member in found.members]
        written = [member.label for member in found.members]
        if found.classes is None:
            rows = list(range(len(written)))
            names = [member.path for member in found.members]
            labels, classes = LabelFile(files[0], names, written, rows).numbers(
                self.CLASSES, self.IDS
            )
        else:
            known = self._label_names(found.classes, str(files[0]))
            labels = [known[int(number)] for number in written]
            classes = found.classes if self.CLASSES is None else tuple(self.CLASSES)
        self._metainfo["classes"] = classes
        return [_archived(m, label) for m, label in zip(found.members, labels, strict=True)]

    def _label_names(self, names: Sequence[str], where: str) -> list[int]:
        """The label here of each class there."""
        known = (self.CLASSES, self.IDS)
        if self.CLASSES is None or any(_are(names, those) for those in known):
            return list(range(len(names)))
        if not any(name in those or is_number(name) for name in names for those in known):
            raise ValueError(
                f"{where}: its classes, {names[0]!r} to {names[-1]!r}, are not the "
                f"{len(self.CLASSES)} of metainfo.classes, {self.CLASSES[0]!r} to "
                f"{self.CLASSES[-1]!r}: correct metainfo.classes"
            )
        labels = label_folders(names, self.CLASSES, self.IDS, where)
        return [labels[name] for name in names]

    def _listed_members(self, members: list[Member]) -> LabelFile | None:
        """Names and labels of the images where they are written; None where folders tell."""
        archive = Path(members[0].archive)
        if self.ann_file:
            listed = read_label_file(self.ann_file)
            names = [name.lstrip("/") for name in listed.names]
            listed = LabelFile(listed.path, names, listed.labels, listed.lines)
        elif any(member.label for member in members):
            if bare := [member.path for member in members if not member.label]:
                raise ValueError(f"{bare[0]}: has no .cls or label beside it, others have")
            names = [member.path for member in members]
            lines = list(range(1, len(members) + 1))
            return LabelFile(archive, names, [member.label for member in members], lines)
        elif (kit := archive.parent / DEVKIT).is_file() and not members[0].folder:
            labels = devkit_labels(kit)
            lines = list(range(1, len(labels) + 1))
            listed = LabelFile(kit, list(labels), list(labels.values()), lines)
        else:
            return None
        there = _by_name(members)
        if lacking := [name for name in listed.names if name not in there]:
            raise FileNotFoundError(
                f"{listed.path}: {len(lacking)} of its images are not in {archive}, first "
                f"{lacking[0]}: get the archive again, or correct the list"
            )
        return listed

    def _from_list(self) -> list[dict]:
        listed = read_label_file(self.ann_file, self.with_label)
        paths = _resolve(listed.names, self.img_prefix)
        check_images_exist(paths, self.ann_file)
        self.sources = [self.ann_file, *sorted({os.path.dirname(path) for path in paths})]
        if not self.with_label:
            return [dict(img_path=path) for path in paths]
        labels, classes = listed.numbers(self.CLASSES, self.IDS)
        self._metainfo["classes"] = classes
        return [dict(img_path=p, gt_label=n) for p, n in zip(paths, labels, strict=True)]

    def may_be_kept(self) -> bool:
        """Whether many files lie there; of archives the lists are kept already."""
        there = 0
        for _, _, files in os.walk(self.img_prefix, followlinks=True):
            there += len(files)
            if there >= KEPT_FROM:
                return not find_archives(self.img_prefix)
        return False

    def kept_settings(self) -> dict[str, Any]:
        """The host's order of the extensions is that of a set, another one in each process."""
        return super().kept_settings() | {"extensions": sorted(self.extensions)}

    def facts(self) -> dict[str, Any]:
        """Also the names of the classes."""
        return super().facts() | {"classes": self.CLASSES}

    def take_facts(self, facts: Mapping[str, Any]) -> None:
        """Also the names of the classes, of which pre-training has none."""
        super().take_facts(facts)
        if facts["classes"] is not None:
            self._metainfo["classes"] = tuple(facts["classes"])

    def _count(self, samples: list[dict]) -> None:
        classes = self._metainfo["classes"]
        labels = Counter(sample["gt_label"] for sample in samples)
        self.class_counts = Counter({name: labels[i] for i, name in enumerate(classes)})


def _are(names: Sequence[str], known: Sequence[str]) -> bool:
    """Whether names are those that are known, in their order, but for a few that are not known.

    ImageNet has two classes called crane; where names have to differ, one of them is crane2.
    """
    if len(names) != len(known):
        return False
    there = set(known)
    same = sum(map(str.__eq__, names, known))
    moved = any(a != b and a in there for a, b in zip(names, known, strict=True))
    return same >= SAME_NAMES * len(names) and not moved


def _by_name(members: list[Member]) -> dict[str, Member | None]:
    """Members by their names, with and without what is above; None of one that several have."""
    known: dict[str, Member | None] = {}
    for member in members:
        for key in {member.path, member.name, member.name.rpartition("/")[2]}:
            known[key] = None if key in known else member
    return known


def _archived(member: Member, label: int | None = None) -> dict[str, Any]:
    sample: dict[str, Any] = dict(
        img_path=member.path, img_part=(member.archive, member.offset, member.size)
    )
    return sample if label is None else dict(sample, gt_label=label)


def _resolve(names: Sequence[str], prefix: str) -> list[str]:
    """Paths of listed images: below ``prefix``, or where those with a slash before them say."""
    rooted = [name for name in names if name.startswith("/")]
    # Some lists begin names with a slash that does not mean the root of the disk.
    if rooted and not Path(prefix, rooted[0].lstrip("/")).exists() and Path(rooted[0]).exists():
        return [name if name.startswith("/") else f"{prefix}/{name}" for name in names]
    return [f"{prefix}/{name.lstrip('/')}" for name in names]


@DATASETS.register_module()
class ImageNet1K(ImageFolders):
    """ImageNet: ``train`` and ``val`` below ``data_root``, labelled by WordNet id.

    The arguments are those of mmpretrain's ``ImageNet``. Of a validation set whose folders are
    numbers, as ImageNet-V2's, these are the labels. For other classes give ``metainfo.classes``.

    Args:
        split: ``"train"``, ``"val"`` or ``"test"``, which has no labels: the folder, and with it
            the list ``meta/<split>.txt`` where there is one.
        kwargs: of :class:`ImageFolders`.

    Raises:
        ValueError: another split, or as :class:`ImageFolders`.
    """

    METAINFO = {"classes": IMAGENET_CATEGORIES}

    def __init__(
        self, data_root: str = "", split: str = "", ann_file: str = "", **kwargs: Any
    ) -> None:
        if split not in ("", "train", "val", "test"):
            raise ValueError(f"split={split!r}: there are train, val and test")
        if split == "test":
            kwargs.setdefault("with_label", False)
        if split:
            kwargs["data_prefix"] = kwargs.get("data_prefix") or split
            listed = f"meta/{split}.txt"
            if not ann_file and Path(data_root, listed).is_file():
                ann_file = listed
        super().__init__(data_root=data_root, ann_file=ann_file, **kwargs)

    @property
    def IDS(self) -> Sequence[str]:  # type: ignore[override]
        """WordNet ids, of the 1000 classes only."""
        is_1k = tuple(self.CLASSES) == tuple(self.METAINFO["classes"])
        return imagenet_classes() if is_1k else ()
