"""MiniWorld on disk: one small generated world in the layouts of the real datasets.

``build`` writes ImageNet, ImageNet-C, COCO and ADE20K side by side under one root, once; the scenes
themselves are made in ``miniworld_scenes``. See docs/miniworld.md for the dataset card.
"""

import hashlib
import json
import shutil
import sys
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from mae_bench.datasets.identity import files_digest
from mae_bench.datasets.miniworld import layouts as layouts
from mae_bench.datasets.miniworld import scenes as scenes
from mae_bench.datasets.miniworld.layouts import (
    CLASS_FOLDERS,
    CLASS_NAMES,
    SEGMENTATION_CLASSES,
    VERSION,
    Job,
    MiniWorldSize,
)
from mae_bench.datasets.miniworld.scene_corruptions import CONSTANTS
from mae_bench.files import read_json

__all__ = [
    "CLASS_FOLDERS",
    "CLASS_NAMES",
    "DEFAULT_ROOT",
    "SEGMENTATION_CLASSES",
    "VERSION",
    "MiniWorldSize",
    "build",
    "check_contents",
    "content_hash",
]

DEFAULT_ROOT = "data/miniworld"
_CHUNK = 250
"""Pictures of a job: few enough that the processes finish together."""


def build(
    root: str | Path = DEFAULT_ROOT,
    seed: int = 0,
    processes: int = 2,
    size: MiniWorldSize | None = None,
) -> dict[str, Any]:
    """Write MiniWorld to ``root`` unless it is there already.

    The files depend on the seed and the size only, never on ``processes``. They are written to a
    hidden folder beside ``root`` that takes its place when complete, so ``root`` is never half
    written and several processes may build at once.

    Args:
        root: folder to make; parents are made too.
        seed: of the generator, 0 or more.
        processes: how many to share the work; 1 works in this one. More start through ``spawn``, so
            a script that calls this needs the usual ``if __name__ == "__main__"``.
        size: how many pictures; the usual world when None.

    Returns:
        What ``dataset.json`` says: name, version, settings, number of files, SHA-256.

    Raises:
        ValueError: ``root`` holds something else, or MiniWorld with other settings; a negative
            seed; ``processes`` below 1.
    """
    if seed < 0 or processes < 1:
        raise ValueError(f"seed={seed} must be 0 or more and processes={processes} 1 or more")
    root, size = Path(root).resolve(), size or MiniWorldSize()
    wanted = _settings(seed, size)
    present = _present(root, wanted)
    if present is not None:
        return present
    root.parent.mkdir(parents=True, exist_ok=True)
    partial = root.parent / f".{root.name}.partial-{uuid.uuid4().hex}"
    try:
        partial.mkdir()
        _write(partial, seed, size, processes)
        described = {
            "name": "MiniWorld",
            "version": VERSION,
            "settings": wanted,
            "files": sum(1 for _ in _files(partial)),
            "sha256": content_hash(partial),
            "sizes": _sizes(partial),
        }
        layouts.write_text(partial / "dataset.json", json.dumps(described, indent=2) + "\n")
        try:
            partial.rename(root)
        except OSError:
            # Another process may have finished first; anything else in the way is an error.
            present = _present(root, wanted)
            if present is None:
                raise
            return present
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return described


def content_hash(root: str | Path) -> str:
    """SHA-256 over relative paths and contents of all files but ``dataset.json``, sorted by path.

    It compares folders made with the same versions of OpenCV, Pillow and NumPy; another version of
    the JPEG encoder alone may give other bytes.
    """
    root = Path(root)
    digest = hashlib.sha256()
    for path in _files(root):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def check_contents(folder: str | Path) -> None:
    """Compare every byte of MiniWorld with what was built; nothing where `folder` is none of it.

    Args:
        folder: MiniWorld, or one of its layouts.

    Raises:
        ValueError: a file is damaged, missing or new.
    """
    for root in (Path(folder), Path(folder).parent):
        description = root / "dataset.json"
        present = read_json(description) if description.is_file() else {}
        if present.get("name") == "MiniWorld" and present.get("sha256") != content_hash(root):
            raise ValueError(
                f"{root}: its files are not those that were built, one is damaged, missing or new; "
                "remove it and build it again (make data)"
            )


def _files(root: Path) -> Iterator[Path]:
    paths = (p for p in root.rglob("*") if p.is_file() and p != root / "dataset.json")
    return iter(sorted(paths, key=lambda path: path.relative_to(root).as_posix()))


