"""A look at every file of a data set, in threads, with memory of what was seen before."""

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from mmseg.datasets import BaseSegDataset

from ..files import cache_folder
from .archives import read_part
from .findings import Findings
from .imagenet_s import ImageNetS
from .loading import LoadImageTensor
from .mask_labels import MaskLabels
from .masks import read_mask
from .orientation import Orientations
from .reading import BrokenImage, decode_tensor, read_image, stored_size

Part = tuple[str, int, int]  # archive, offset, size
IN_FLIGHT = 1000
MEMORY_NAME = "seen_files.sqlite"


class Memory:
    """Verdicts on files, by path, size and time of change; forgotten where any of them changes.

    Args:
        path: SQLite file; None: nothing is remembered.
    """

    def __init__(self, path: Path | None) -> None:
        self.table = None
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.table = sqlite3.connect(path, timeout=60)
            self.table.execute(
                "CREATE TABLE IF NOT EXISTS seen (path TEXT, kind TEXT, size INTEGER, "
                "changed INTEGER, verdict TEXT, PRIMARY KEY (path, kind))"
            )
        except (OSError, sqlite3.Error):  # read-only, or no database: looking again is only slower
            self.table = None

    def recall(self, path: str, kind: str, status: os.stat_result) -> dict[str, Any] | None:
        """The verdict on a file as it is now."""
        if self.table is None:
            return None
        row = self.table.execute(
            "SELECT verdict FROM seen WHERE path = ? AND kind = ? AND size = ? AND changed = ?",
            (path, kind, status.st_size, status.st_mtime_ns),
        ).fetchone()
        return json.loads(row[0]) if row else None

    def keep(self, path: str, kind: str, status: os.stat_result, verdict: dict[str, Any]) -> None:
        """Remember a verdict."""
        if self.table is not None:
            self.table.execute(
                "INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?, ?)",
                (path, kind, status.st_size, status.st_mtime_ns, json.dumps(verdict)),
            )

    def save(self) -> None:
        """Bring it to the disk."""
        if self.table is not None:
            self.table.commit()


def default_memory() -> Path:
    """Where verdicts are kept: in the user's cache folder."""
    return cache_folder() / MEMORY_NAME


def look(path: str, kind: str, part: Part | None = None) -> dict[str, Any]:
    """Decode one file: size and orientation of an image, or size and labels of a mask."""
    try:
        if part is not None:
            image = decode_tensor(path, read_part(part))
            return {"size": (image.shape[2], image.shape[1]), "orientation": 1}
        if kind == "mask":
            labels = read_mask(path)
            stored = np.flatnonzero(np.bincount(labels.ravel(), minlength=256)).tolist()
            return {"size": labels.shape[::-1], "labels": stored}
        if kind == "tensor":
            decode_tensor(path)
        else:
            read_image(path)
        size, orientation = stored_size(path)
        return {"size": size, "orientation": orientation}
    except (BrokenImage, FileNotFoundError) as error:
        return {"error": str(error)}


def look_at_all(
    wanted: Sequence[tuple[str, str]],
    memory: Memory,
    parts: Mapping[str, Part],
    workers: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Verdicts on (path, kind), in their order; of paths in archives ``parts`` says where."""

    def fresh(entry: tuple[str, str]) -> dict[str, Any]:
        return look(*entry, parts.get(entry[0]))

    pending = iter(wanted)
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        while batch := list(islice(pending, IN_FLIGHT)):
            found: list[Any] = []
            for path, kind in batch:
                try:
                    status = os.stat(parts[path][0] if path in parts else path)
                except OSError:
                    found.append(({"error": f"{path}: no such file"}, None))
                    continue
                known = memory.recall(path, kind, status)
                found.append((known or pool.submit(fresh, (path, kind)), status))
            for (path, kind), (verdict, status) in zip(batch, found, strict=True):
                if not isinstance(verdict, dict):
                    verdict = verdict.result()
                    if "error" not in verdict:
                        memory.keep(path, kind, status, verdict)
                yield verdict
            memory.save()


def check_files(
    dataset: Any,
    samples: Sequence[dict[str, Any]],
    sizes: Orientations,
    tally: MaskLabels | None,
    memory: Memory,
) -> Iterator[Findings | None]:
    """Look at the files of some samples.

    Args:
        dataset: for how it reads, and what its sizes mean.
        samples: of its ``get_data_info``.
        sizes: of images and annotations, filled here.
        tally: of the labels of masks, filled here; None where there are none.
        memory: of earlier looks.

    Yields:
        None after each file, for a progress bar, and at last what was found.
    """
    steps = getattr(getattr(dataset, "pipeline", None), "transforms", ())
    kind = "tensor" if any(isinstance(step, LoadImageTensor) for step in steps) else "array"
    masks = isinstance(dataset, BaseSegDataset) and not isinstance(dataset, ImageNetS)
    wanted = [(sample["img_path"], kind) for sample in samples]
    if masks:
        wanted += [(s["seg_map_path"], "mask") for s in samples if "seg_map_path" in s]
    parts = {s["img_path"]: s["img_part"] for s in samples if "img_part" in s}
    verdicts: dict[tuple[str, str], dict[str, Any]] = {}
    broken: dict[str, list[str]] = {"images": [], "masks": []}
    for entry, verdict in zip(wanted, look_at_all(wanted, memory, parts), strict=True):
        verdicts[entry] = verdict
        if "error" in verdict:
            broken["masks" if entry[1] == "mask" else "images"].append(verdict["error"])
        yield None
    findings = Findings()
    for what, cases in broken.items():
        findings.wrong(cases, f"{what} cannot be used", "unpack or download them again")
    for sample in samples:
        image = verdicts[sample["img_path"], kind]
        mask = verdicts.get((sample.get("seg_map_path", ""), "mask"), {})
        if "error" not in image:
            stated = _stated(sample, mask)
            sizes.add(sample, tuple(image["size"]), image["orientation"], stated)
        if tally is not None and "labels" in mask:
            tally.add(sample["seg_map_path"], mask["labels"])
    sizes.tell(findings)
    yield findings


def _stated(sample: dict[str, Any], mask: dict[str, Any]) -> tuple[int, int] | None:
    if "size" in mask:
        return tuple(mask["size"])  # type: ignore[return-value]
    if "height" in sample and "width" in sample:
        return sample["width"], sample["height"]
    return None
