"""From the archives of a data set, as its owner publishes them, to the folders that recipes read.

An archive is untrusted: a path out of the folder, a link, or more content than it can honestly have
is an error. A file appears under its name once it is whole: what was killed goes on where it was.
"""

import gzip
import hashlib
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import yaml

from ..download import download
from ..files import DiskFull
from .archives import DEVKIT, check_end, devkit_labels

SETS_FILE = Path(__file__).with_name("published_sets.yaml")
DONE, PARTS = ".prepared", ".preparing"
CHUNK = 1 << 22
LARGE = 1 << 26  # bytes of a file that is not held in memory
MOST_EXPANSION = 100  # of an archive, unpacked; of images it is 1, of annotations some 10
WRITERS = 8
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, gzip.BadGzipFile)
Entry = tuple[str, int, BinaryIO]  # name, size, content
Told = Callable[[str], None]


def published_sets() -> dict[str, dict[str, Any]]:
    """What ``published_sets.yaml`` says, by name."""
    return yaml.safe_load(SETS_FILE.read_text(encoding="utf-8"))


def prepare(
    name: str, archives: Path, root: Path, say: Told = print, download: bool = False
) -> Path:
    """Put a data set where its recipes look for it; what is done already stays.

    Args:
        name: of :func:`published_sets`.
        archives: folder with its archives, or with the set unpacked, which is then linked.
        root: ``data`` of the recipes.
        say: told each step.
        download: get archives that are missing, where the owner has a public address.

    Returns:
        the folder.

    Raises:
        FileNotFoundError: an archive is missing.
        ValueError: unknown name, too little space, or an archive is damaged, another, or malicious.
    """
    known = published_sets()
    if name not in known:
        raise ValueError(f"no data set {name!r}: there are {', '.join(known)}")
    entry = known[name]
    folder = root / entry["folder"]
    folder.mkdir(parents=True, exist_ok=True)
    _link(entry, archives, folder, say)
    for file, how in entry["archives"].items():
        done = folder / DONE / file
        path = archives / file
        if done.is_file():
            say(f"{file}: unpacked already ({done})")
            continue
        given = [folder / target for target in how.get("gives", ())]
        if given and all(map(Path.exists, given)) and not (folder / PARTS / file).exists():
            say(f"{file}: not needed, there is {given[0]}")
            continue
        fetch = download and not path.is_file()
        if fetch:
            _download(how, path, entry, say)
        if not path.is_file():
            linked = entry.get("linked", {})
            places = [archives / place for name in how.get("gives", ()) for place in linked[name]]
            raise FileNotFoundError(
                f"{path}: no such archive; get it from {entry['page']} ({entry['licence']})"
                + (f", or unpack it as {' or '.join(map(str, places))}" if places else "")
            )
        _check_space(path, folder)
        if "md5" in how and not fetch:  # a download compares it itself
            say(f"{file}: comparing its checksum")
            check_md5(path, how["md5"])
        say(f"{file}: unpacking into {folder / how.get('into', '')}")
        try:
            with DiskFull.named(folder, f"what is in {file}"):
                count = _unpack(path, how, folder, archives)
        except DAMAGED as error:
            raise ValueError(f"{path}: is cut off or damaged ({error}): get it again") from None
        done.parent.mkdir(exist_ok=True)
        done.write_text(f"{path.stat().st_size} bytes, {count} files\n", encoding="utf-8")
    return folder


def _link(entry: Mapping[str, Any], archives: Path, folder: Path, say: Told) -> None:
    """Link what lies unpacked in another place."""
    for name, places in entry.get("linked", {}).items():
        target = folder / name
        for place in places:
            found = archives / place
            if not target.exists() and found.exists() and found.resolve() != target.resolve():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(found.resolve())
                say(f"{target}: linked to {found}")


def _download(how: Mapping[str, Any], path: Path, entry: Mapping[str, Any], say: Told) -> None:
    url = how.get("url")
    if url is None:
        raise FileNotFoundError(
            f"{path}: no such archive, and its owner has no public address: get it from "
            f"{entry['page']} ({entry['licence']})"
        )

    def check(part: Path) -> None:
        if "md5" in how:
            check_md5(part, how["md5"])

    say(f"{path.name}: downloading from {url}")
    # What was fetched in parts has to have a checksum, its own or a published one.
    try:
        download(url, path, check, resume="md5" in how or path.suffix in (".zip", ".gz", ".tgz"))
    except ConnectionError as error:
        raise ValueError(
            f"{url}: cannot be downloaded ({error}); the same command goes on where it stopped"
        ) from None


def check_md5(path: Path, expected: str) -> None:
    """Raise ValueError where a file has another checksum."""
    with path.open("rb") as file:
        digest = hashlib.md5(usedforsecurity=False)
        while block := file.read(CHUNK):
            digest.update(block)
    if digest.hexdigest() != expected:
        raise ValueError(
            f"{path}: its MD5 is {digest.hexdigest()}, the published archive has {expected}: get "
            "it again"
        )


def _check_space(path: Path, folder: Path) -> None:
    need, free = path.stat().st_size, shutil.disk_usage(folder).free
    if free < need:
        raise ValueError(
            f"{folder}: {free / 1e9:.1f} GB are free, {path.name} has {need / 1e9:.1f} GB: make "
            "room, or choose another --root"
        )


