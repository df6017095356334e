"""Mixed precision in bfloat16, on GPUs and CPUs."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import nn

from ..registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class Bfloat16OptimWrapper(OptimWrapper):
    """MMEngine's wrapper with the forward pass under autocast in bfloat16.

    MMEngine's ``AmpOptimWrapper`` refuses CPUs. bfloat16 has the exponents of float32, so nothing
    underflows and the loss is not scaled, as that one would.

    Args:
        kwargs: of MMEngine's ``OptimWrapper``.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Wrap a forward pass, and hold back the exchange of gradients that are accumulated."""
        with super().optim_context(model), torch.autocast(get_device(), torch.bfloat16):
            yield
