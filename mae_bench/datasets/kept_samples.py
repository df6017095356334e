"""Lists of samples that one process of a node reads, and all others map into their memory.

A list is kept in the user's cache folder as tensors: the samples in MessagePack one after the
other, and where each ends. Loading it can run no code, and it takes no memory of its own in any
process: the system has its pages once. It holds as long as nothing that it was made from has
changed: the options of the data set, this code, and size and time of change of the files and
folders that were read. A file that is added to a folder, or taken from it, changes the folder's.
"""

import hashlib
import logging
import os
import sys
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import safetensors.numpy
from filelock import FileLock
from mmengine.logging import print_log
from safetensors import SafetensorError, safe_open

from ..files import cache_folder, write_atomic

# What was changed so shortly before it was read may change again without a later time.
GRACE = 2.0  # seconds
# Of a data set, what says nothing of its list; indices choose from it afterwards.
NO_SETTINGS = ("pipeline", "data_list", "max_refetch", "_indices")


class Packed(Sequence):
    """Dicts as bytes in one place, each read when it is asked for.

    Attributes:
        content: MessagePack of one after the other.
        ends: where each ends, behind a 0.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        content, ends = bytearray(), array("q", [0])
        add_to = msgspec.msgpack.Encoder().encode_into
        for row in rows:
            add_to(row, content, -1)  # behind what is there
            ends.append(len(content))
        self.content, self.ends = content, ends

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, index: Any) -> Any:
        return msgspec.msgpack.decode(self.content[self.ends[index] : self.ends[index + 1]])


class KeptSamples:
    """What our large data sets add to MMEngine's ``BaseDataset``, before which it stands.

    Attributes:
        FACTS: attributes that reading sets besides the samples -> what makes them of JSON.
        sources: files and folders that reading looked at.
        is_packed: whether samples are in MessagePack, for all processes; else as MMEngine has them.
    """

    FACTS: Mapping[str, Callable[[Any], Any]] = {}

    sources: list[str]
    is_packed = False
    # of MMEngine
    _fully_initialized: bool
    _indices: int | Sequence[int] | None
    data_list: list[Any]

    def may_be_kept(self) -> bool:
        """Whether the list is so long that keeping it pays, and depends on files here only."""
        raise NotImplementedError

    def kept_settings(self) -> dict[str, Any]:
        """All that the list depends on besides files and code."""
        return {name: value for name, value in vars(self).items() if name not in NO_SETTINGS}

    def facts(self) -> dict[str, Any]:
        """What is known of the data besides its samples."""
        return {name: getattr(self, name) for name in self.FACTS}

    def take_facts(self, facts: Mapping[str, Any]) -> None:
        """Know what another process has read."""
        for name, made_of in self.FACTS.items():
            setattr(self, name, made_of(facts[name]))

    def full_init(self) -> None:
        """Read the samples, or take the list that another process has read and kept."""
        path = None if self._fully_initialized else self._place()
        if path is None:
            super().full_init()  # type: ignore[misc]
            return
        indices, self._indices = self._indices, None
        self.is_packed = True
        try:
            if not self._take(path):
                with _alone(path):
                    if not self._take(path):
                        self._read_and_keep(path)
        finally:
            self._indices = indices
        if indices is not None:
            self._choose(indices)
        self._fully_initialized = True

    def _place(self) -> Path | None:
        """Where the list is kept, by what is asked for; None where it is not.

        What it was made from stands in it, so that a changed one is replaced. Classes outside of
        this package may read what nobody here knows of.
        """
        ours = type(self).__module__.startswith(f"{__package__}.")
        if not ours or not self.serialize_data or not self.may_be_kept():  # type: ignore[attr-defined]
            return None
        data: Any = self
        roots = [os.path.realpath(p) for p in (data.ann_file, *data.data_prefix.values()) if p]
        decides = [type(data).__qualname__, roots, self.kept_settings()]
        try:
            text = msgspec.json.encode(decides, order="deterministic")
        except (TypeError, ValueError):  # an option of a kind that nobody foresaw
            return None
        return cache_folder() / "lists" / f"{hashlib.sha256(text).hexdigest()}.safetensors"

    def _take(self, path: Path) -> bool:
        """Map the list that is kept, where there is one that still holds."""
        try:
            with safe_open(path, framework="pt") as file:
                known = msgspec.json.decode(file.metadata()["known"])
                if known["made_from"] != self._made_from(known["sources"]):
                    return False
                ends, content = (file.get_tensor(name).numpy() for name in ("ends", "content"))
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            return False
        self.take_facts(known["facts"])
        self.data_bytes, self.data_address = content, ends
        return True

    def _made_from(self, sources: Sequence[str]) -> dict[str, Any]:
        """The code, the files and the folders as they are now."""
        kind: Any = type(self)
        return {"code": _code(kind), "state": _state(sources)}

    def _read_and_keep(self, path: Path) -> None:
        data: Any = self
        begun, before = time.time(), _state([data.ann_file])
        try:
            super().full_init()  # type: ignore[misc]
        except (OverflowError, UnicodeEncodeError):  # MessagePack has no such number or name
            self.is_packed = False
            super().full_init()  # type: ignore[misc]
            return
        made_from = self._made_from(self.sources)
        settled = all(one and one[1] < (begun - GRACE) * 1e9 for one in made_from["state"])
        if not settled or _state([data.ann_file]) != before:
            return
        known = {"sources": self.sources, "made_from": made_from, "facts": self.facts()}
        tensors = {"content": data.data_bytes, "ends": data.data_address}
        try:
            about = {"known": msgspec.json.encode(known).decode()}
            write_atomic(safetensors.numpy.save(tensors, about), path)
        except (OSError, ValueError) as error:
            print_log(
                f"{path}: the list of samples is not kept there ({error}), so every process reads "
                "for itself: set XDG_CACHE_HOME to a folder with room",
                logger="current",
                level=logging.WARNING,
            )
            return
        del tensors, data.data_bytes, data.data_address
        self._take(path)

    def _serialize_data(self) -> tuple[np.ndarray, np.ndarray]:
        if not self.is_packed:
            return super()._serialize_data()  # type: ignore[misc]
        packed = Packed(_emptied(self.data_list))
        self.data_list = []
        return np.frombuffer(packed.content, np.uint8), np.array(packed.ends)[1:]

    def _choose(self, indices: int | Sequence[int]) -> None:
        data: Any = self
        starts = np.concatenate([[0], data.data_address[:-1]])
        data.data_list = list(range(len(data.data_address)))
        chosen = data._get_unserialized_subset(indices)
        data.data_list = []
        parts = [data.data_bytes[starts[i] : data.data_address[i]] for i in chosen]
        data.data_address = np.cumsum([len(part) for part in parts])
        data.data_bytes = np.concatenate(parts)

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """One sample, for the caller to change."""
        data: Any = self
        if not self._fully_initialized:
            self.full_init()
        if not self.is_packed:
            return super().get_data_info(idx)  # type: ignore[misc]
        place = range(len(data.data_address))[idx]
        start = data.data_address[place - 1] if place else 0
        sample = msgspec.msgpack.decode(data.data_bytes[start : data.data_address[place]])
        sample["sample_idx"] = place
        return sample


def _emptied(rows: list[Any]) -> Iterator[Any]:
    """Rows one by one, each let go afterwards."""
    for place, row in enumerate(rows):
        rows[place] = None
        yield row


def _state(paths: Sequence[str]) -> list[list[int]]:
    """Size and time of change of files, the time of folders; empty for what is not there."""
    found: list[list[int]] = []
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            found.append([])
            continue
        found.append([0 if os.path.isdir(path) else status.st_size, status.st_mtime_ns])
    return found


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait until no other process makes this list; where nothing can be locked, do not."""
    lock = FileLock(path.with_suffix(".lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except (OSError, NotImplementedError):
        pass
    try:
        yield
    finally:
        lock.release()


@cache
def _code(kind: Any) -> str:
    """SHA-256 of the code that reads a list: the class's bases, and all readers beside them."""
    modules = {sys.modules[base.__module__] for base in kind.__mro__}
    files = {str(getattr(module, "__file__", None) or "") for module in modules}
    files |= {str(path) for path in Path(__file__).parent.glob("*.py")}
    digest = hashlib.sha256()
    for file in sorted(files - {""}):
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()