def _unpack(path: Path, how: Mapping[str, Any], folder: Path, archives: Path) -> int:
    """Unpack one archive; the number of files in it."""
    labels = devkit_labels(archives / DEVKIT) if how.get("labels") else None
    final = folder / how.get("into", "")
    parts = folder / PARTS / path.name
    limit = MOST_EXPANSION * path.stat().st_size
    count = 0
    with ThreadPoolExecutor(WRITERS) as pool:
        waiting: list[Future[None]] = []
        for name, size, stream in _entries(path, bool(how.get("inner"))):
            name = safe_name(name, path)
            if only := how.get("only"):
                _, found, name = f"/{name}".partition(f"/{only}/")
                if not found:
                    continue
            if how.get("flat"):
                name = PurePosixPath(name).name
            if labels is not None:
                name = f"{_label_of(name, labels, path)}/{PurePosixPath(name).name}"
            count += 1
            limit -= size
            if limit < 0:
                raise ValueError(
                    f"{path}: unpacks to more than {MOST_EXPANSION} times its size: not what it "
                    "should be"
                )
            if any(_size_of(place / name) == size for place in (final, parts)):
                continue
            if size > LARGE:
                _write(parts / name, stream, size, path)
            else:
                content = stream.read(size)
                if len(content) != size:
                    raise ValueError(f"{path}: is cut off in {name}: get it again")
                waiting.append(pool.submit(_write_bytes, parts / name, content))
            if len(waiting) > 4 * WRITERS:
                waiting.pop(0).result()
        for future in waiting:
            future.result()
    _check_given(path, how, folder, parts)
    if parts.is_dir():
        _move(parts, final)
        parts.rmdir()
        if not any((folder / PARTS).iterdir()):
            (folder / PARTS).rmdir()
    return count


def _check_given(path: Path, how: Mapping[str, Any], folder: Path, parts: Path) -> None:
    """Raise ValueError where an archive has not unpacked to what it should give."""
    for target in how.get("gives", ()):
        unpacked = parts / os.path.relpath(target, how.get("into", ""))
        if not unpacked.exists() and not (folder / target).exists():
            names = sorted(e.name for e in parts.iterdir()) if parts.is_dir() else []
            shutil.rmtree(parts, ignore_errors=True)
            raise ValueError(
                f"{path}: has no {how.get('only', target)} in it, but "
                f"{', '.join(names[:3]) or 'nothing'}{', ...' * (len(names) > 3)}: it is another "
                "archive; get the one of this name"
            )


def _entries(path: Path, inner: bool) -> Iterator[Entry]:
    if path.suffix == ".zip":
        yield from _zip_entries(path)
    elif path.name.endswith((".tar.gz", ".tgz")):
        with gzip.open(path, "rb") as stream:
            yield from _tar_entries(stream, path, "r|", inner)
            while stream.read(CHUNK):  # so that its checksum is compared
                pass
    else:
        with path.open("rb") as file:
            yield from _tar_entries(file, path, "r:", inner)


def _tar_entries(file: Any, path: Path, mode: Any, inner: bool, above: str = "") -> Iterator[Entry]:
    with tarfile.open(fileobj=file, mode=mode) as tar:
        for entry in tar:
            tar.members.clear()  # type: ignore[attr-defined]  # or all are kept
            if entry.isdir():
                continue
            if not entry.isfile():
                raise ValueError(f"{path}: {entry.name} is a link or device, not a file")
            stream: Any = tar.extractfile(entry)
            if inner and entry.name.endswith(".tar"):
                folder = PurePosixPath(entry.name).stem
                yield from _tar_entries(stream, path, mode, False, f"{folder}/")
            else:
                yield f"{above}{entry.name}", entry.size, stream
        if mode == "r:":
            check_end(file, tar.offset, f"{path}{':' * bool(above)}{above}")


def _zip_entries(path: Path) -> Iterator[Entry]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.is_dir():
                continue
            if stat.S_ISLNK(entry.external_attr >> 16) or entry.flag_bits & 1:
                raise ValueError(f"{path}: {entry.filename} is a link, or encrypted, not a file")
            with archive.open(entry) as stream:
                yield entry.filename, entry.file_size, stream  # type: ignore[misc]


def safe_name(name: str, path: Path) -> str:
    """A name in an archive, which stays below the folder.

    Raises:
        ValueError: it leads out of it.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in parts[0]:
        raise ValueError(f"{path}: {name!r} leads out of the folder: not what it should be")
    if parts[0] in (DONE, PARTS):
        raise ValueError(f"{path}: {name!r} is a name of ours: not what it should be")
    return "/".join(parts)


def _label_of(name: str, labels: Mapping[str, str], path: Path) -> str:
    base = PurePosixPath(name).name
    if base not in labels:
        raise ValueError(f"{path}: {name} has no label in {DEVKIT}")
    return labels[base]


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _write_bytes(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    part.replace(path)


def _write(path: Path, stream: BinaryIO, size: int, archive: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        shutil.copyfileobj(stream, file, CHUNK)
    if part.stat().st_size != size:
        raise ValueError(f"{archive}: is cut off in {path.name}: get it again")
    part.replace(path)


def _move(parts: Path, final: Path) -> None:
    """Move what is in one folder into another: whole folders where they are not there yet."""
    final.mkdir(parents=True, exist_ok=True)
    for entry in sorted(parts.iterdir()):
        target = final / entry.name
        if entry.is_dir() and target.is_dir():
            _move(entry, target)
            entry.rmdir()
        else:
            os.replace(entry, target)
