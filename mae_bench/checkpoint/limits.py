"""Bounds on untrusted files: one clear line, before what they claim to hold takes the memory."""

import io
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

from .integrity import archive_damage
from .pickle_bounds import find_excess

# The largest ViT with its decoder, teacher and optimizer has about 3,000 tensors.
MAX_TENSORS = 100_000
# Names, shapes and types of so many, in a header or in the directory of an archive.
MAX_DIRECTORY_BYTES = 16 << 20
# Trained weights hardly compress, and few of them are stored once and used several times.
MAX_EXPANSION = 20
EXPANSION_SLACK = 1 << 20  # what a small file may unpack to anyway

DTYPES = {
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
}


def check_header(path: Path) -> None:
    """Refuse a safetensors file whose header alone is huge (ValueError)."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if MAX_DIRECTORY_BYTES < size <= path.stat().st_size:
        raise ValueError(
            f"{path}: a header of {size >> 20} MiB names far more tensors than a checkpoint has"
        )


def check_archive(path: Path) -> list[zipfile.ZipInfo]:
    """Directory of a ZIP archive, without unpacking anything.

    Raises:
        ValueError: a damaged archive, or one that unpacks to far more than its size.
    """
    if _directory_bytes(path) > MAX_DIRECTORY_BYTES:
        raise ValueError(f"{path}: its archive has far more entries than a checkpoint has tensors")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except Exception as error:  # a damaged archive can fail in any way
        raise ValueError(f"{path}: truncated, or no archive ({error}); fetch it again") from None
    if len(entries) > MAX_TENSORS:
        raise ValueError(f"{path}: {len(entries):,} entries, far more than a checkpoint has")
    _check_expansion(path, sum(entry.file_size for entry in entries))
    return entries


def check_pickles(path: Path, number: int = 5) -> set[str]:
    """Refuse a pickle or file of ``torch.save`` that rebuilds far more than a checkpoint has.

    Args:
        path: the file.
        number: pickles at its start, if it is no archive. Before 1.6 PyTorch wrote magic number,
            protocol and system, then the content and the names of its storages.

    Returns:
        dotted names of the classes and functions that the pickles ask for.

    Raises:
        ValueError: far more instructions, or far larger objects; or a damaged file.
    """
    limit = _expansion_limit(path)
    names: set[str] = set()
    with path.open("rb") as file:
        try:
            # As PyTorch tells them apart.
            archived = file.read(4) == b"PK\3\4"
            file.seek(0)
            streams = _archived_pickles(path) if archived else [file] * number
            excesses = (find_excess(stream, limit, names) for stream in streams)
            excess = next(filter(None, excesses), None)
        except Exception as error:  # a damaged pickle can fail in any way
            if str(error).startswith(f"{path}: "):
                raise
            raise ValueError(
                f"{path}: truncated, or neither safetensors nor a file of torch.save; fetch it "
                "again"
            ) from None
    if excess:
        raise ValueError(f"{path}: {excess}")
    if archived and (reason := archive_damage(path)):
        raise ValueError(f"{path}: damaged ({reason}); fetch it again")
    return names


def _archived_pickles(path: Path) -> Iterator[IO[bytes]]:
    entries = check_archive(path)
    with zipfile.ZipFile(path) as archive:
        for entry in entries:
            if entry.filename.lower().endswith(".pkl"):  # PyTorch ignores case
                yield io.BytesIO(archive.read(entry))


def check_unpacked(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are far larger than their file, then see :func:`check_tensors`."""
    if len(tensors) > MAX_TENSORS:
        raise ValueError(f"{path}: {len(tensors):,} tensors, far more than a checkpoint has")
    plain = [tensor for tensor in tensors.values() if _is_plain(tensor)]
    _check_expansion(path, sum(tensor.numel() * tensor.element_size() for tensor in plain))
    check_tensors(path, tensors)


def check_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse what no model here computes with, with the tensor's name.

    Raises:
        ValueError: no tensors, NaN or infinity, a sparse, nested or data-free tensor, or a type
            that is neither one of :data:`DTYPES`.
    """
    if not tensors:
        raise ValueError(f"{path}: no tensors; save the model's state_dict()")
    for name, tensor in tensors.items():
        if not _is_plain(tensor) or tensor.dtype not in DTYPES:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise ValueError(
                f"{path}: tensor {name} ({kind}, {'' if _is_plain(tensor) else 'not '}dense) is "
                "none that a model here computes with; save it dense, as float32"
            )
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(
                f"{path}: tensor {name} holds NaN or infinity; take a checkpoint from before "
                "training diverged"
            )


def _is_plain(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided and not (tensor.is_meta or tensor.is_nested)


def _check_expansion(path: Path, unpacked: int) -> None:
    if unpacked > _expansion_limit(path):
        raise ValueError(
            f"{path}: {path.stat().st_size:,} bytes that unpack to {unpacked:,}, which no trained "
            "weights do"
        )


def _expansion_limit(path: Path) -> int:
    return MAX_EXPANSION * path.stat().st_size + EXPANSION_SLACK


def _directory_bytes(path: Path) -> int:
    """Size of a ZIP archive's directory, as its end records say; 0 without one."""
    with path.open("rb") as file:
        file.seek(max(file.seek(0, os.SEEK_END) - (1 << 17), 0))
        tail = file.read()
    end, end64 = tail.rfind(b"PK\5\6"), tail.rfind(b"PK\6\6")
    size = int.from_bytes(tail[end + 12 : end + 16], "little") if end >= 0 else 0
    size64 = int.from_bytes(tail[end64 + 40 : end64 + 48], "little") if end64 >= 0 else 0
    # All ones in the old record: look in the other, for archives of more than 4 GiB.
    return max(size if size != 0xFFFFFFFF else 0, size64)
