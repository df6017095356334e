"""Images in tar archives, read where they lie: as published, by class, or as WebDataset's shards.

A list of what is in an archive is made once; then each image is one read at a known place, so that
samples have indices, by which training shuffles, is seeded and resumes, as with single files.
"""

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..files import cache_folder
from .imagenet_variants import imagenet_classes
from .reading import is_image

BLOCK = 512  # of a tar; two blocks of zeros are its end
LARGEST_PADDING = 1 << 20  # zeros behind the end, which some programs write
KEPT_FROM = 1 << 30  # bytes of an archive whose list is kept for the next run
OPEN_FILES = 128
KINDS = (".tar", ".parquet")  # the second is read by :mod:`mae_bench.datasets.parquet`
DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
SYNONYMS = {"val": ("val", "valid", "validation"), "train": ("train", "training")}


@dataclass(frozen=True, slots=True)
class Member:
    """An image in an archive.

    Attributes:
        name: path in the archive; of one in an archive inside it, below the inner one's name.
        archive: the file.
        offset, size: where the image's bytes lie in it.
        label: what a file of the same name says, ``.cls`` or the ``label`` of a ``.json``, as
            WebDataset has it; empty where there is none.
    """

    name: str
    archive: str
    offset: int
    size: int
    label: str = ""

    @property
    def folder(self) -> str:
        """Folder that it lies in, without those above: the class, where classes have folders."""
        return self.name.rpartition("/")[0].rpartition("/")[2]

    @property
    def path(self) -> str:
        """What it is called in messages."""
        return f"{self.archive}:{self.name}"


def find_archives(prefix: str | Path) -> list[Path]:
    """Archives in place of a folder of images, in the order of their names; none where it is there.

    Args:
        prefix: the folder: archives are in it, where nothing else is, or beside it, with its name
            in theirs, such as ``ILSVRC2012_img_train.tar`` for ``train``, or beside it in ``data``,
            as Hugging Face has its Parquet files; or an archive.

    Returns:
        all of one kind, of :data:`KINDS`.
    """
    prefix = Path(prefix)
    if prefix.is_file():
        return [prefix] if prefix.suffix in KINDS else []
    if prefix.is_dir():
        entries = [entry for entry in prefix.iterdir() if not entry.name.startswith(".")]
        if any(entry.is_dir() or is_image(entry.name) for entry in entries):
            return []
        return _of_one_kind(entries)
    words = SYNONYMS.get(prefix.name, (prefix.name,))
    beside = [*prefix.parent.glob("*"), *prefix.parent.glob("data/*.parquet")]
    return _of_one_kind(p for p in beside if set(words) & set(re.split(r"[\W_\d]+", p.stem)))


def _of_one_kind(paths: Iterable[Path]) -> list[Path]:
    paths = list(paths)
    return next(filter(None, (sorted(p for p in paths if p.suffix == k) for k in KINDS)), [])


def list_members(archives: Iterable[Path]) -> list[Member]:
    """Images in some archives, those of each in the order of their names.

    Raises:
        ValueError: one is cut off, damaged, compressed or no tar.
    """
    found: list[Member] = []
    for path in archives:
        kept = _kept_list(path)
        rows = _recall(kept)
        if rows is None:
            rows = sorted(_scan(path))
            _keep(kept, rows)
        found += [
            Member(name, str(path), offset, size, label) for name, offset, size, label in rows
        ]
    return found


Row = tuple[str, int, int, str]


def _scan(path: Path) -> list[Row]:
    """Name, offset, size and label of each image in an archive, and in those inside it."""
    with path.open("rb") as file:
        if file.read(2) == b"\x1f\x8b":
            raise ValueError(f"{path}: is compressed, so nothing in it has a place: gunzip it")
        return _merge(_rows(file, path, "", 0, os.path.getsize(path)))


def _rows(file: BinaryIO, path: Path, above: str, start: int, length: int) -> Iterator[Row]:
    """Files in the archive that lies at ``start``; those that are no images have their text."""
    file.seek(start)
    view = _Window(file, start, length)
    where = f"{path}{':' if above else ''}{above}"
    try:
        with tarfile.open(fileobj=view, mode="r:") as tar:
            for entry in tar:
                tar.members.clear()  # type: ignore[attr-defined]  # or all are kept
                if not entry.isfile() or entry.issparse():
                    continue
                name = f"{above}/{entry.name}" if above else entry.name
                offset = start + entry.offset_data
                if name.endswith(".tar"):
                    inner = entry.name[: -len(".tar")]
                    yield from _rows(file, path, inner, offset, entry.size)
                elif is_image(name):
                    yield name, offset, entry.size, ""
                elif name.endswith((".cls", ".json")) and not _base(name).startswith("."):
                    yield name, -1, 0, _read(file, offset, entry.size).decode("utf-8", "replace")
            check_end(view, tar.offset, where)
    except tarfile.TarError as error:
        raise ValueError(f"{where}: is no tar, or damaged ({error}): get it again") from None


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def check_end(view: Any, offset: int, where: str) -> None:
    """Raise ValueError where an archive does not end at an offset.

    tarfile takes a damaged header, or the end of the file, for the end of the archive.
    """
    view.seek(offset)
    rest = view.read(LARGEST_PADDING + 1)
    if len(rest) < BLOCK or rest.strip(b"\0") or len(rest) > LARGEST_PADDING:
        raise ValueError(
            f"{where}: is cut off or damaged after {offset:,} bytes: get it again, whole"
        )


