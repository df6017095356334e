"""Decomposed relative positions against ViTDet's formula, written out pair by pair."""

import numpy as np
import pytest
import torch

from mae_bench.models.attention import CPU_FUSED_MIN_TOKENS, Attention
from mae_bench.models.kernels.blockwise import BLOCK, MIN_TOKENS
from mae_bench.models.position import decomposed_channels, resize_offset_table
from mae_bench.models.vit import Block, VisionTransformer

TINY = dict(embed_dim=32, depth=4, num_heads=2)
FUSED = (12, 11)  # more tokens than attention's switch to the fused kernel
BLOCKWISE = (22, 24)  # and than that to blocks of queries, of which the last one is not full
assert FUSED[0] * FUSED[1] > CPU_FUSED_MIN_TOKENS
assert BLOCKWISE[0] * BLOCKWISE[1] > MIN_TOKENS > BLOCK


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def resized_by_hand(table, side):
    """Linear interpolation between the centres of cells: (2s - 1, d) -> (2 * side - 1, d)."""
    old, new = len(table), 2 * side - 1
    places = (np.arange(new) + 0.5) * old / new - 0.5
    columns = [np.interp(places, np.arange(old), c) for c in table.detach().double().numpy().T]
    return torch.from_numpy(np.stack(columns, axis=1)).to(table.dtype)


def written_out(attention, x, grid):
    """softmax(q k^T / sqrt(d) + q . rel_h[dy] + q . rel_w[dx]) v, with the logits at hand."""
    batch, tokens, dim = x.shape
    heads = attention.num_heads
    q, k, v = (
        part.reshape(batch, tokens, heads, -1).transpose(1, 2)
        for part in attention.qkv(x).split(dim, dim=-1)
    )
    row = torch.arange(tokens) // grid[1]
    column = torch.arange(tokens) % grid[1]
    by_row = attention.rel_pos_h[row[:, None] - row[None, :] + grid[0] - 1]  # (N, N, d)
    by_column = attention.rel_pos_w[column[:, None] - column[None, :] + grid[1] - 1]
    logits = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    logits = logits + torch.einsum("bnqd,qkd->bnqk", q, by_row)
    logits = logits + torch.einsum("bnqd,qkd->bnqk", q, by_column)
    out = logits.softmax(dim=-1) @ v
    return attention.proj(out.transpose(1, 2).reshape(batch, tokens, dim))


def gradients(module, out, x):
    parameters = dict(module.named_parameters())
    direction = noise(*out.shape, seed=3).to(out.dtype)
    found = torch.autograd.grad((out * direction).sum(), [*parameters.values(), x])
    return dict(zip([*parameters, "input"], found, strict=True))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("grid", [(3, 3), (2, 5), (5, 2), (2, 2), FUSED, BLOCKWISE])
def test_attention_and_all_gradients_agree_with_the_formula(
    grid, dtype, tolerance, randomise, relative_error
):
    attention = randomise(Attention(24, 3, rel_pos_grid=grid)).to(dtype)
    x = noise(2, grid[0] * grid[1], 24).to(dtype).requires_grad_()
    out, expected = attention(x, grid=grid), written_out(attention, x, grid)
    assert relative_error(out, expected) < tolerance
    ours, theirs = gradients(attention, out, x), gradients(attention, expected, x)
    assert {"rel_pos_h", "rel_pos_w"} < set(ours)
    for name in ours:
        assert relative_error(ours[name], theirs[name]) < tolerance, name


def test_keys_pick_their_row_and_column():
    """The channels themselves, in closed form: q = 1, tables that count the offsets."""
    rows, columns = 2, 3
    table_h = torch.arange(2 * rows - 1.0).unsqueeze(1)
    table_w = 10 * torch.arange(2 * columns - 1.0).unsqueeze(1)
    q = torch.ones(1, 1, rows * columns, 1)
    extra_q, extra_k = decomposed_channels(q, table_h, table_w, (rows, columns))
    bias = extra_q[0, 0] @ extra_k.T
    for query in range(6):
        for key in range(6):
            dy, dx = query // 3 - key // 3, query % 3 - key % 3
            assert bias[query, key] == (dy + 1) + 10 * (dx + 2)


@pytest.mark.parametrize(("source", "target"), [(4, 7), (7, 4), (14, 16), (3, 3), (1, 5)])
def test_tables_are_resized_linearly(source, target):
    table = noise(2 * source - 1, 6)
    resized = resize_offset_table(table, target)
    torch.testing.assert_close(resized, resized_by_hand(table, target), rtol=1e-5, atol=1e-6)
    # The zero offset stays in the middle.
    torch.testing.assert_close(resized[target - 1], table[source - 1])
    assert (resized is table) == (source == target)


