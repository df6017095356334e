"""Blockwise attention against the formula, with finite differences, and where it serves."""

import pytest
import torch

from mae_bench.models.attention import Attention, attend
from mae_bench.models.kernels import blockwise
from mae_bench.models.kernels.blockwise import BLOCK, MIN_TOKENS, attend_blockwise
from mae_bench.models.position import RelativePositionBias

GRID = (3, 4)


def inputs(queries=12, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(2, 3, queries, 5), (2, 3, 12, 5), (2, 3, 12, 4), (3, queries, 12)]
    shapes += [(2, 3, queries, 3), (2, 3, queries, 4)]
    return [torch.randn(s, generator=generator, dtype=dtype).requires_grad_() for s in shapes]


def written_out(q, k, v, bias):
    return (q @ k.transpose(-2, -1) + bias).softmax(dim=-1) @ v


@pytest.mark.parametrize("block", [1, 5, 12, 100])
@pytest.mark.parametrize("queries", [7, 12])
def test_values_do_not_depend_on_the_block(block, queries, monkeypatch):
    monkeypatch.setattr(blockwise, "BLOCK", block)
    q, k, v, bias, by_row, by_column = inputs(queries)
    torch.testing.assert_close(attend_blockwise(q, k, v, bias), written_out(q, k, v, bias))
    pairs = (by_row[..., :, None] + by_column[..., None, :]).flatten(-2)
    out = attend_blockwise(q, k, v, by_row=by_row, by_column=by_column)
    torch.testing.assert_close(out, written_out(q, k, v, pairs))


@pytest.mark.slow
def test_gradients_by_finite_differences(monkeypatch):
    monkeypatch.setattr(blockwise, "BLOCK", 5)
    q, k, v, bias, by_row, by_column = inputs()
    assert torch.autograd.gradcheck(attend_blockwise, (q, k, v, bias))
    assert torch.autograd.gradcheck(attend_blockwise, (q, k, v, None, by_row, by_column))


@pytest.mark.parametrize("training", [True, False])
def test_attention_with_a_learned_bias_at_many_tokens(training, randomise, relative_error):
    """The table's gradient too: blocks in training, the fused kernel with a mask in inference."""
    grid = (23, 24)
    assert grid[0] * grid[1] > MIN_TOKENS > BLOCK
    attention = randomise(Attention(12, 2, RelativePositionBias(grid, 2, class_token=True)))
    table = attention.rel_pos_bias.relative_position_bias_table
    x = torch.randn(2, 1 + grid[0] * grid[1], 12, generator=torch.Generator().manual_seed(0))
    with torch.set_grad_enabled(training):
        out = attention(x, attention.rel_pos_bias(grid))
    bias = attention.rel_pos_bias(grid)
    q, k, v = (
        part.reshape(2, -1, 2, 6).transpose(1, 2) for part in attention.qkv(x).split(12, dim=-1)
    )
    expected = written_out(q / 6**0.5, k, v, bias).transpose(1, 2).reshape(x.shape)
    expected = attention.proj(expected)
    assert relative_error(out, expected) < 1e-5
    if training:
        weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
        (ours,) = torch.autograd.grad((out * weights).sum(), table)
        (theirs,) = torch.autograd.grad((expected * weights).sum(), table)
        assert relative_error(ours, theirs) < 1e-5


def kept(call):
    """Largest tensor that the backward pass will need."""
    sizes = [0]

    def pack(tensor):
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        call()
    return max(sizes)


def test_no_logits_are_kept():
    """Batch times heads times tokens squared is what the bias alone need not be."""
    q, k, v = (torch.randn(2, 3, MIN_TOKENS, 4).requires_grad_() for _ in range(3))
    bias = torch.zeros(3, MIN_TOKENS, MIN_TOKENS).requires_grad_()
    assert kept(lambda: attend(q, k, v, bias)) == 3 * MIN_TOKENS**2
    few = slice(0, MIN_TOKENS - 1)
    shorter = (q[:, :, few], k[:, :, few], v[:, :, few], bias[:, few, few])
    assert kept(lambda: attend(*shorter)) == 2 * 3 * (MIN_TOKENS - 1) ** 2


@pytest.mark.parametrize(
    ("dtype", "tokens", "served"),
    [
        (torch.float32, MIN_TOKENS, True),
        (torch.float64, MIN_TOKENS, True),
        (torch.bfloat16, MIN_TOKENS, False),
        (torch.float32, MIN_TOKENS - 1, False),
    ],
)
def test_where_it_serves(dtype, tokens, served):
    q = torch.zeros(1, 1, tokens, 2, dtype=dtype)
    assert blockwise.serves(q, q) == served


@pytest.mark.slow
def test_second_derivatives(monkeypatch):
    monkeypatch.setattr(blockwise, "BLOCK", 5)
    q, k, v, bias, by_row, by_column = (tensor.detach() for tensor in inputs())
    for tensor in (q, k, v, bias, by_row, by_column):
        tensor.requires_grad_()
    assert torch.autograd.gradgradcheck(attend_blockwise, (q, k, v, bias))
    assert torch.autograd.gradgradcheck(attend_blockwise, (q, k, v, None, by_row, by_column))


def test_transforms_take_the_formula():
    """Forward mode has no blocks, and gives what finite differences give."""
    generator = torch.Generator().manual_seed(0)
    shape = (1, 1, MIN_TOKENS, 3)
    q, k, v, d = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(4))
    bias = torch.randn(1, MIN_TOKENS, MIN_TOKENS, generator=generator, dtype=torch.float64)
    bias.requires_grad_()
    slope = torch.func.jvp(lambda x: attend(x, k, v, bias), (q,), (d,))[1]
    step = 1e-6
    expected = (attend(q + step * d, k, v, bias) - attend(q - step * d, k, v, bias)) / (2 * step)
    torch.testing.assert_close(slope, expected, rtol=1e-6, atol=1e-8)
