"""NMS and RoIAlign under mmcv's names where mmcv has no compiled operators that load.

mmcv's operators live in one extension module, ``mmcv._ext``, which has to be built for exactly the
installed torch. Importing this file installs an import hook for that one name. The hook tries the
compiled extension first; where it is absent or does not load, a stand-in takes its place:

* ``nms``, ``roi_align_forward`` and ``roi_align_backward`` run on torchvision's operators;
* every other operator raises an error that names it and says how to get it.

It has to be in place before anything imports ``mmcv.ops``: ``import mae_bench`` sees to that, so
nothing heavy may be imported at the top.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    from torch import Tensor

EXTENSION = "mmcv._ext"
BUILD_COMMAND = (
    "pip install setuptools wheel ninja && pip install --force-reinstall --no-deps --no-cache-dir "
    "--no-build-isolation --no-binary onedl-mmcv onedl-mmcv==2.3.6"
)
_AVERAGE_POOLING = 1  # mmcv's code of the mode; 0 is max


def operator_source() -> str:
    """Which operators serve ``mmcv.ops``: ``"mmcv compiled"`` or ``"torchvision"``."""
    return "torchvision" if isinstance(_extension(), _StandIn) else "mmcv compiled"


def compiled_load_error() -> str | None:
    """Why mmcv's compiled operators do not serve; ``None`` when they do."""
    extension = _extension()
    return extension.reason if isinstance(extension, _StandIn) else None


