"""Layer scale and relative positions of a file, matched to models with other options."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mae_bench.checkpoint.names import visible_options
from mae_bench.checkpoint.transfer import load_backbone
from mae_bench.checkpoint.variants import fold_layer_scale
from mae_bench.models import VisionTransformer

BASE = dict(
    arch=dict(embed_dim=16, depth=3, num_heads=2), img_size=32, patch_size=8, output="tokens"
)
DENSE = dict(output="maps", out_indices=[2], class_token=False)
WINDOWS = dict(window_size=3, global_blocks=[1])
TABLE = "attn.rel_pos_bias.relative_position_bias_table"
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def build(**changes) -> VisionTransformer:
    return VisionTransformer(**{**BASE, **changes})


def noisy(**changes) -> VisionTransformer:
    backbone = build(**changes)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return backbone


def close(actual, expected):
    error = (actual - expected).norm() / expected.norm()
    assert actual.shape == expected.shape and error < 1e-5


# Layer scale


def test_layer_scale_is_kept_where_the_model_has_it():
    source = noisy(layer_scale_init=0.1)
    target = build(layer_scale_init=1e-5)
    report = load_backbone(target, source.state_dict())
    assert report.folded == [] and report.share == 1.0
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value), name


def test_layer_scale_is_folded_where_the_model_lacks_it():
    source = noisy(layer_scale_init=0.1)
    target = build()
    report = load_backbone(target, source.state_dict())
    assert sorted(report.folded) == sorted(n for n in source.state_dict() if "gamma" in n)
    assert report.dropped == [] and report.share == 1.0
    assert "layer scale folded into the layers before it: 6" in report.summary()
    close(target(IMAGES)[0], source(IMAGES)[0])
    weight = source.blocks[1].attn.proj.weight * source.blocks[1].ls1.gamma[:, None]
    assert torch.equal(target.blocks[1].attn.proj.weight, weight)


def test_a_scale_of_one_folds_without_a_change():
    source = noisy(layer_scale_init=1.0)
    state = {
        k: torch.ones_like(v) if k.endswith("gamma") else v for k, v in source.state_dict().items()
    }
    target = build()
    load_backbone(target, state)
    for name, value in target.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_a_file_without_layer_scale_for_the_public_mae_segmentation_model():
    source = noisy()
    target = build(layer_scale_init=1.0)
    report = load_backbone(target, source.state_dict())
    assert len(report.initialised) == 6 and all(n.endswith("gamma") for n in report.initialised)
    assert all(block.ls1.gamma.requires_grad for block in target.blocks)
    assert torch.equal(target(IMAGES)[0], source(IMAGES)[0])


def test_a_file_without_layer_scale_is_refused_where_it_would_change_the_function():
    target = build(layer_scale_init=0.1)
    before = {name: value.clone() for name, value in target.state_dict().items()}
    message = r"6 tensors not filled: blocks\.0\.ls1\.gamma, .*: set layer_scale_init to None, or"
    with pytest.raises(ValueError, match=message):
        load_backbone(target, noisy().state_dict())
    for name, value in target.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_scale_of_another_width_is_refused():
    tensors = {**noisy().state_dict(), "blocks.0.ls1.gamma": torch.ones(5)}
    message = r"blocks\.0\.ls1\.gamma is \(5,\), of another width than blocks\.0\.attn\.proj"
    with pytest.raises(ValueError, match=message):
        load_backbone(build(), tensors)
    # Without its layer it cannot be folded.
    assert "blocks.0.ls1.gamma" in fold_layer_scale({"blocks.0.ls1.gamma": torch.ones(5)})


# A table that all blocks share


def test_a_shared_table_is_copied_into_every_block():
    source = noisy(rel_pos_bias="shared")
    target = build(rel_pos_bias="per_block")
    report = load_backbone(target, source.state_dict())
    table = source.rel_pos_bias.relative_position_bias_table
    for i, block in enumerate(target.blocks):
        copied = block.attn.rel_pos_bias.relative_position_bias_table
        assert torch.equal(copied, table) and f"blocks.{i}.{TABLE}" in report.loaded
    assert report.dropped == [] and report.share == 1.0
    close(target(IMAGES)[0], source(IMAGES)[0])


def test_a_shared_table_fills_the_one_of_the_windows_too():
    source = noisy(rel_pos_bias="shared")
    target = build(**DENSE, **WINDOWS, rel_pos_bias="shared", img_size=48)
    report = load_backbone(target, source.state_dict())
    assert report.initialised == []
    plane = source.rel_pos_bias.relative_position_bias_table[:49].T.reshape(1, 2, 7, 7)
    for module, side in ((target.rel_pos_bias, 11), (target.rel_pos_bias_window, 5)):
        wanted = F.interpolate(plane, size=(side, side), mode="bicubic", align_corners=True)
        actual = module.relative_position_bias_table
        torch.testing.assert_close(actual, wanted.flatten(2)[0].T)


# Decomposed relative positions


def by_hand(table, side):
    """Linear between the centres of cells."""
    old, new = len(table), 2 * side - 1
    places = (np.arange(new) + 0.5) * old / new - 0.5
    columns = [np.interp(places, np.arange(old), c) for c in table.detach().double().numpy().T]
    return torch.from_numpy(np.stack(columns, axis=1)).float()


def test_decomposed_positions_are_resized_linearly():
    source = noisy(**DENSE, **WINDOWS, rel_pos_bias="decomposed")
    options = dict(**DENSE, rel_pos_bias="decomposed", window_size=2, global_blocks=[1])
    target = build(**options, img_size=(48, 40))
    report = load_backbone(target, source.state_dict())
    for i, sides in ((0, (2, 2)), (1, (6, 5)), (2, (2, 2))):
        for name, side in zip(("rel_pos_h", "rel_pos_w"), sides, strict=True):
            key = f"blocks.{i}.attn.{name}"
            stored, actual = source.get_parameter(key), target.get_parameter(key)
            torch.testing.assert_close(actual.detach(), by_hand(stored, side))
            assert (key, list(stored.shape), list(actual.shape)) in map(tuple, report.resized)
    images = torch.randn(1, 3, 48, 40, generator=torch.Generator().manual_seed(2))
    # Blocks with windows of another size see other tokens; those without agree.
    same = build(**DENSE, **WINDOWS, rel_pos_bias="decomposed", img_size=(48, 40))
    load_backbone(same, source.state_dict())
    close(same(images)[0], source(images)[0])


def test_decomposed_positions_start_at_zero_without_any_in_the_file():
    target = build(**DENSE, rel_pos_bias="decomposed")
    report = load_backbone(target, noisy().state_dict())
    assert len(report.initialised) == 6
    assert all("attn.rel_pos_" in name for name in report.initialised)
    assert not any(target.get_parameter(name).any() for name in report.initialised)


@pytest.mark.parametrize("rows", [0, 4])
def test_decomposed_positions_of_no_grid_are_refused(rows):
    options = dict(**DENSE, rel_pos_bias="decomposed")
    tensors = {**noisy(**options).state_dict(), "blocks.1.attn.rel_pos_w": torch.zeros(rows, 8)}
    with pytest.raises(ValueError, match=rf"blocks\.1\.attn\.rel_pos_w has {rows} rows, no odd"):
        load_backbone(build(**options), tensors)


def test_refusal_names_the_options_of_the_file():
    stored = noisy(**DENSE, **WINDOWS, rel_pos_bias="decomposed").state_dict()
    message = (
        r"no place for blocks\.0\.attn\.rel_pos_h, .*; build the model with .*: "
        r"rel_pos_bias='decomposed', window_size=3, global_blocks=\[1\]; the model was not changed"
    )
    with pytest.raises(ValueError, match=message):
        load_backbone(build(**DENSE), stored)


@pytest.mark.parametrize(
    "options",
    [
        {},
        dict(layer_scale_init=1.0),
        dict(rel_pos_bias="per_block"),
        dict(rel_pos_bias="shared"),
        dict(**DENSE, rel_pos_bias="decomposed"),
        dict(**DENSE, rel_pos_bias="decomposed", **WINDOWS),
    ],
)
def test_options_show_in_names_and_shapes(options):
    wanted = {k: v for k, v in options.items() if k not in DENSE}
    assert visible_options(build(**options).state_dict()) == wanted
