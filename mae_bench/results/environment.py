"""Where and on what a run happened: the fields of a record that do not depend on the task."""

import os
import platform
import resource
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .. import __version__

# distribution names; the OpenMMLab libraries exist under two names each
_DISTRIBUTIONS = {
    "torch": ("torch",),
    "torchvision": ("torchvision",),
    "mmengine": ("onedl-mmengine", "mmengine"),
    "mmcv": ("onedl-mmcv", "mmcv", "mmcv-lite"),
    "mmdet": ("onedl-mmdetection", "mmdet"),
    "mmseg": ("onedl-mmsegmentation", "mmsegmentation"),
    "mmpretrain": ("onedl-mmpretrain", "mmpretrain"),
}


def package_versions() -> dict[str, str]:
    """Versions of Python, mae_bench and the packages that decide a number, where installed."""
    found = {"python": platform.python_version(), "mae_bench": __version__}
    for name, distributions in _DISTRIBUTIONS.items():
        for distribution in distributions:
            try:
                found[name] = version(distribution)
                break
            except PackageNotFoundError:
                continue
    return found


def git_revision(folder: str | Path = Path(__file__).parent) -> str | None:
    """Commit of the checkout that holds `folder`, with ``-dirty`` where tracked files differ.

    None where there is no checkout, no commit or no git, or where the checkout around `folder` does
    not track it: an environment inside somebody's project says nothing about our code.
    """
    git = ["git", "-C", str(folder)]
    # the hash itself, not the nearest tag
    describe = [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        for command in ([*git, "ls-files", "--error-unmatch", "."], describe):
            result = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()


def device_name() -> str:
    """Name of the GPU in use, or ``"cpu (architecture, N cores)"``."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"cpu ({platform.machine()}, {os.cpu_count()} cores)"


def peak_memory_mib() -> float:
    """Most memory this process has used (MiB): allocated on the GPU, else resident in RAM."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes on macOS, KiB elsewhere
