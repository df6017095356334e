"""Training: parameter groups, optimizer, schedule, hooks, and the way from config to runner."""

from .ema import WeightAverage
from .lars import LARS
from .layer_decay import LayerDecayConstructor
from .loops import ResumableEpochLoop, ResumableIterLoop
from .non_finite import StopOnNonFiniteLoss
from .pca_fit import FitPCATarget
from .predictions import DrawPredictions
from .progress import ProgressFile
from .reconstruction import DrawReconstructions
from .recording import ExportCheckpoint, WriteRecord
from .run_card import RunCard
from .saving import SaveCheckpoint
from .schedule import WarmupCosineLR

__all__ = [
    "LARS",
    "DrawPredictions",
    "DrawReconstructions",
    "ExportCheckpoint",
    "FitPCATarget",
    "LayerDecayConstructor",
    "ProgressFile",
    "ResumableEpochLoop",
    "ResumableIterLoop",
    "RunCard",
    "SaveCheckpoint",
    "StopOnNonFiniteLoss",
    "WarmupCosineLR",
    "WeightAverage",
    "WriteRecord",
]
