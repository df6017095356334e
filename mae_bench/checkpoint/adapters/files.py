"""Files of foreign formats, read and written. They are untrusted: nothing in them is executed."""

import argparse
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save

from ...files import write_atomic
from ..format import check_tensors, is_safetensors, load_torch_file, unwrap_tensors
from .adapter import Adapter, Tensors

# What official files hold besides tensors and plain containers. A namespace is a bag of values,
# each of them subject to the same check; rebuilding one runs no code. It is then dropped.
HARMLESS = (argparse.Namespace,)
# A training file may keep several models side by side. The name of each becomes a prefix.
SIDE_BY_SIDE = ("teacher", "student")
TORCH_SUFFIXES = (".pth", ".pt", ".tar", ".bin")


def read_foreign_file(path: str | Path) -> Tensors:
    """Tensors of a ``.safetensors``, ``.npz`` or ``torch.save`` file, by the names they have there.

    Whatever lies beside the tensors, such as an optimizer or arguments, is left out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, holds NaN, or anything but tensors, plain containers and
            namespaces, which is named.
    """
    path = Path(path)
    if is_safetensors(path):
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    elif path.suffix == ".npz":
        tensors = _read_npz(path)
    else:
        content = load_torch_file(path, HARMLESS)
        models = [key for key in SIDE_BY_SIDE if key in _mappings(content)]
        if models:
            tensors = {
                f"{key}.{name}": tensor
                for key in models
                for name, tensor in unwrap_tensors(path, content[key]).items()
            }
        else:
            tensors = unwrap_tensors(path, content)
    check_tensors(path, tensors)
    return tensors


def _mappings(content: Any) -> list[str]:
    if not isinstance(content, Mapping):
        return []
    return [key for key, value in content.items() if isinstance(value, Mapping)]


def _read_npz(path: Path) -> Tensors:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path}: holds more than arrays of numbers ({error}), and reading that could run code"
        ) from None
    except (zipfile.BadZipFile, OSError, EOFError) as error:
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
