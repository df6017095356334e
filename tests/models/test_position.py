"""Sin-cos tables, resizing, and the relative position bias."""

import math

import pytest
import torch
from mmpretrain.models.utils import build_2d_sincos_position_embedding
from timm.layers import resample_abs_pos_embed
from transformers import ViTMAEConfig
from transformers.models.vit_mae.modeling_vit_mae import ViTMAEEmbeddings

from mae_bench.models.position import (
    RelativePositionBias,
    relative_position_rows,
    relative_position_values,
    resize_position_table,
    resize_relative_position_table,
    sincos_position_table,
)


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def cubic(distance):
    """Keys' cubic convolution kernel with a = -0.75, PyTorch's choice."""
    a, x = -0.75, abs(distance)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


# Sin-cos tables


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 4), (2, 0), (1, 3)])
def test_sincos_closed_form_column_first(row, column):
    dim, grid = 8, (3, 5)
    table = sincos_position_table(dim, grid)
    assert table.shape == (1, 15, dim) and table.dtype == torch.float32
    frequencies = (1.0, 0.01)  # 10000 ** (-k / 2)
    expected = [
        function(position * frequency)
        for position in (column, row)
        for function in (math.sin, math.cos)
        for frequency in frequencies
    ]
    assert table[0, row * 5 + column].tolist() == pytest.approx(expected, abs=1e-7)


def test_sincos_agrees_with_hugging_face():
    config = ViTMAEConfig(
        image_size=20,
        patch_size=4,
        hidden_size=32,
        num_attention_heads=2,
        intermediate_size=8,
        num_hidden_layers=1,
    )
    embeddings = ViTMAEEmbeddings(config)
    embeddings.initialize_weights()
    stored = embeddings.position_embeddings.detach()
    assert not stored[:, :1].any()  # the class token
    torch.testing.assert_close(sincos_position_table(32, (5, 5)), stored[:, 1:], rtol=0, atol=1e-6)


def test_sincos_of_moco_has_the_halves_swapped():
    moco = build_2d_sincos_position_embedding(4, 16)
    ours = sincos_position_table(16, (4, 4))
    assert (ours - moco).abs().max() > 1
    swapped = torch.cat([moco[..., 8:], moco[..., :8]], dim=-1)
    torch.testing.assert_close(ours, swapped, rtol=0, atol=1e-6)


def test_sincos_needs_a_multiple_of_four():
    with pytest.raises(ValueError, match="multiple of 4, got 30"):
        sincos_position_table(30, (2, 2))


# Resizing the absolute table


@pytest.mark.parametrize("prefix", [0, 1])
@pytest.mark.parametrize(
    ("source", "target"),
    [((4, 4), (7, 7)), ((6, 6), (3, 3)), ((4, 4), (3, 9)), ((2, 8), (5, 4))],
)
def test_resize_agrees_with_timm_without_antialias(source, target, prefix):
    table = noise(1, prefix + source[0] * source[1], 8)
    expected = resample_abs_pos_embed(
        table, list(target), list(source), num_prefix_tokens=prefix, antialias=False
    )
    torch.testing.assert_close(
        resize_position_table(table, source, target), expected, rtol=1e-6, atol=1e-6
    )


def test_resize_by_hand():
    """Doubling a row of 8: target i samples the source at (i + 0.5) / 2 - 0.5."""
    values = [3.0, -1.0, 4.0, 1.0, -5.0, 9.0, 2.0, 6.0]
    table = torch.tensor(values).reshape(1, 8, 1)
    resized = resize_position_table(table, (1, 8), (1, 16)).flatten().tolist()
    for i in range(4, 12):  # away from the border, whose treatment is PyTorch's
        place = (i + 0.5) / 2 - 0.5
        expected = sum(v * cubic(place - k) for k, v in enumerate(values))
        assert resized[i] == pytest.approx(expected, abs=1e-5)


def test_resize_keeps_rows_and_columns_apart():
    rows, columns = torch.meshgrid(torch.arange(2.0), torch.arange(4.0), indexing="ij")
    table = torch.stack([rows.flatten(), columns.flatten()], dim=-1)[None]
    resized = resize_position_table(table, (2, 4), (6, 4)).reshape(6, 4, 2)
    assert (resized[..., 0].diff(dim=0) > 0).any()
    torch.testing.assert_close(resized[..., 0], resized[:, :1, 0].expand(6, 4))
    torch.testing.assert_close(resized[..., 1], columns[:1].expand(6, 4))


def test_resize_keeps_the_class_token_the_dtype_and_gradients():
    table = noise(1, 5, 4).bfloat16().requires_grad_()
    resized = resize_position_table(table, (2, 2), (3, 5))
    assert resized.shape == (1, 16, 4) and resized.dtype == torch.bfloat16
    assert torch.equal(resized[:, 0], table[:, 0])
    resized.float().sum().backward()
    assert table.grad.float().abs().min() > 0


def test_resize_to_the_same_grid_is_the_same_tensor():
    table = noise(1, 7, 4)
    assert resize_position_table(table, (2, 3), (2, 3)) is table


