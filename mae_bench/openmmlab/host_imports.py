"""Import hooks that let the host libraries import in environments as people have them.

They are in place once anything of ``mae_bench`` is imported, and cost nothing until then: mmcv's
operators (``mmcv_ops.py``), and mmpretrain beside transformers 5, whose names its multi-modal
models do not know. mmpretrain then is as where transformers is not installed: naming one of these
models raises an ImportError. The workers of data loaders need none of it, because data sets need
neither operators nor models. Nothing heavy may be imported at the top.
"""

from __future__ import annotations

import sys
from importlib import import_module, metadata
from typing import TYPE_CHECKING

from . import mmcv_ops as mmcv_ops

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

TOO_NEW = 5  # the line of transformers that mmpretrain does not import with


def transformers_line() -> int | None:
    """First number of the version of transformers; None where it is not installed."""
    try:
        return int(metadata.version("transformers").partition(".")[0])
    except metadata.PackageNotFoundError:
        return None


class _MultimodalFinder:
    """Meta-path finder that finds nothing, but sets mmpretrain's own switch before it is read."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> None:
        if fullname == "mmpretrain.models" and (transformers_line() or 0) >= TOO_NEW:
            vars(import_module("mmpretrain.utils.dependency"))["WITH_MULTIMODAL"] = False


if not any(isinstance(finder, _MultimodalFinder) for finder in sys.meta_path):
    sys.meta_path.insert(0, _MultimodalFinder())  # type: ignore[arg-type]
