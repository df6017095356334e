"""From which distribution each parameter starts, read off the operations that fill it.

Nothing is drawn: the model lies on the meta device, so a ViT-H costs no memory, and bounds are
exact where a measured deviation would be a guess.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

aten: Any = torch.ops.aten


@dataclass(frozen=True)
class Start:
    """What a tensor was filled with.

    Args:
        kind: ``"uniform"``, ``"normal"``, ``"constant"``, ``"computed"`` or ``"empty"``.
        centre: mean, or the constant.
        spread: half the width of a uniform distribution, deviation of a normal one before it is
            cut.
        cut: distance from the mean beyond which a normal distribution has nothing.
    """

    kind: str
    centre: float = 0.0
    spread: float = 0.0
    cut: float = math.inf

    def scaled(self, factor: float) -> "Start":
        """The same, multiplied."""
        size = abs(factor)
        return replace(
            self, centre=self.centre * factor, spread=self.spread * size, cut=self.cut * size
        )

    def __str__(self) -> str:
        about = f", mean {self.centre:.3g}" if self.centre else ""
        if self.kind == "uniform":
            return f"uniform, ±{self.spread:.3g} (std {self.spread / math.sqrt(3):.3g}){about}"
        if self.kind == "normal":
            if self.cut > 10 * self.spread:  # which cuts nothing
                return f"normal, std {self.spread:.3g}{about}"
            z = self.cut / self.spread
            tails = 2 * z * math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
            std = self.spread * math.sqrt(1 - tails / math.erf(z / math.sqrt(2)))
            return f"normal, cut at ±{self.cut:.3g} (std {std:.3g}){about}"
        return f"{self.centre:g}" if self.kind == "constant" else self.kind


# What an operation makes; anything else is computed.
MADE = {
    aten.zeros: Start("constant", 0.0),
    aten.zeros_like: Start("constant", 0.0),
    aten.ones: Start("constant", 1.0),
    aten.ones_like: Start("constant", 1.0),
    aten.empty: Start("empty"),
    aten.empty_like: Start("empty"),
    aten.empty_strided: Start("empty"),
}


class _Recorder(TorchDispatchMode):
    """Remembers for each storage what it was last filled with."""

    def __init__(self) -> None:
        super().__init__()
        self.filled: dict[int, Start] = {}

    def of(self, tensor: Tensor) -> Start:
        return self.filled.get(_key(tensor), Start("empty"))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket
        # MMEngine compares the mean of each parameter before and after, to log what changed.
        if name in (aten.item, aten._local_scalar_dense, aten.is_nonzero):
            return 0.0
        if name is aten._to_copy and kwargs.get("device") == torch.device("cpu"):
            return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        result = func(*args, **kwargs)
        if func._schema.is_mutable and args and isinstance(args[0], Tensor):
            start = self._after(name, self.of(args[0]), args[1:])
            self.filled[_key(args[0])] = start
        elif isinstance(result, Tensor) and not _shares_memory(result, args):
            # A key may be that of a tensor that is gone.
            self.filled[_key(result)] = MADE.get(name, Start("computed"))
        return result

    def _after(self, name: Any, before: Start, args: tuple) -> Start:
        """What a tensor holds after an operation in place."""
        if name is aten.uniform_:
            # Arguments that are the operation's defaults, 0 and 1, are left out of the call.
            low, high = args[0] if args else 0.0, args[1] if len(args) > 1 else 1.0
            return Start("uniform", (low + high) / 2, (high - low) / 2)
        if name is aten.normal_:
            mean, std = args[0] if args else 0.0, args[1] if len(args) > 1 else 1.0
            return Start("normal", mean, std)
        if name is aten.erfinv_:  # of a uniform one: a normal one of variance 1/2, cut
            return Start("normal", 0.0, math.sqrt(0.5), before.cut)
        if name is aten.clamp_ and before.kind == "normal":
            return replace(before, cut=args[1])
        if name is aten.zero_:
            return Start("constant", 0.0)
        if name is aten.fill_:
            value = args[0]
            return Start("constant", float(value)) if not isinstance(value, Tensor) else before
        if name in (aten.mul_, aten.div_) and isinstance(args[0], (int, float)):
            return before.scaled(args[0] if name is aten.mul_ else 1 / args[0])
        if name is aten.add_ and args[0] == 0:
            return before
        return Start("computed")


def _shares_memory(result: Tensor, args: tuple) -> bool:
    return any(isinstance(arg, Tensor) and _key(arg) == _key(result) for arg in args)


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def build_and_start(build: Callable[[], nn.Module]) -> tuple[nn.Module, dict[str, Start]]:
    """Build a model on the meta device, start its weights, and tell what each starts from.

    Args:
        build: makes the model.

    Returns:
        the model, and name of a parameter -> what it starts from.
    """
    recorder = _Recorder()

    def truncated(
        tensor: Tensor, mean: float, std: float, a: float, b: float, generator: Any = None
    ) -> Tensor:
        recorder.filled[_key(tensor)] = Start("normal", mean, std, b - mean)
        return tensor

    # PyTorch leaves a tensor without memory alone there.
    truncate = mock.patch.object(nn.init, "_no_grad_trunc_normal_", truncated)
    with truncate, torch.device("meta"), recorder:
        model = build()
        start = getattr(model, "init_weights", None)
        if start is not None:
            start()
    return model, {name: recorder.of(parameter) for name, parameter in model.named_parameters()}
