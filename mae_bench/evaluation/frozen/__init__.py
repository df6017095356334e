"""What is measured on frozen features, one file each; the loop extracts them once."""

from .frozen_loop import FrozenLoop
from .knn import KNN
from .linear_heads import LinearHeads
from .logistic import Logistic
from .low_shot import LowShot

__all__ = ["KNN", "FrozenLoop", "LinearHeads", "Logistic", "LowShot"]
