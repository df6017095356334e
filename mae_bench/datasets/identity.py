"""What a data set is: its samples by name and size, so that another one is not taken for it."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary

from ..files import sha256_of

# Asking a network file system for a size waits for an answer, and many can be waited for at once.
THREADS = 16
CHUNK = 1000
PATH_SUFFIX = "_path"  # of the keys under which OpenMMLab's data sets name the files of a sample
PART_KEY = "img_part"  # of an image in an archive: the archive, where in it, and the size
LABEL_KEY = "gt_label"

_known: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()


def data_identity(dataset: Any) -> dict[str, Any]:
    """What decides which samples a data set gives.

    Two copies of a data set in different folders have the same identity. No image is read, so two
    files of one name and one size are not told apart; annotation files are read.

    Args:
        dataset: of OpenMMLab, also repeated, concatenated or otherwise wrapped.

    Returns:
        ``samples``; ``digest``, SHA-256 over names, sizes and labels in their order and over the
        annotation file, None where a data set does not say what its samples are; ``classes``, names
        in the order of the labels.
    """
    found = _known.get(dataset)
    if found is None:
        found = _known[dataset] = _identity(dataset)
    return found


def changed_since(dataset: Any) -> str:
    """In words, how the files of a data set differ from when it was first identified; else empty.

    Its samples are in memory and stay; their files, and the annotation file, may be other ones.
    """
    before = _known.get(dataset)
    return differences(before, _identity(dataset, known=False)) if before else ""


def _identity(dataset: Any, known: bool = True) -> dict[str, Any]:
    """`known`: parts that were identified before are not looked at again."""
    metainfo = getattr(dataset, "metainfo", None) or {}
    classes = [str(name) for name in metainfo.get("classes") or ()]
    parts = getattr(dataset, "datasets", None) or [getattr(dataset, "dataset", None)]
    digest = None
    if parts[0] is not None:
        identity = data_identity if known else partial(_identity, known=False)
        digests = [identity(part)["digest"] for part in parts]
        if len(parts) == 1 and len(parts[0]) == len(dataset):
            digest = digests[0]  # another pipeline, or seeds: the same samples
        elif None not in digests:
            digest = hashlib.sha256("\n".join(digests).encode()).hexdigest()
    elif hasattr(dataset, "get_data_info"):
        digest = _digest(dataset)
    return {"samples": len(dataset), "digest": digest, "classes": classes}


def _digest(dataset: Any) -> str:
    """SHA-256 over the samples of a data set of MMEngine and its annotation file."""
    paths: dict[str, list[str]] = {}
    labels: list[str] = []
    archives: set[str] = set()
    sizes: list[str] = []
    for index in range(len(dataset)):
        sample = dataset.get_data_info(index)
        labels.append(str(sample.get(LABEL_KEY)))
        if part := sample.get(PART_KEY):
            archives.add(part[0])
            sizes.append(str(part[2]))
        for key, value in sample.items():
            if key.endswith(PATH_SUFFIX) and isinstance(value, (str, os.PathLike)):
                paths.setdefault(key, []).append(os.fspath(value))
    digest = hashlib.sha256("\n".join(labels).encode())
    for key in sorted(paths):
        digest.update(f"\n\n{key}\n{files_digest(paths[key])}".encode())
    if archives:
        text = "\n".join([*sizes, files_digest(sorted(archives))])
        digest.update(f"\n\n{PART_KEY}\n{text}".encode())
    annotations = getattr(dataset, "ann_file", None)
    if annotations and isinstance(annotations, str) and os.path.isfile(annotations):
        digest.update(f"\n\n{sha256_of(annotations)}".encode())
    return digest.hexdigest()


def files_digest(paths: Sequence[str]) -> str:
    """SHA-256 over the names and sizes of files.

    Names are relative to the folder that all files have in common, so a copy of the folder has the
    same digest. The size of a file that is not there, or is a part of another one, is left out.
    """
    return files_digests(paths)[0]


def files_digests(paths: Sequence[str]) -> tuple[str, str]:
    """As :func:`files_digest`, and the same with the times at which the files were written."""
    # of strings, in C: the common beginning of all, up to a whole folder
    common = os.path.commonprefix([min(paths), max(paths)]) if paths else ""
    start = common.rfind("/") + 1
    digest, times = hashlib.sha256(), hashlib.sha256()
    for path, (size, time) in zip(paths, _states(paths), strict=True):
        line = f"{path[start:]}\0{size}\n".encode(errors="surrogateescape")
        digest.update(line)
        times.update(line + str(time).encode())
    return digest.hexdigest(), times.hexdigest()


def files_state(dataset: Any) -> str:
    """SHA-256 over names, sizes and times of the files that a data set of MMEngine reads.

    Unlike :func:`data_identity` it is another one of a copy, and where an image was changed.
    """
    samples = (dataset.get_data_info(index) for index in range(len(dataset)))
    paths = (sample.get(PART_KEY, (sample.get("img_path"),))[0] for sample in samples)
    return files_digests(sorted({os.fspath(path) for path in paths if path}))[1]


def _states(paths: Sequence[str]) -> Iterator[tuple[int | str, int]]:
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    with ThreadPoolExecutor(THREADS) as pool:
        yield from chain.from_iterable(pool.map(_states_of, chunks))


def _states_of(paths: Iterable[str]) -> list[tuple[int | str, int]]:
    """Size, and time in nanoseconds, of each file."""
    states: list[tuple[int | str, int]] = []
    for path in paths:
        try:
            found = os.stat(path)
            states.append((found.st_size, found.st_mtime_ns))
        except (OSError, ValueError):
            states.append(("", 0))
    return states


def differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """In words, how a data set differs from what it was; empty where it does not."""
    if before["samples"] != now["samples"]:
        return f"{now['samples']:,} samples, and {before['samples']:,} then"
    if len(before["classes"]) != len(now["classes"]):
        return f"{len(now['classes'])} classes, and {len(before['classes'])} then"
    for index, (old, new) in enumerate(zip(before["classes"], now["classes"], strict=True)):
        if old != new:
            return f"class {index} is {new!r}, and was {old!r} then"
    if None not in (before["digest"], now["digest"]) and before["digest"] != now["digest"]:
        return f"as many samples ({now['samples']:,}) but other files, sizes or labels"
    return ""
