"""Linear layers, on a CPU in float32 with the faster library for them.

There PyTorch multiplies with MKL, though it comes with oneDNN too, which it takes for bfloat16.
Measured on a core of an AMD EPYC at the shapes of pre-training, oneDNN reaches 101 to 105 GFLOP/s
in ViT-B's layers where MKL has 89 to 98, and 85 to 102 to 59 to 91 in layers 128 wide. For the
gradient of the weight MKL is the faster one, but for wide MLPs on many rows: 91 to 96 GFLOP/s where
MKL has 72 to 84 in the decoder's.

The layers are ``torch.nn.Linear`` as they stand. :func:`project` calls one, or takes its weights to
oneDNN where nobody is looking (``observers.py``).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .observers import observed, plain_tensors, untouched

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
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        grad = grad.contiguous()
        rows = grad.reshape(-1, grad.shape[-1])
        # With a graph of the backward pass it is to be differentiated too.
        plain = torch.is_grad_enabled() or observed()
        product, weight_gradient = (
            (F.linear, _plain_weight_gradient) if plain else (_product, _weight_gradient)
        )
        return (
            product(grad, weight.t()) if of_x else None,
            weight_gradient(rows, x.reshape(-1, x.shape[-1])) if of_weight else None,
            rows.sum(dim=0) if of_bias else None,
        )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear`` by oneDNN, as torch.compile has it; autograd does not know it."""
    return torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight, bias, "none", [], "")


def _plain_weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """(rows, m), (rows, n) -> (m, n)."""
    return grad.t() @ x


def _weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """The same; where oneDNN serves, the narrow operand is transposed."""
    narrow, wide = sorted((grad.shape[1], x.shape[1]))
    if grad.shape[0] < MIN_ROWS or narrow < MIN_WIDTH or wide < 4 * narrow:
        return _plain_weight_gradient(grad, x)
    if grad.shape[1] == narrow:
        return _product(grad.t(), x.t())
    return _product(x.t(), grad.t()).t()


def serves(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether oneDNN takes these operands, is the faster way, and nobody is looking."""
    return (
        HAS_ONEDNN
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not observed()
        and plain_tensors(x, weight, bias)
        and x.numel() * weight.shape[0] >= MIN_PRODUCTS
        and not torch.is_autocast_enabled("cpu")
    )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``torch.nn.functional.linear``, the same to rounding.

    Args:
        x: (..., n).
        weight: (m, n).
        bias: (m,) or None.

    Returns:
        (..., m).
    """
    if serves(x, weight, bias):
        return _OneDNNLinear.apply(x, weight, bias)
    return F.linear(x, weight, bias)


def project(layer: Any, x: Tensor) -> Tensor:
    """Call a linear layer, or what has been put into its place: (..., n) -> (..., m).

    Where the layer is just a ``torch.nn.Linear`` its weights go to :func:`linear` without it.
    """
    if untouched(layer, nn.Linear) and serves(x, layer.weight, layer.bias):
        return _OneDNNLinear.apply(x, layer.weight, layer.bias)
    return layer(x)