# Relative position bias


@pytest.mark.parametrize(
    ("grid", "rows"), [((14, 14), 732), ((32, 32), 3972), ((40, 40), 6244), ((2, 3), 18)]
)
def test_rows_of_the_relative_table(grid, rows):
    assert relative_position_rows(grid, class_token=True) == rows
    assert relative_position_rows(grid, class_token=False) == rows - 3


@pytest.mark.parametrize("grid", [(3, 3), (2, 4), (4, 1), (1, 3)])
def test_relative_position_values_pair_by_pair(grid):
    """The values of a table of its own row numbers are those that serve each pair."""
    height, width = grid
    places = [(r, c) for r in range(height) for c in range(width)]

    def served(class_token):
        n = relative_position_rows(grid, class_token)
        table = torch.arange(float(n))[:, None] * torch.tensor([1.0, -1.0])  # two heads
        values = relative_position_values(table, grid, class_token)
        assert values.shape == (2, *[len(places) + class_token] * 2)
        assert torch.equal(values[1], -values[0])
        return values[0].long()

    patches, index = served(False), served(True)
    n = relative_position_rows(grid, True)
    for q, (qr, qc) in enumerate(places):
        for k, (kr, kc) in enumerate(places):
            row = (qr - kr + height - 1) * (2 * width - 1) + (qc - kc + width - 1)
            assert patches[q, k] == row
            assert index[q + 1, k + 1] == row
    assert index[0, 1:].unique().tolist() == [n - 3]  # class token asks, patches answer
    assert index[1:, 0].unique().tolist() == [n - 2]
    assert index[0, 0] == n - 1
    # Every row of the table serves some pair.
    assert index.unique().tolist() == list(range(n))


def test_bias_looks_up_the_table():
    bias = RelativePositionBias((2, 3), 4, class_token=True)
    assert not bias.relative_position_bias_table.any()
    table = noise(18, 4)
    bias.load_state_dict({"relative_position_bias_table": table})
    out = bias((2, 3))
    assert out.shape == (4, 7, 7)
    # Query is row 1, column 0 (token 4), key is row 0, column 2 (token 3): dy = 1, dx = -2.
    assert torch.equal(out[:, 4, 3], table[(1 + 1) * 5 + (-2 + 2)])
    assert torch.equal(out[:, 0, 5], table[15])
    assert torch.equal(out[:, 5, 0], table[16])
    assert torch.equal(out[:, 0, 0], table[17])


@pytest.mark.parametrize("class_token", [False, True])
@pytest.mark.parametrize(("source", "factor"), [((3, 3), 2), ((2, 4), 3)])
def test_resized_relative_table_passes_through_the_old_values(source, factor, class_token):
    """With H' - 1 = factor * (H - 1), old offset d lies exactly on new offset factor * d."""
    target = (factor * (source[0] - 1) + 1, factor * (source[1] - 1) + 1)
    table = noise(relative_position_rows(source, class_token), 2)
    resized = resize_relative_position_table(table, source, target, class_token)
    assert resized.shape == (relative_position_rows(target, class_token), 2)
    patches = relative_position_rows(target, class_token=False)
    plane = resized[:patches].reshape(2 * target[0] - 1, 2 * target[1] - 1, 2)
    old = table[: relative_position_rows(source, class_token=False)]
    torch.testing.assert_close(plane[::factor, ::factor].reshape(-1, 2), old, rtol=1e-5, atol=1e-5)
    assert torch.equal(resized[patches:], table[len(old) :])


@pytest.mark.parametrize("target", [(5, 5), (2, 2), (3, 7)])
def test_resizing_keeps_constants_and_symmetry(target):
    rows = relative_position_rows((4, 4), class_token=False)
    constant = resize_relative_position_table(torch.full((rows, 1), 0.7), (4, 4), target, False)
    torch.testing.assert_close(constant, torch.full_like(constant, 0.7))
    table = noise(rows, 1)
    symmetric = table + table.flip(0)  # bias(-d) = bias(d)
    resized = resize_relative_position_table(symmetric, (4, 4), target, False)
    torch.testing.assert_close(resized, resized.flip(0), rtol=1e-5, atol=1e-5)
    # The zero offset stays in the centre.
    torch.testing.assert_close(resized[len(resized) // 2], symmetric[rows // 2])


def test_relative_table_at_its_own_grid_is_the_same_tensor():
    table = noise(relative_position_rows((3, 4), True), 2)
    assert resize_relative_position_table(table, (3, 4), (3, 4), True) is table


def test_gradient_of_a_table_counts_the_pairs_of_each_row():
    bias = RelativePositionBias((3, 5), 2, class_token=False)
    bias((3, 5)).sum().backward()
    counts = torch.tensor(
        [[(3 - abs(dy)) * (5 - abs(dx)) for dx in range(-4, 5)] for dy in range(-2, 3)]
    )
    gradient = bias.relative_position_bias_table.grad
    assert torch.equal(gradient, counts.flatten()[:, None].float().expand(-1, 2))
