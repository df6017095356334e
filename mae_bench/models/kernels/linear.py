"""Linear layers, on a CPU in float32 with the faster library for them.

There PyTorch multiplies with MKL, though it comes with oneDNN too, which it takes for bfloat16.
Measured on a core of an AMD EPYC at the shapes of pre-training, oneDNN reaches 101 to 105 GFLOP/s
in ViT-B's layers where MKL has 89 to 98, and 85 to 102 to 59 to 91 in layers 128 wide. For the
gradient of the weight MKL is the faster one, but for wide MLPs on many rows: 91 to 96 GFLOP/s where
MKL has 72 to 84 in the decoder's.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# Not on every processor, nor promised in every PyTorch: it is what torch.compile calls.
HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
# Multiply-adds from which on oneDNN's overhead of each call, 10 microseconds, does not count.
MIN_PRODUCTS = 10_000_000
# Fewest rows, and least width of the narrow side of a layer four times as wide on the other, at
# which oneDNN makes the gradient of the weight faster, its copy of an operand included.
MIN_ROWS, MIN_WIDTH = 512, 512


class _OneDNNLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        grad = grad.contiguous()
        rows = grad.flatten(0, -2)
        return (
            _product(grad, weight.t()) if of_x else None,
            _weight_gradient(rows, x.flatten(0, -2)) if of_weight else None,
            rows.sum(dim=0) if of_bias else None,
        )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear`` by oneDNN, as torch.compile has it; autograd does not know it."""
    return torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight, bias, "none", [], "")


def _weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """(rows, m), (rows, n) -> (m, n); where oneDNN serves, the narrow operand is transposed."""
    narrow, wide = sorted((grad.shape[1], x.shape[1]))
    if len(grad) < MIN_ROWS or narrow < MIN_WIDTH or wide < 4 * narrow:
        return grad.t() @ x
    if grad.shape[1] == narrow:
        return _product(grad.t(), x.t())
    return _product(x.t(), grad.t()).t()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``torch.nn.functional.linear``, the same to rounding.

    Args:
        x: (..., n).
        weight: (m, n).
        bias: (m,) or None.

    Returns:
        (..., m).
    """
    by_onednn = (
        HAS_ONEDNN
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.numel() * len(weight) >= MIN_PRODUCTS
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()  # it chooses kernels of its own
    )
    return _OneDNNLinear.apply(x, weight, bias) if by_onednn else F.linear(x, weight, bias)


class Linear(nn.Linear):
    """``torch.nn.Linear`` by :func:`linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        return linear(x, self.weight, self.bias)