def install() -> None:
    """Put the import hook for ``mmcv._ext`` in front of the other finders, once."""
    if not any(isinstance(finder, _ExtensionFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _ExtensionFinder())


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the boxes kept by non-maximum suppression, by falling score; shape (K,).

    Args:
        boxes: (N, 4) as x1, y1, x2, y2.
        scores: (N,).
        iou_threshold: boxes that overlap a better one by more than this are dropped.
        offset: added to widths and heights; 1 for the old inclusive pixel coordinates.
    """
    import torch

    boxes = boxes.to(torch.promote_types(boxes.dtype, torch.float32))
    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    # Equal scores come in the order of mmcv's own sort, which is not the stable one of torchvision.
    order = scores.sort(dim=0, descending=True).indices
    falling = torch.arange(len(order), 0, -1, dtype=boxes.dtype, device=boxes.device)
    kept = _torchvision_ops().nms(boxes[order], falling, _as_float32(iou_threshold))
    return order[kept]


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill ``output`` (R, C, aligned_height, aligned_width) with the regions of ``input``.

    Args:
        input: features (B, C, H, W).
        rois: (R, 5) as batch index, x1, y1, x2, y2 in image coordinates.
        argmax_y, argmax_x: used by max pooling only.

    Raises:
        NotImplementedError: for max pooling, which torchvision does not have.
    """
    if pool_mode != _AVERAGE_POOLING:
        _raise_missing("roi_align_forward with pool_mode='max'", compiled_load_error())
    dtype = _compute_dtype(input, rois)
    pooled = _torchvision_ops().roi_align(
        input.to(dtype),
        rois.to(dtype),
        _as_float32(spatial_scale),
        aligned_height,
        aligned_width,
        sampling_ratio,
        aligned,
    )
    output.copy_(pooled)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill ``grad_input`` (B, C, H, W) from ``grad_output`` (R, C, aligned_height, aligned_width).

    Raises:
        NotImplementedError: for max pooling, which torchvision does not have.
    """
    if pool_mode != _AVERAGE_POOLING:
        _raise_missing("roi_align_backward with pool_mode='max'", compiled_load_error())
    dtype = _compute_dtype(grad_output, rois)
    grad = _torchvision_ops()._roi_align_backward(
        grad_output.to(dtype),
        rois.to(dtype),
        _as_float32(spatial_scale),
        aligned_height,
        aligned_width,
        *grad_input.shape,
        sampling_ratio,
        aligned,
    )
    grad_input.copy_(grad)


class _StandIn(ModuleType):
    """What ``mmcv._ext`` is where the compiled one cannot be."""

    def __init__(self, reason: str) -> None:
        super().__init__(EXTENSION, "Stand-in of mae_bench for mmcv's compiled operators.")
        self.reason = reason
        self.nms = nms
        self.roi_align_forward = roi_align_forward
        self.roi_align_backward = roi_align_backward
        # mmcv's environment report calls these two.
        self.get_compiler_version = lambda: "not compiled"
        self.get_compiling_cuda_version = lambda: "not compiled"

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        # mmcv asserts at import that each operator exists, so the error has to wait for the call.
        # Names with an underscore are Python's own questions (``__path__``), not operators.
        if name.startswith("_"):
            raise AttributeError(f"module {EXTENSION!r} has no attribute {name!r}")

        def missing(*args: object, **kwargs: object) -> NoReturn:
            _raise_missing(name, self.reason)

        return missing


class _ExtensionFinder:
    """Meta-path finder of the one name ``mmcv._ext``."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != EXTENSION:
            return None
        for finder in sys.meta_path:
            find_spec = getattr(finder, "find_spec", None)
            if find_spec is None or isinstance(finder, _ExtensionFinder):
                continue
            compiled = find_spec(fullname, path, target)
            if compiled is not None:
                return _spec(_ExtensionLoader(compiled))
        return _spec(_ExtensionLoader(None))


class _ExtensionLoader:
    """Loads the compiled extension, or the stand-in where that fails."""

    def __init__(self, compiled: ModuleSpec | None) -> None:
        self.compiled = compiled

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        if self.compiled is None:
            return _StandIn("the installed mmcv was built without compiled operators")
        import importlib.util
        import logging

        import torch  # noqa: F401  the extension links against torch's libraries

        try:
            module = importlib.util.module_from_spec(self.compiled)
            if self.compiled.loader is not None:
                self.compiled.loader.exec_module(module)
        except Exception as error:  # built for another torch, Python or machine: many types
            reason = f"{self.compiled.origin} does not load ({type(error).__name__}: {error})"
            logging.getLogger(__name__).warning(
                "mmcv's compiled operators are not used: %s. NMS and RoIAlign come from "
                "torchvision.",
                reason,
            )
            return _StandIn(reason)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to do: ``create_module`` returns a module that has run."""


def _spec(loader: _ExtensionLoader) -> ModuleSpec:
    # The loader is one by its methods; the base class would cost an import.
    return ModuleSpec(EXTENSION, loader)  # type: ignore[arg-type]


def _extension() -> ModuleType:
    import importlib

    return importlib.import_module(EXTENSION)


def _raise_missing(operator: str, reason: str | None) -> NoReturn:
    import torch

    raise NotImplementedError(
        f"mmcv operator {operator!r} needs an mmcv with compiled operators for torch "
        f"{torch.__version__}, and there is none: {reason}. Without them only NMS and RoIAlign "
        f"(average pooling) are available, from torchvision. To build mmcv for this torch, with a "
        f"C++ compiler and for GPU the CUDA toolkit and FORCE_CUDA=1: {BUILD_COMMAND}"
    )


def _torchvision_ops():
    import torch
    import torchvision  # noqa: F401  registers torch.ops.torchvision

    return torch.ops.torchvision


def _compute_dtype(first: Tensor, second: Tensor):
    """The dtype both tensors are computed in: float32, or float64 if one of them is.

    torchvision wants one dtype and has no bfloat16 kernels; in half precision boxes lose pixels.
    """
    import torch

    return torch.promote_types(torch.promote_types(first.dtype, second.dtype), torch.float32)


def _as_float32(value: float) -> float:
    """Round to float32, in which mmcv's operators take scalars; torchvision takes float64."""
    import struct

    return struct.unpack("f", struct.pack("f", value))[0]


install()
