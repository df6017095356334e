"""Attention, the relative position bias in it, and windows."""

import pytest
import torch
from mmseg.models.backbones.beit import BEiTAttention
from torch import nn

from mae_bench.models.attention import (
    CPU_FUSED_MIN_TOKENS,
    Attention,
    attend,
    merge_windows,
    partition_windows,
)
from mae_bench.models.position import RelativePositionBias
from mae_bench.models.vit import Block

TOLERANCE = 1e-5


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def written_out_attention(q, k, v, bias=None):
    """softmax(q k^T / sqrt(d) + bias) v in float64."""
    q, k, v = q.double(), k.double(), v.double()
    logits = torch.einsum("bhqd,bhkd->bhqk", q, k) / q.shape[-1] ** 0.5
    if bias is not None:
        logits = logits + bias.double()
    weights = logits.exp()
    return torch.einsum("bhqk,bhkd->bhqd", weights / weights.sum(-1, keepdim=True), v)


@pytest.mark.parametrize("tokens", [5, CPU_FUSED_MIN_TOKENS - 1, CPU_FUSED_MIN_TOKENS + 1])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float32, 1e-6), (torch.bfloat16, 2e-2)],
)
def test_both_kernels_compute_attention(tokens, with_bias, dtype, tolerance, relative_error):
    q, k, v = noise(3, 2, 3, tokens, 8).to(dtype)
    bias = noise(3, tokens, tokens, seed=1) if with_bias else None
    out = attend(q, k, v, bias)
    assert out.dtype == dtype
    assert relative_error(out, written_out_attention(q, k, v, bias)) < tolerance


@pytest.mark.parametrize("tokens", [9, CPU_FUSED_MIN_TOKENS])
def test_attention_agrees_with_torch(tokens, randomise, relative_error):
    ours = randomise(Attention(24, 3))
    peer = nn.MultiheadAttention(24, 3, batch_first=True)
    peer.load_state_dict(
        {
            "in_proj_weight": ours.qkv.weight,
            "in_proj_bias": ours.qkv.bias,
            "out_proj.weight": ours.proj.weight,
            "out_proj.bias": ours.proj.bias,
        }
    )
    x, bias = noise(2, tokens, 24), noise(3, tokens, tokens, seed=1)
    expected, _ = peer(x, x, x, attn_mask=bias.repeat(2, 1, 1), need_weights=False)
    assert relative_error(ours(x, bias), expected) < TOLERANCE


@pytest.mark.parametrize("grid", [(3, 3), (2, 5), (5, 2), (12, 12), (9, 16)])
def test_relative_bias_agrees_with_mmsegmentation(grid, randomise, relative_error):
    peer = randomise(BEiTAttention(24, 3, window_size=grid, bias=True))
    ours = Attention(24, 3, RelativePositionBias(grid, 3, class_token=True))
    state = peer.state_dict()
    state.pop("relative_position_index")
    table = state.pop("relative_position_bias_table")
    state["rel_pos_bias.relative_position_bias_table"] = table
    ours.load_state_dict(state)

    x = noise(2, grid[0] * grid[1] + 1, 24)
    out, expected = ours(x, ours.rel_pos_bias(grid)), peer(x)
    assert relative_error(out, expected) < TOLERANCE
    direction = noise(*out.shape, seed=1)
    (out * direction).sum().backward()
    (expected * direction).sum().backward()
    assert (
        relative_error(
            ours.rel_pos_bias.relative_position_bias_table.grad,
            peer.relative_position_bias_table.grad,
        )
        < TOLERANCE
    )


# Windows


def windows_by_loop(x, grid, window):
    """Each window as (window * window, C), zero where it reaches beyond the grid."""
    batch, _, channels = x.shape
    image = x.reshape(batch, *grid, channels)
    windows = []
    for b in range(batch):
        for top in range(0, grid[0], window):
            for left in range(0, grid[1], window):
                one = torch.zeros(window, window, channels)
                part = image[b, top : top + window, left : left + window]
                one[: part.shape[0], : part.shape[1]] = part
                windows.append(((b, top, left), one.reshape(-1, channels)))
    return windows


GRIDS = [((4, 4), 2), ((5, 7), 3), ((3, 8), 4), ((2, 3), 5), ((6, 2), 2)]


@pytest.mark.parametrize(("grid", "window"), GRIDS)
def test_windows_are_cut_row_major_and_padded_with_zeros(grid, window):
    x = noise(2, grid[0] * grid[1], 3)
    windows, padded = partition_windows(x, grid, window)
    expected = torch.stack([one for _, one in windows_by_loop(x, grid, window)])
    assert torch.equal(windows, expected)
    assert padded == tuple(-(-side // window) * window for side in grid)
    assert torch.equal(merge_windows(windows, padded, grid, window), x)


@pytest.mark.parametrize(
    ("grid", "window", "padded", "windows"),
    [
        ((64, 64), 14, (70, 70), 25),  # ViTDet at 1024 pixels
        ((64, 64), 16, (64, 64), 16),  # the COCO transfer, which needs no padding
        ((50, 84), 14, (56, 84), 24),
    ],
)
def test_windows_of_the_published_models(grid, window, padded, windows):
    x = noise(1, grid[0] * grid[1], 1)
    cut, actual = partition_windows(x, grid, window)
    assert actual == padded and cut.shape == (windows, window**2, 1)
    # Padding adds zeros and loses nothing.
    assert cut.sum().item() == pytest.approx(x.sum().item(), abs=1e-2)
    assert (cut == 0).sum() == padded[0] * padded[1] - grid[0] * grid[1]
    assert torch.equal(merge_windows(cut, actual, grid, window), x)


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize(("grid", "window"), GRIDS)
def test_windowed_block_agrees_with_a_loop(grid, window, with_bias, randomise, relative_error):
    dim, heads = 12, 2
    bias = RelativePositionBias((window, window), heads, False) if with_bias else None
    block = randomise(Block(dim, heads, window_size=window, rel_pos_bias=bias))
    x = noise(2, grid[0] * grid[1], dim)

    logits_bias = torch.zeros(heads, window**2, window**2)
    if bias is not None:
        for q in range(window**2):
            for k in range(window**2):
                dy, dx = q // window - k // window, q % window - k % window
                row = (dy + window - 1) * (2 * window - 1) + dx + window - 1
                logits_bias[:, q, k] = bias.relative_position_bias_table[row].detach()

    attended = torch.zeros(2, *grid, dim)
    for (b, top, left), one in windows_by_loop(block.norm1(x), grid, window):
        q, k, v = (
            part.reshape(1, window**2, heads, -1).transpose(1, 2)
            for part in block.attn.qkv(one).split(dim, dim=-1)
        )
        out = written_out_attention(q, k, v, logits_bias).float()
        out = block.attn.proj(out.transpose(1, 2).reshape(window, window, dim))
        rows, columns = min(window, grid[0] - top), min(window, grid[1] - left)
        attended[b, top : top + rows, left : left + columns] = out[:rows, :columns]
    expected = x + attended.flatten(1, 2)
    expected = expected + block.mlp(block.norm2(expected))
    assert relative_error(block(x, grid), expected) < TOLERANCE


def test_a_window_that_covers_the_grid_is_global_attention(randomise, relative_error):
    windowed = randomise(Block(12, 2, window_size=4))
    plain = randomise(Block(12, 2))
    x = noise(2, 16, 12)
    assert relative_error(windowed(x, (4, 4)), plain(x)) < 1e-6
