"""What MMEngine's wrappers for distributed training need of everyone."""

from typing import Any

from mmengine.model import is_model_wrapper
from torch import nn


def unwrap(model: nn.Module) -> Any:
    """The model inside a distributed wrapper, or the model itself."""
    return model.get_submodule("module") if is_model_wrapper(model) else model
