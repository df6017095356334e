"""Files of foreign formats, read and written. They are untrusted: nothing in them is executed."""

import argparse
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from ...files import write_atomic
from ..format import is_safetensors, load_safetensors, load_torch_file, unwrap_tensors
from ..limits import check_archive, check_unpacked
from .adapter import Adapter, Tensors
from .pickled_arrays import load_pickled_arrays


class LeftOut:
    """Stands for an object that nobody wants: takes everything, keeps nothing, runs nothing."""

    def __new__(cls, *args: object) -> "LeftOut":
        return super().__new__(cls)

    def __init__(self, *args: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


# What official files hold besides tensors and plain containers. A namespace is a bag of values,
# each of them subject to the same check; rebuilding one runs no code. It is then dropped.
# MMEngine's training files keep their log, arrays in buffers, whose names are not even looked up.
HARMLESS: tuple[type | tuple[type, str], ...] = (
    argparse.Namespace,
    *(
        (LeftOut, name)
        for name in (
            "mmengine.logging.history_buffer.HistoryBuffer",
            "numpy.core.multiarray._reconstruct",
            "numpy._core.multiarray._reconstruct",
            "numpy.core.multiarray.scalar",
            "numpy._core.multiarray.scalar",
            "numpy.ndarray",
            "numpy.dtype",
            "builtins.getattr",
        )
    ),
)
# A training file may keep several models side by side. The name of each becomes a prefix.
SIDE_BY_SIDE = ("teacher", "student")
TORCH_SUFFIXES = (".pth", ".pt", ".tar", ".bin")


def read_foreign_file(path: str | Path) -> Tensors:
    """Tensors of a ``.safetensors``, ``.npz``, ``.pkl`` or ``torch.save`` file, by their own names.

    Whatever lies beside the tensors, such as an optimizer or arguments, is left out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, holds NaN, or anything but tensors, plain containers and
            namespaces, which is named.
    """
    path = Path(path)
    if is_safetensors(path):
        tensors = load_safetensors(path)
    elif path.suffix == ".npz":
        tensors = _read_npz(path)
    else:
        pickled = path.suffix == ".pkl"
        content = load_pickled_arrays(path) if pickled else load_torch_file(path, HARMLESS)
        models = [key for key in SIDE_BY_SIDE if key in _mappings(content)]
        if models:
            tensors = {
                f"{key}.{name}": tensor
                for key in models
                for name, tensor in unwrap_tensors(path, content[key]).items()
            }
        else:
            tensors = unwrap_tensors(path, content)
    check_unpacked(path, tensors)
    return tensors


def _mappings(content: Any) -> list[str]:
    if not isinstance(content, Mapping):
        return []
    return [key for key, value in content.items() if isinstance(value, Mapping)]


def _read_npz(path: Path) -> Tensors:
    check_archive(path)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path}: holds more than arrays of numbers ({error}), and reading that could run code"
        ) from None
    except Exception as error:  # a damaged archive can fail in any way
        raise ValueError(f"{path}: truncated, or not .npz ({error}); fetch it again") from None


def write_foreign_file(path: str | Path, tensors: Tensors, adapter: Adapter) -> None:
    """Write foreign tensors, the whole file or nothing.

    Raises:
        ValueError: a suffix that the format does not have.
    """
    path = Path(path)
    buffer = io.BytesIO()
    suffixes = (".npz",) if adapter.npz else (".safetensors", *TORCH_SUFFIXES)
    if path.suffix not in suffixes:
        raise ValueError(f"{path}: a file of {adapter.name} ends in {' or '.join(suffixes)}")
    # Clones: what shares memory would be written as it is, larger or refused.
    copies = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    if adapter.npz:
        arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in copies.items()}
        np.savez(buffer, **arrays)
    elif path.suffix == ".safetensors":
        # transformers reads only files that say so.
        buffer.write(save(copies, {"format": "pt"}))
    else:
        wrapper = adapter.wrapper
        if wrapper:
            inner = {name.removeprefix(f"{wrapper}."): t for name, t in copies.items()}
            torch.save({wrapper: inner}, buffer)
        else:
            torch.save(copies, buffer)
    write_atomic(buffer.getvalue(), path)
