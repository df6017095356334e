"""Files of foreign formats, written."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from ...files import write_atomic
from .adapter import Adapter, Tensors

TORCH_SUFFIXES = (".pth", ".pt", ".tar", ".bin")


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
        # NumPy has no bfloat16, of which float32 holds every value
        arrays: dict[str, Any] = {
            name: (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
            for name, tensor in copies.items()
        }
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
