"""Downloads: whole under their name or not at all, and on from where they stopped."""

import os
from collections.abc import Callable
from pathlib import Path

from .files import DiskFull

NOTHING_LEFT = 416  # HTTP: the range begins behind the end


def download(url: str, path: Path, check: Callable[[Path], object], resume: bool) -> None:
    """Fetch a file, unless another process has done so meanwhile.

    Args:
        url: its address.
        path: where it appears once it is whole; what has come so far is kept beside it.
        check: raises ValueError of a file that is not the right one, which is then removed.
        resume: go on after what has come already; only where something tells whether that fits.

    Raises:
        ConnectionError: it cannot be had from there.
        DiskFull: there is no room for it.
        ValueError: of ``check``.
    """
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        if path.is_file():
            return
        part = path.with_name(f".{path.name}.part")
        try:
            with DiskFull.named(part, "what comes from there"):
                _get(url, part, resume)
        except DiskFull:
            raise
        except Exception as error:  # of whatever library and layer of the network
            raise ConnectionError(f"{type(error).__name__}") from error
        try:
            check(part)
        except ValueError:
            part.unlink()
            raise
        part.replace(path)


def _get(url: str, part: Path, resume: bool) -> None:
    from huggingface_hub.file_download import http_get

    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
        raise ConnectionError("HF_HUB_OFFLINE is set")
    with part.open("ab" if resume else "wb") as file:
        try:
            http_get(url, file, resume_size=file.tell())
        except Exception as error:
            # There is no more than what was fetched already.
            if getattr(getattr(error, "response", None), "status_code", None) != NOTHING_LEFT:
                raise
