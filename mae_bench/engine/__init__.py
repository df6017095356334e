"""Training: parameter groups, optimizer, schedule, hooks, and the way from config to runner."""

from .lars import LARS
from .layer_decay import LayerDecayConstructor
from .progress import ProgressFile
from .reconstruction import DrawReconstructions
from .recording import ExportCheckpoint, WriteRecord
from .run_card import RunCard
from .schedule import WarmupCosineLR

__all__ = [
    "LARS",
    "DrawReconstructions",
    "ExportCheckpoint",
    "LayerDecayConstructor",
    "ProgressFile",
    "RunCard",
    "WarmupCosineLR",
    "WriteRecord",
]