class _Window(io.RawIOBase):
    """A part of a file, read as one of its own."""

    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        self.file, self.start, self.length, self.at = file, start, length, 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = offset + {0: 0, 1: self.at, 2: self.length}[whence]
        return self.at

    def tell(self) -> int:
        return self.at

    def read(self, size: int = -1) -> bytes:
        left = max(0, self.length - self.at)
        self.file.seek(self.start + self.at)
        content = self.file.read(left if size < 0 else min(size, left))
        self.at += len(content)
        return content


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)


def _merge(rows: Iterable[Row]) -> list[Row]:
    """Images with the labels that files of the same name have, up to the first dot."""
    images: list[Row] = []
    labels: dict[str, str] = {}
    for row in rows:
        if row[1] < 0:
            labels[_key(row[0])] = _label(row[0], row[3]) or labels.get(_key(row[0]), "")
        else:
            images.append(row)
    return [(*row[:3], labels.get(_key(row[0]), "")) for row in images]


def _key(name: str) -> str:
    folder, slash, base = name.rpartition("/")
    return f"{folder}{slash}{base.partition('.')[0]}"


def _label(name: str, text: str) -> str:
    if name.endswith(".cls"):
        return text.strip()
    try:
        label = json.loads(text)["label"]
    except (ValueError, TypeError, KeyError):
        return ""
    return str(label) if isinstance(label, (int, str)) else ""


def _kept_list(path: Path) -> Path | None:
    """Where the list of an archive as it is now is kept; None for a small one."""
    status = path.stat()
    if status.st_size < KEPT_FROM:
        return None
    text = f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
    return cache_folder() / "archives" / f"{hashlib.sha256(text.encode()).hexdigest()}.npz"


def _recall(kept: Path | None) -> list[Row] | None:
    if kept is None or not kept.is_file():
        return None
    try:
        with np.load(kept, allow_pickle=False) as table:
            names, labels = (bytes(table[k]).decode().split("\0") for k in ("names", "labels"))
            places = table["places"].tolist()
        return [(n, p[0], p[1], x) for n, p, x in zip(names, places, labels, strict=True)]
    except (OSError, ValueError, KeyError):  # it is only slower to make it anew
        return None


def _keep(kept: Path | None, rows: Sequence[Row]) -> None:
    if kept is None or not rows:
        return

    def packed(column: int) -> np.ndarray:
        return np.frombuffer("\0".join(str(row[column]) for row in rows).encode(), np.uint8)

    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_name(f".{kept.stem}.{os.getpid()}.npz")
        np.savez_compressed(
            part, names=packed(0), labels=packed(3), places=np.array([row[1:3] for row in rows])
        )
        part.replace(kept)
    except OSError:
        return


@lru_cache(maxsize=OPEN_FILES)
def _opened(path: str) -> BinaryIO:
    return open(path, "rb", buffering=0)  # closed once nobody holds it


def read_part(part: tuple[str, int, int]) -> bytes:
    """The bytes of a file at an offset; safe in threads and after a fork.

    Raises:
        FileNotFoundError: no such file.
    """
    path, offset, size = part
    file = _opened(path)
    return os.pread(file.fileno(), size, offset)


def devkit_labels(path: Path) -> dict[str, str]:
    """Validation image of ImageNet -> WordNet id, from the development kit as it is published.

    Its own numbers of the classes are not the usual labels: they go by another order.

    Raises:
        ValueError: it lacks a file, or names a class that is none.
    """
    from scipy.io import loadmat

    wanted = ("meta.mat", "ILSVRC2012_validation_ground_truth.txt")
    files: dict[str, bytes] = {}
    with tarfile.open(path, "r:*") as tar:
        for entry in tar:
            stream = tar.extractfile(entry) if _base(entry.name) in wanted else None
            if stream is not None:
                files[_base(entry.name)] = stream.read()
    if lacking := [name for name in wanted if name not in files]:
        raise ValueError(f"{path}: has no {lacking[0]}: get it again")
    rows: Any = loadmat(io.BytesIO(files[wanted[0]]), squeeze_me=True)["synsets"]
    ids = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in rows}
    numbers = map(int, files[wanted[1]].split())
    labels = {
        f"ILSVRC2012_val_{i:08}.JPEG": ids.get(number, "") for i, number in enumerate(numbers, 1)
    }
    if strange := {*labels.values()} - {*imagenet_classes()}:
        raise ValueError(f"{path}: {sorted(strange)[0]!r} is no class of ImageNet-1K")
    return labels
