"""Training: runner, loops, schedule, optimizers; hooks in their own folder."""

from .bfloat16 import Bfloat16OptimWrapper
from .lars import LARS
from .layer_decay import LayerDecayConstructor
from .loops import ResumableEpochLoop, ResumableIterLoop
from .schedule import WarmupCosineLR, WarmupLinearLR

__all__ = [
    "Bfloat16OptimWrapper",
    "LARS",
    "LayerDecayConstructor",
    "ResumableEpochLoop",
    "ResumableIterLoop",
    "WarmupCosineLR",
    "WarmupLinearLR",
]
