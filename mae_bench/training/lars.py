"""LARS for linear probing."""

from collections.abc import Callable

import torch
from torch.optim import Optimizer

from ..registry import OPTIMIZERS


@OPTIMIZERS.register_module()
class LARS(Optimizer):
    """Layer-wise adaptive rate scaling, SGD with momentum.

    For a parameter ``p`` of more than one dimension: ``g <- g + weight_decay * p``, then ``g`` is
    scaled by ``trust * |p| / |g|`` (by 1 where either norm is 0). One-dimensional parameters get
    neither. Then ``mu <- momentum * mu + g`` and ``p <- p - lr * mu``: the learning rate stays
    outside the momentum buffer. mmpretrain's LARS has it inside and adapts biases too.

    Args:
        params: parameters or groups.
        lr: learning rate.
        weight_decay: L2 penalty added to the gradient.
        momentum: of the buffer.
        trust_coefficient: ``trust`` above.

    Raises:
        ValueError: one of these is negative.

    Source: MAE Table 10 (linear probing); details from the official code (MoCo v3's LARS).
    """

    def __init__(
        self,
        params,
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.9,
        trust_coefficient: float = 0.001,
    ) -> None:
        defaults = dict(
            lr=lr, weight_decay=weight_decay, momentum=momentum, trust_coefficient=trust_coefficient
        )
        for name, value in defaults.items():
            if value < 0:
                raise ValueError(f"LARS: {name}={value} is negative")
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient; returns the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                gradient = p.grad
                if p.ndim > 1:
                    gradient = gradient.add(p, alpha=group["weight_decay"])
                    p_norm, g_norm = p.norm(), gradient.norm()
                    ratio = group["trust_coefficient"] * p_norm / g_norm
                    # A tensor condition: no synchronisation with the device.
                    ratio = torch.where((p_norm > 0) & (g_norm > 0), ratio, 1.0)
                    gradient = gradient * ratio
                state = self.state[p]
                if "mu" not in state:
                    state["mu"] = torch.zeros_like(p)
                state["mu"].mul_(group["momentum"]).add_(gradient)
                p.add_(state["mu"], alpha=-group["lr"])
        return loss
