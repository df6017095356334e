"""What is measured on frozen features, one file each; the loop extracts them once."""

from .frozen_loop import FrozenLoop
from .knn import KNN

__all__ = ["KNN", "FrozenLoop"]
