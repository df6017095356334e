"""Checkpoints by name: what is known of each, and its file, in the checkpoint folder or fetched."""

import hashlib
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from ..download import download
from ..files import DiskFull

FOLDER_VARIABLE = "MAE_BENCH_CHECKPOINTS"
DATA = Path(__file__).with_name("known_checkpoints.yaml")
CHUNK = 1 << 20


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
    try:
        download(known.address, known.file, known.check, resume=known.hash is not None)
    except ConnectionError as error:
        raise FileNotFoundError(
            f"{known.file}: not there, and it cannot be had from {known.address} ({error}): put "
            f"the file ({known.size}) there, or connect"
        ) from None
    except DiskFull:
        raise
    except ValueError:
        raise ValueError(
            f"{known.address}: what came has not the published hash {known.hash} "
            f"({known.source}); it was removed, try again"
        ) from None
    return known.file
