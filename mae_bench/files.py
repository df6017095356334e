"""Files that others rely on: written whole or not at all, known by their hash, read with care."""

import errno
import hashlib
import json
import math
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DIGEST_KEY = "digest"
DISK_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT)
# Exit code of a command that only a full disk was in the way of (EX_TEMPFAIL of sysexits.h).
EXIT_DISK_FULL = 75


def cache_folder() -> Path:
    """Where the user's programs keep what they can make anew; ours may be missing."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "mae_bench")


class DiskFull(ValueError):
    """The disk is full, or the quota used up; there is nothing wrong with what was to be done."""

    @classmethod
    def at(cls, path: str | Path, what: str) -> "DiskFull":
        """The error for a file or folder, with ``what`` could not be written."""
        return cls(
            f"{path}: the disk is full, {what} could not be written; what was there before is "
            "kept. Free some space and start again (training: with --resume)"
        )

    @classmethod
    @contextmanager
    def named(cls, path: str | Path, what: str) -> Iterator[None]:
        """Raise :meth:`at` where the disk is full, of which the system names no file."""
        try:
            yield
        except OSError as error:
            if error.errno not in DISK_FULL_ERRORS:
                raise
            raise cls.at(path, what) from error


def write_atomic(content: bytes | Sequence[bytes | memoryview], path: str | Path) -> None:
    """Write a file so that ``path`` holds either the old or the new content, also after a crash.

    Missing folders are made.

    Args:
        content: of the file, or its pieces in order.
        path: where.

    Raises:
        DiskFull: a ValueError; the disk is full, or the quota used up.
    """
    path = Path(path)
    pieces = [content] if isinstance(content, bytes) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not a file of tempfile: those are private to their owner, and results are for colleagues too.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with DiskFull.named(path, f"{sum(map(len, pieces))} bytes"):
            with temporary.open("xb") as file:
                file.writelines(pieces)
                file.flush()
                os.fsync(file.fileno())
                written = os.fstat(file.fileno())
            try:
                temporary.replace(path)
            except FileNotFoundError:
                # over a network the answer to a successful call may be lost and the call repeated
                if not path.exists() or not os.path.samestat(path.stat(), written):
                    raise
            _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Bring a rename to the disk too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json_atomic(data: Any, path: str | Path) -> None:
    """Write JSON with :func:`write_atomic`.

    Raises:
        TypeError: ``data`` has a value that JSON cannot hold.
        ValueError: ``data`` has a number that is not finite.
    """
    text = json.dumps(data, indent=2, allow_nan=False) + "\n"
    write_atomic(text.encode(), path)


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a file that holds one JSON object, whatever it holds instead.

    Every number in it is finite.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file holds something else; the message names it.
    """
    text = Path(path).read_bytes()
    try:
        data = json.loads(
            text.decode("utf-8"), parse_int=_integer, parse_float=_finite, parse_constant=_finite
        )
    except RecursionError:
        raise ValueError(f"{path}: nested too deeply to be read as JSON") from None
    except ValueError as error:
        reason = "it is empty" if not text.strip() else error
        raise ValueError(f"{path}: unreadable as JSON ({reason})") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path}: holds {type(data).__name__}, not a JSON object")
    return data


def _integer(text: str) -> int:
    """A whole number that a float can stand for too."""
    _finite(text)
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is no finite number")
    return number


def json_digest(data: dict[str, Any]) -> str:
    """SHA-256, hexadecimal, of what a JSON object says, whatever the order of its keys."""
    text = json.dumps(data, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_sealed_json(data: dict[str, Any], path: str | Path) -> None:
    """As :func:`write_json_atomic`, with the digest of everything else under ``digest``."""
    read_again = json.loads(json.dumps(data, allow_nan=False))  # keys that are text
    write_json_atomic({**read_again, DIGEST_KEY: json_digest(read_again)}, path)


def read_sealed_json(path: str | Path) -> dict[str, Any]:
    """As :func:`read_json`, of a file of :func:`write_sealed_json`, without the digest.

    One that has none, as earlier versions wrote, is read too.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or was changed after it was written.
    """
    data = read_json(path)
    digest = data.pop(DIGEST_KEY, None)
    if digest is not None and digest != json_digest(data):
        raise ValueError(
            f"{path}: does not fit its own digest: it was damaged or changed after it was written"
        )
    return data


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
