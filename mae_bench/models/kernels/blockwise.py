"""Attention with a learned bias on a CPU that never holds all logits.

PyTorch's fused kernel for CPUs has no gradient for a bias: as soon as one is learned, the logits of
all heads are written out, several times over. Here a block of queries of one head at a time goes
from logits to output while it is in the cache, and again in the backward pass.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .observers import captured

# Queries in a block: 4 MB of float32 logits at 4,096 keys. Measured: 128 to 1,024 are alike.
BLOCK = 256
# Fewest keys for which blocks are worth their loop in Python.
MIN_TOKENS = 512


def serves(q: Tensor, k: Tensor) -> bool:
    """Whether :func:`attend_blockwise` takes these queries and keys, and is the faster way."""
    exact = q.dtype in (torch.float32, torch.float64)
    return q.device.type == "cpu" and exact and k.shape[-2] >= MIN_TOKENS and not captured()


def attend_blockwise(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None = None,
    by_row: Tensor | None = None,
    by_column: Tensor | None = None,
) -> Tensor:
    """softmax(q k^T + bias) v, differentiable in all arguments.

    Args:
        q: (B, heads, Nq, d), scaled.
        k: (B, heads, Nk, d).
        v: (B, heads, Nk, e).
        bias: (heads, Nq, Nk); or None, and then the next two.
        by_row: (B, heads, Nq, H), what the row of a key adds; Nk = H * W.
        by_column: (B, heads, Nq, W), what its column adds.

    Returns:
        (B, heads, Nq, e).
    """
    return _BlockwiseAttention.apply(q, k, v, bias, by_row, by_column)


def _blocks(q: Tensor) -> Iterator[tuple[int, int, slice]]:
    batch, heads, queries = q.shape[:3]
    for b in range(batch):
        for h in range(heads):
            for start in range(0, queries, BLOCK):
                yield b, h, slice(start, start + BLOCK)


def _probabilities(
    place: tuple[int, int, slice],
    q: Tensor,
    k: Tensor,
    bias: Tensor | None,
    by_row: Tensor | None,
    by_column: Tensor | None,
) -> Tensor:
    """Attention weights of one block, (n, Nk)."""
    if by_row is None or by_column is None:
        assert bias is not None, "a bias of either kind"
        block_bias = bias[place[1:]]
    else:
        block_bias = (by_row[place][:, :, None] + by_column[place][:, None, :]).flatten(1)
    return torch.addmm(block_bias, q[place], k[place[:2]].T).softmax(dim=-1)


class _BlockwiseAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, bias, by_row, by_column):
        ctx.save_for_backward(q, k, v, bias, by_row, by_column)
        out = q.new_empty(*q.shape[:3], v.shape[-1])
        for place in _blocks(q):
            weights = _probabilities(place, q, k, bias, by_row, by_column)
            torch.mm(weights, v[place[:2]], out=out[place])
        return out

    @staticmethod
    def backward(ctx, grad_out):
        if torch.is_grad_enabled():
            return _differentiable_backward(ctx.saved_tensors, ctx.needs_input_grad, grad_out)
        q, k, v, bias, by_row, by_column = ctx.saved_tensors
        grad_q, grad_k, grad_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        grad_bias = None if bias is None else torch.zeros_like(bias)
        grad_row = None if by_row is None else torch.empty_like(by_row)
        grad_column = None if by_column is None else torch.empty_like(by_column)
        for place in _blocks(q):
            head = place[:2]
            weights = _probabilities(place, q, k, bias, by_row, by_column)
            grad_v[head].addmm_(weights.T, grad_out[place])
            grad_logits = torch._softmax_backward_data(
                grad_out[place] @ v[head].T, weights, -1, weights.dtype
            )
            grad_q[place] = grad_logits @ k[head]
            grad_k[head].addmm_(grad_logits.T, q[place])
            if grad_bias is not None:
                grad_bias[place[1:]] += grad_logits
            if grad_row is not None and grad_column is not None:
                pairs = grad_logits.unflatten(1, (grad_row.shape[-1], grad_column.shape[-1]))
                grad_row[place], grad_column[place] = pairs.sum(dim=2), pairs.sum(dim=1)
        return grad_q, grad_k, grad_v, grad_bias, grad_row, grad_column


def _differentiable_backward(
    saved: tuple[Any, ...], wanted: tuple[bool, ...], grad_out: Tensor
) -> tuple[Tensor | None, ...]:
    """The gradients with a graph of their own, from the formula written out."""
    q, k, v, bias, by_row, by_column = saved
    if bias is None:
        bias = (by_row[..., :, None] + by_column[..., None, :]).flatten(-2)
    out = (q @ k.transpose(-2, -1) + bias).softmax(dim=-1) @ v
    inputs = [tensor for tensor, want in zip(saved, wanted, strict=True) if want]
    found = iter(torch.autograd.grad(out, inputs, grad_out, create_graph=True))
    return tuple(next(found) if want else None for want in wanted)
