"""Checks of the machine and the installed packages, each with the fix for what is wrong."""

from __future__ import annotations

import importlib
import resource
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from ..openmmlab.host_imports import TOO_NEW, transformers_line

DISTRIBUTION = "mae-bench"
PYTHON_RANGE = ((3, 10), (3, 13))
GIB = 2**30
MINIMUM_FREE_GIB = 1
SHARED_MEMORY = Path("/dev/shm")
FEW_HANDLES = 4096
HOST_LIBRARIES = ("mmdet.models", "mmseg.models", "mmpretrain.models")


@dataclass(frozen=True)
class Check:
    """One line of the report; ``wrong`` means the benchmark does not run properly."""

    name: str
    found: str
    status: Literal["ok", "note", "wrong"] = "ok"
    fix: str = ""


def read_constraints(path: Path) -> dict[str, str]:
    """Tested version of each package in a constraints file of ``name==version`` lines."""
    tested = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            requirement = Requirement(line)
            (pin,) = requirement.specifier
            tested[requirement.name.lower()] = pin.version
    return tested


def all_checks(folder: Path, tested: Mapping[str, str]) -> Iterator[Check]:
    """Every check, in the order they are best read.

    Args:
        folder: where results will be written; its disk is the one that is looked at.
        tested: version of each package the benchmark was tested with.
    """
    yield check_python()
    yield from check_packages(tested)
    yield from check_imports()
    devices = ["cpu", "cuda"] if _cuda_available() else ["cpu"]
    for device in devices:
        yield check_operators(device)
    yield check_gpu()
    yield check_disk(folder)
    yield check_shared_memory()
    yield check_handles()


def check_python() -> Check:
    """Python is one of the versions the dependencies have builds for."""
    found = ".".join(map(str, sys.version_info[:3]))
    lowest, highest = (".".join(map(str, version)) for version in PYTHON_RANGE)
    if PYTHON_RANGE[0] <= sys.version_info[:2] <= PYTHON_RANGE[1]:
        return Check("python", found)
    return Check("python", found, "wrong", f"use Python {lowest} to {highest}")


def check_packages(tested: Mapping[str, str]) -> Iterator[Check]:
    """Each required package is installed in a version that is allowed, best the tested one."""
    try:
        requires = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        yield Check("mae-bench", "not installed", "wrong", "make env, or pip install .")
        return
    for requirement in map(Requirement, requires):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield check_package(requirement, tested.get(requirement.name.lower()))
    line = transformers_line()
    if line is not None and line >= TOO_NEW:
        found, fix = _installed_version("transformers") or "", "mmpretrain's multi-modal models"
        yield Check("transformers", found, "note", f"{fix} are left out: they need an older line")


def check_package(requirement: Requirement, tested: str | None) -> Check:
    """One package against what is required and what was tested."""
    found = _installed_version(requirement.name)
    wanted = f"{requirement.name}=={tested}" if tested else str(requirement)
    fix = f"pip install '{wanted}'"
    if found is None:
        return Check(requirement.name, "not installed", "wrong", fix)
    if not requirement.specifier.contains(found, prereleases=True):
        return Check(requirement.name, f"{found}, needs {requirement.specifier}", "wrong", fix)
    if tested and found.split("+")[0] != tested:
        return Check(requirement.name, found, "note", f"allowed; tested with {tested}")
    return Check(requirement.name, found)


def check_imports() -> Iterator[Check]:
    """torch, OpenCV and the host libraries import in this environment."""
    for module in ("torch", "torchvision", "cv2", *HOST_LIBRARIES):
        try:
            importlib.import_module(module)
        except Exception as error:  # whatever a broken package raises is the finding
            yield Check(
                f"import {module}", f"{type(error).__name__}: {error}", "wrong", _import_fix(error)
            )
        else:
            yield Check(f"import {module}", "imports")


def check_operators(device: str) -> Check:
    """NMS and RoIAlign run once on ``device`` through mmcv's names, with the right result."""
    name = f"mmcv operators, {device}"
    try:
        import torch
        from mmcv.ops import nms, roi_align

        from mae_bench.openmmlab.mmcv_ops import compiled_load_error, operator_source

        boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 3], [6, 6, 8, 8]], device=device)
        _, kept = nms(boxes, torch.tensor([0.9, 0.8, 0.7], device=device), 0.5)
        image = torch.arange(16.0, device=device).reshape(1, 1, 4, 4)
        region = torch.tensor([[0.0, 0, 0, 4, 4]], device=device)
        pooled = roi_align(image, region, (2, 2), 1.0, 2, "avg", True)
        right = kept.tolist() == [0, 2] and pooled.flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    except Exception as error:  # whatever broken operators raise is the finding
        fix = "install a torch and a torchvision that belong together: make env"
        return Check(name, f"{type(error).__name__}: {error}", "wrong", fix)
    source = operator_source()
    if not right:
        return Check(name, f"{source}: wrong results", "wrong", "reinstall mmcv: make env")
    return Check(name, source, fix=compiled_load_error() or "")


def check_gpu() -> Check:
    """What GPU there is; none is fine for the demo, and slow for anything else."""
    if not _cuda_available():
        if shutil.which("nvidia-smi"):
            fix = (
                f"there is an NVIDIA driver, but torch {_installed_version('torch')} sees no GPU: "
                "look at nvidia-smi, and install a torch for the CUDA version it shows"
            )
            return Check("GPU", "none: CPU only", "note", fix)
        return Check("GPU", "none: CPU only")
    import torch

    gpu = torch.cuda.get_device_properties(0)
    precision = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bf16"
    count = torch.cuda.device_count()
    return Check("GPU", f"{count} x {gpu.name}, {gpu.total_memory / GIB:.0f} GiB, {precision}")


def check_disk(folder: Path) -> Check:
    """There is room for the results under ``folder``."""
    free = shutil.disk_usage(folder).free / GIB
    found = f"{free:.1f} GiB under {folder}"
    if free < MINIMUM_FREE_GIB:
        return Check("free disk", found, "wrong", f"free at least {MINIMUM_FREE_GIB} GiB")
    return Check("free disk", found)


def check_shared_memory() -> Check:
    """Eight loader workers, each with two batches of 128 images of 224 pixels, find room."""
    try:
        found = shutil.disk_usage(SHARED_MEMORY).total
    except OSError:
        return Check("shared memory", "without a folder of its own")
    wanted = 8 * 2 * 128 * 3 * 224 * 224
    if found < wanted:
        fix = (
            f"less than the {wanted / GIB:.2f} GiB of 8 loader workers with 2 batches of 128 "
            "images each: docker run --shm-size=8g or --ipc=host, or fewer num_workers"
        )
        return Check("shared memory", f"{found / GIB:.2f} GiB in {SHARED_MEMORY}", "note", fix)
    return Check("shared memory", f"{found / GIB:.1f} GiB in {SHARED_MEMORY}")


def check_handles() -> Check:
    """Enough files may be open at once for loader workers to share their tensors."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if 0 <= limit < FEW_HANDLES:
        fix = "few for loader workers: ulimit -n 65536, or docker run --ulimit nofile=65536"
        return Check("open files", str(limit), "note", fix)
    return Check("open files", "no limit" if limit < 0 else str(limit))


def _cuda_available() -> bool:
    try:
        import torch
    except Exception:  # check_imports has said why
        return False
    return torch.cuda.is_available()


def _installed_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _import_fix(error: Exception) -> str:
    if "libGL" in str(error):
        return "pip install --force-reinstall --no-deps opencv-python-headless"
    return "make env"