def _sizes(root: Path) -> str:
    """Digest of names and sizes of all files, which is quick to compare each time."""
    return files_digest([str(path) for path in _files(root)])


def _settings(seed: int, size: MiniWorldSize) -> dict[str, Any]:
    """Everything that decides the files, as JSON gives it back."""
    settings = {
        "seed": seed,
        "size": asdict(size),
        "train_pixels": layouts.TRAIN_SIZE,
        "val_pixels": layouts.VAL_SIZE,
        "digit_side": layouts.DIGIT_SIDE,
        "scene_pixels": layouts.SCENE_SIZE,
        "scene_digit_side": layouts.SCENE_DIGIT_SIDE,
        "scene_digits": layouts.SCENE_DIGITS,
        "jpeg_quality": layouts.JPEG_QUALITY,
        "corrupted_jpeg_quality": layouts.CORRUPTED_JPEG_QUALITY,
        "corruptions": CONSTANTS,
        "photographs": scenes.PHOTOGRAPHS,
        "background_brightness": scenes.BACKGROUND_BRIGHTNESS,
        "saturation": scenes.SATURATION,
        "dark_on_light": scenes.DARK_ON_LIGHT,
        "photograph_split": {"train_share": scenes.TRAIN_SHARE, "val_start": scenes.VAL_START},
        "digit_split": {"seed": scenes.DIGIT_SPLIT_SEED, "train": scenes.DIGITS_TRAIN},
    }
    return json.loads(json.dumps(settings))


def _present(root: Path, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """What lies at ``root`` if it is the wanted world, None if nothing does.

    Raises:
        ValueError: something else lies there, or files of it are missing or of another size.
    """
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return None
    description = root / "dataset.json"
    if not description.is_file():
        raise ValueError(
            f"{root} exists and is not MiniWorld (no dataset.json); nothing was written, choose "
            "another folder"
        )
    try:
        present = json.loads(description.read_text())
    except ValueError as error:
        raise ValueError(f"{description} is not readable JSON ({error}); remove {root}") from None
    if not isinstance(present, dict) or present.get("name") != "MiniWorld":
        raise ValueError(f"{description} is not MiniWorld's; choose another folder than {root}")
    found = {"version": present.get("version"), **present.get("settings", {})}
    asked = {"version": VERSION, **wanted}
    if found != asked:
        changed = [key for key in asked if found.get(key) != asked[key]]
        differences = "; ".join(f"{k} {found.get(k)} instead of {asked[k]}" for k in changed)
        raise ValueError(
            f"{root} holds MiniWorld with other settings ({differences}); remove it or choose "
            "another folder"
        )
    whole = present.get("sizes") == _sizes(root) or (
        # of a version that did not keep them: contents tell
        "sizes" not in present and present.get("sha256") == content_hash(root)
    )
    if not whole:
        raise ValueError(
            f"{root}: files are missing, new or of another size than when it was built; remove "
            "it and build it again (make data)"
        )
    return present


def _write(root: Path, seed: int, size: MiniWorldSize, processes: int) -> None:
    layouts.make_folders(root)
    jobs = [
        Job(root, seed, size, kind, split, start, min(start + _CHUNK, count))
        for kind, split, count in (
            # The slowest first, so that the processes finish together.
            ("pictures", "val", size.val_images),
            ("scenes", "train", size.train_scenes),
            ("scenes", "val", size.val_scenes),
            ("pictures", "train", size.train_images),
        )
        for start in range(0, count, _CHUNK)
    ]
    annotations: dict[str, list[dict[str, Any]]] = {split: [] for split in scenes.SPLITS}
    for job, found in zip(jobs, _progress(_run_all(jobs, processes), len(jobs)), strict=True):
        annotations[job.split] += found
    layouts.write_lists(root, size)
    for split in scenes.SPLITS:
        layouts.write_coco_json(root, split, size, annotations[split])


def _run_all(jobs: list[Job], processes: int) -> Iterator[list[dict[str, Any]]]:
    if processes == 1:
        yield from map(layouts.run, jobs)
        return
    # Forking a process in which PyTorch has started threads can hang.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(layouts.run, jobs)


def _progress(results: Iterator[list[dict[str, Any]]], total: int) -> Iterable:
    return track(
        results,
        description="MiniWorld",
        total=total,
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
