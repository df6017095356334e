"""Hooks: what a run does besides its task."""

from .check_sets import CheckSets
from .draw_predictions import DrawPredictions
from .draw_reconstructions import DrawReconstructions
from .ema import WeightAverage
from .export_classifier import ExportClassifier
from .frozen_measures import MeasureFrozen
from .non_finite import StopOnNonFiniteLoss
from .pca_fit import FitPCATarget
from .progress_file import ProgressFile
from .recording import ExportCheckpoint, WriteRecord
from .run_card import RunCard
from .saving import SaveCheckpoint

__all__ = [
    "CheckSets",
    "DrawPredictions",
    "DrawReconstructions",
    "ExportCheckpoint",
    "ExportClassifier",
    "FitPCATarget",
    "MeasureFrozen",
    "ProgressFile",
    "RunCard",
    "SaveCheckpoint",
    "StopOnNonFiniteLoss",
    "WeightAverage",
    "WriteRecord",
]
