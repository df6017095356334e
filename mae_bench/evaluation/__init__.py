"""Metrics that the host libraries lack."""

from .corruption_error import CorruptionError, mean_corruption_error

__all__ = ["CorruptionError", "mean_corruption_error"]
