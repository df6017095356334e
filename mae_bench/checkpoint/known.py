"""Checkpoints by name: what is known of each, and its file, in the checkpoint folder or fetched."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER_VARIABLE = "MAE_BENCH_CHECKPOINTS"
DATA = Path(__file__).with_name("known_checkpoints.yaml")
CHUNK = 1 << 20
NOTHING_LEFT = 416  # HTTP: the range begins behind the end


@dataclass(frozen=True)
class Known:
    """A public checkpoint; the head of ``known_checkpoints.yaml`` says what each value is."""

    name: str
    address: str
    hash: str | None
    megabytes: int | None
    licence: str | None
    source: str
    format: str
    method: str
    data: str
    epochs: int | None

    @property
    def file_name(self) -> str:
        """Name of its file."""
        return self.address.rpartition("/")[2]

    @property
    def file(self) -> Path:
        """Its place in the checkpoint folder."""
        return Path(os.environ.get(FOLDER_VARIABLE, "checkpoints"), self.file_name)

    @property
    def size(self) -> str:
        """For a person: ``"about 343 MB"``."""
        return f"about {self.megabytes:,} MB" if self.megabytes else "size not published"

    def fits(self, path: Path) -> bool:
        """Whether a file has the published hash; also where none is published."""
        if self.hash is None:
            return True
        algorithm, start = self.hash.split(":")
        digest = hashlib.new(algorithm)
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
        return digest.hexdigest().startswith(start)

    def check(self, path: Path) -> Path:
        """The file, which has the published hash.

        Raises:
            ValueError: it has another one.
        """
        if not self.fits(path):
            raise ValueError(
                f"{path}: is not {self.name}, whose hash begins with {self.hash} ({self.source}): "
                f"remove it and fetch {self.address} again"
            )
        return path


@cache
def known_checkpoints() -> dict[str, Known]:
    """All that can be named, by name."""
    entries = yaml.safe_load(DATA.read_text(encoding="utf-8"))
    return {name: Known(name, **values) for name, values in entries.items()}


def list_checkpoints() -> list[Known]:
    """All that can be named."""
    return list(known_checkpoints().values())


def known_table() -> str:
    """All of them as a table in Markdown."""
    lines = ["| name | trained | format | size, MB | hash | licence |", "|---|---|---|---|---|---|"]
    for known in known_checkpoints().values():
        length = f", {known.epochs} epochs" if known.epochs else ""
        hashed = f"`{known.hash}`" if known.hash else "none published"
        lines.append(
            f"| [`{known.name}`]({known.address}) | {known.method}, {known.data}{length} | "
            f"`{known.format}` | {known.megabytes or 'not published'} | {hashed} | "
            f"{known.licence or 'not stated'} |"
        )
    return "\n".join(lines)


def find_known(checkpoint: str) -> Known | None:
    """What a name stands for; None for a path.

    Raises:
        ValueError: it begins like a name, and is none.
    """
    known = known_checkpoints()
    families = {name.partition(":")[0] for name in known}
    if checkpoint not in known and checkpoint.partition(":")[0] in families and ":" in checkpoint:
        near = [name for name in known if name.startswith(checkpoint.partition(":")[0] + ":")]
        raise ValueError(f"{checkpoint}: no such checkpoint; known are {', '.join(near)}")
    return known.get(checkpoint)


def describe_missing(checkpoint: str) -> str:
    """What is not there, and for a name how large it is and where to get it."""
    known = find_known(checkpoint)
    if known is None:
        return checkpoint
    return f"{known.file} ({known.name}, {known.size}, from {known.address})"


def identify(path: Path) -> Known | None:
    """The known checkpoint that a file is, by its name and its published hash."""
    for known in known_checkpoints().values():
        if known.hash and path.name.endswith(known.file_name) and known.fits(path):
            return known
    return None


def fetch_known(known: Known) -> Path:
    """The file of a known checkpoint; fetched into the checkpoint folder where it is not there.

    An interrupted download goes on where it stopped. The file appears under its name only when it
    is whole and has the published hash.

    Raises:
        FileNotFoundError: it is not there, and there is no network.
        ValueError: another hash than the published one.
    """
    if known.file.is_file():
        return known.check(known.file)
    known.file.parent.mkdir(parents=True, exist_ok=True)
    with _alone(known.file):
        if known.file.is_file():  # another process has fetched it meanwhile
            return known.check(known.file)
        part = known.file.with_name(f".{known.file.name}.part")
        try:
            _download(known, part)
        except Exception as error:  # of whatever library and layer of the network
            raise FileNotFoundError(
                f"{known.file}: not there, and it cannot be had from {known.address} "
                f"({type(error).__name__}): put the file ({known.size}) there, or connect"
            ) from None
        try:
            known.check(part)
        except ValueError:
            part.unlink()
            raise ValueError(
                f"{known.address}: what came has not the published hash {known.hash} "
                f"({known.source}); it was removed, try again"
            ) from None
        part.replace(known.file)
    return known.file


def _download(known: Known, part: Path) -> None:
    """Fetch into a file; after what it holds already, where a hash will tell whether that fits."""
    from huggingface_hub.file_download import http_get

    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
        raise ConnectionError("HF_HUB_OFFLINE is set")
    with part.open("ab" if known.hash else "wb") as file:
        try:
            http_get(known.address, file, resume_size=file.tell())
        except Exception as error:
            # There is no more than what was fetched already.
            if getattr(getattr(error, "response", None), "status_code", None) != NOTHING_LEFT:
                raise


@contextmanager
def _alone(path: Path) -> Iterator[Any]:
    """Let one process at a time fetch a file."""
    from filelock import FileLock

    with FileLock(path.with_name(f".{path.name}.lock")) as lock:
        yield lock