@pytest.mark.parametrize("grid", [(4, 4), (6, 5), (3, 9), FUSED])
def test_attention_at_another_grid_resizes_the_tables(grid, randomise, relative_error):
    made_for = (4, 6)
    attention = randomise(Attention(24, 3, rel_pos_grid=made_for))
    fitted = Attention(24, 3, rel_pos_grid=grid)
    state = attention.state_dict()
    for name, side in zip(("rel_pos_h", "rel_pos_w"), grid, strict=True):
        state[name] = resized_by_hand(state[name], side)
    fitted.load_state_dict(state)
    x = noise(2, grid[0] * grid[1], 24)
    assert relative_error(attention(x, grid=grid), written_out(fitted, x, grid)) < 1e-5


@pytest.mark.parametrize(
    ("grid", "window"), [((4, 6), 2), ((5, 7), 3), ((7, 3), 4), ((13, 25), 12)]
)
def test_windowed_block_agrees_with_a_loop(grid, window, randomise, relative_error):
    block = randomise(Block(24, 3, window_size=window, rel_pos_grid=(window, window)))
    x = noise(2, grid[0] * grid[1], 24)
    attended = torch.zeros(2, *grid, 24)
    normed = block.norm1(x).reshape(2, *grid, 24)
    for top in range(0, grid[0], window):
        for left in range(0, grid[1], window):
            part = normed[:, top : top + window, left : left + window]
            rows, columns = part.shape[1:3]
            padded = torch.zeros(2, window, window, 24)
            padded[:, :rows, :columns] = part
            out = written_out(block.attn, padded.flatten(1, 2), (window, window))
            out = out.reshape(2, window, window, 24)[:, :rows, :columns]
            attended[:, top : top + rows, left : left + columns] = out
    expected = x + attended.flatten(1, 2)
    expected = expected + block.mlp(block.norm2(expected))
    assert relative_error(block(x, grid), expected) < 1e-5


WINDOWS = dict(window_size=3, global_blocks=(1, 3))


def build(img_size=(64, 80), **options):
    options = dict(out_indices=(3,), class_token=False, **options)
    return VisionTransformer(TINY, img_size, **options)


def test_names_and_shapes_of_detectron2():
    model = build(rel_pos_bias="decomposed", **WINDOWS)
    shapes = {n: tuple(p.shape) for n, p in model.named_parameters() if "rel_pos" in n}
    windowed = {"rel_pos_h": (5, 16), "rel_pos_w": (5, 16)}
    whole = {"rel_pos_h": (7, 16), "rel_pos_w": (9, 16)}
    assert shapes == {
        f"blocks.{i}.attn.{name}": shape
        for i in range(4)
        for name, shape in (whole if i in (1, 3) else windowed).items()
    }


@pytest.mark.parametrize("windows", [{}, WINDOWS])
@pytest.mark.parametrize("img_size", [(64, 80), (96, 48), (128, 176)])
def test_constant_tables_have_no_effect_at_any_size(windows, img_size, randomise, relative_error):
    """A constant table adds the same to all logits of a query, which its softmax forgets."""
    model = randomise(build(rel_pos_bias="decomposed", **windows))
    plain = build(**windows)
    plain.load_state_dict(model.state_dict(), strict=False)
    images = noise(1, 3, *img_size)
    expected = plain(images)[0]
    assert relative_error(model(images)[0], expected) > 1e-3
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "rel_pos" in name:
                parameter.copy_(noise(16).expand_as(parameter))
    assert relative_error(model(images)[0], expected) < 1e-5


def test_a_model_runs_at_another_size_as_one_made_for_it(randomise, relative_error):
    model = randomise(build(rel_pos_bias="decomposed", **WINDOWS))
    other = build((112, 48), rel_pos_bias="decomposed", **WINDOWS)
    state = model.state_dict()
    state["pos_embed"] = model.patch_positions((7, 3))
    for i in WINDOWS["global_blocks"]:
        for name, side in (("h", 7), ("w", 3)):
            key = f"blocks.{i}.attn.rel_pos_{name}"
            state[key] = resized_by_hand(state[key], side)
    other.load_state_dict(state)
    images = noise(2, 3, 112, 48)
    assert relative_error(model(images)[0], other(images)[0]) < 1e-5


def test_they_have_no_class_token():
    with pytest.raises(ValueError, match='"decomposed" has no row for it: set class_token=False'):
        VisionTransformer(TINY, 64, out_indices=(3,), rel_pos_bias="decomposed")
