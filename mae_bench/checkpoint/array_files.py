"""Files of NumPy arrays, ``.npz`` and the pickles of detectron2's model zoo; no code of them runs.

Of a pickle, only what is named here is ever called, and all of it only keeps what it is given.
"""

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .limits import check_archive, check_pickles


class _Kind:
    """Stands for ``numpy.dtype``."""

    def __init__(self, name: str = "", *others: object) -> None:
        self.name = name
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]

    def real(self) -> np.dtype:
        """The type; only of numbers."""
        kind = np.dtype(self.name)
        if kind.kind not in "fiub":
            raise ValueError(f"arrays of {self.name}")
        return kind if self.order in "=|" else kind.newbyteorder(self.order)  # type: ignore[arg-type]


class _Array:
    """Stands for ``numpy.ndarray``, empty until its state arrives."""

    def __init__(self, *others: object) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def real(self) -> np.ndarray:
        """The array, from shape, type, order and bytes."""
        _, shape, kind, column_first, data = self.state
        data = data.encode("latin1") if isinstance(data, str) else data
        array = np.frombuffer(data, kind.real()).reshape(shape, order="F" if column_first else "C")
        return array.astype(kind.real().newbyteorder("="))


def _encode(text: str, encoding: str) -> bytes:
    return text.encode("latin1")


STAND_INS = {
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _encode,
    ("numpy", "dtype"): _Kind,
    ("numpy", "ndarray"): _Array,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in STAND_INS:
            raise ValueError(
                f"holds more than arrays ({module}.{name}), and reading that could run code"
            )
        return STAND_INS[module, name]


def load_npz(path: Path) -> dict[str, Tensor]:
    """Arrays of a ``.npz`` by name, as tensors.

    Raises:
        ValueError: anything but arrays of numbers, or a damaged file.
    """
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


def load_pickled_arrays(path: Path) -> Any:
    """What the pickle holds, its arrays as tensors.

    Raises:
        ValueError: anything but arrays of numbers and plain containers, or a damaged file.
    """
    check_pickles(path, number=1)
    try:
        with path.open("rb") as file:
            return _with_tensors(_Unpickler(file, encoding="latin1").load())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    except Exception as error:  # a damaged pickle can fail in any way
        raise ValueError(f"{path}: truncated, or no pickle ({error}); fetch it again") from None


def _with_tensors(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _with_tensors(value) for key, value in content.items()}
    return torch.from_numpy(content.real()) if isinstance(content, _Array) else content
