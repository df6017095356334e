"""The Vision Transformer against timm and mmsegmentation, its options and its initialisation."""

import pytest
import timm
import torch
from mmseg.models.backbones import MAE as MMSegMAE
from timm.layers import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer as TimmViT
from torch import nn

from mae_bench.models.vit import SIZES, Block, VisionTransformer

TINY = dict(embed_dim=32, depth=4, num_heads=2)
TOLERANCE = 1e-5
# (height, width), patch. The last has more tokens than attention's switch to the fused kernel.
INPUTS = [((64, 64), 16), ((32, 80), 16), ((42, 28), 14), ((192, 176), 16)]


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def timm_peer(img_size, patch_size, **kwargs):
    return TimmViT(img_size, patch_size, **{"num_classes": 0, **TINY, **kwargs}).eval()


# Sizes


@pytest.mark.parametrize(
    ("arch", "patch_size", "millions"),
    [("base", 16, 85.8), ("large", 16, 303.3), ("huge", 14, 630.8)],
)
def test_parameter_counts_of_the_paper(arch, patch_size, millions):
    with torch.device("meta"):
        model = VisionTransformer(arch, patch_size=patch_size, output="tokens")
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == millions


@pytest.mark.parametrize(
    ("arch", "patch_size", "name"),
    [
        ("tiny", 16, "vit_tiny_patch16_224"),
        ("small", 16, "vit_small_patch16_224"),
        ("base", 16, "vit_base_patch16_224"),
        ("large", 16, "vit_large_patch16_224"),
        ("huge", 14, "vit_huge_patch14_224"),
    ],
)
def test_shapes_and_heads_of_timm(arch, patch_size, name):
    with torch.device("meta"):
        ours = VisionTransformer(arch, patch_size=patch_size, output="class_token")
        peer = timm.create_model(name, num_classes=0)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: v.shape for k, v in peer.state_dict().items()
    }
    assert ours.blocks[0].attn.num_heads == peer.blocks[0].attn.num_heads
    assert ours.num_layers == len(peer.blocks) == SIZES[arch]["depth"]


# Features against timm


@pytest.mark.parametrize(("img_size", "patch_size"), INPUTS)
@pytest.mark.parametrize(
    ("output", "pool"), [("class_token", "token"), ("mean", "avg"), ("tokens", "token")]
)
def test_features_and_logits_agree_with_timm(
    img_size, patch_size, output, pool, randomise, relative_error
):
    peer = randomise(timm_peer(img_size, patch_size, global_pool=pool, num_classes=7))
    ours = VisionTransformer(TINY, img_size, patch_size, output=output).eval()
    state = {k: v for k, v in peer.state_dict().items() if not k.startswith("head.")}
    ours.load_state_dict(state, strict=True)
    images = noise(2, 3, *img_size)
    (features,) = ours(images)
    if output == "tokens":
        assert relative_error(features, peer.forward_features(images)) < TOLERANCE
        features = features[:, 0]
    else:
        expected = peer.forward_head(peer.forward_features(images), pre_logits=True)
        assert relative_error(features, expected) < TOLERANCE
    assert relative_error(peer.head(features), peer(images)) < TOLERANCE


def test_gradients_agree_with_timm(randomise, relative_error):
    peer = randomise(timm_peer((32, 80), 16))
    ours = VisionTransformer(TINY, (32, 80), output="class_token").eval()
    ours.load_state_dict(peer.state_dict())
    images, direction = noise(2, 3, 32, 80), noise(2, 32, seed=1)
    (ours(images)[0] * direction).sum().backward()
    (peer(images) * direction).sum().backward()
    expected = dict(peer.named_parameters())
    for name, parameter in ours.named_parameters():
        assert relative_error(parameter.grad, expected[name].grad) < TOLERANCE, name


@pytest.mark.parametrize(("img_size", "patch_size"), INPUTS)
@pytest.mark.parametrize("out_indices", [(3,), (0, 2), (0, 1, 2, 3)])
def test_maps_agree_with_timm_intermediates(
    img_size, patch_size, out_indices, randomise, relative_error
):
    peer = randomise(timm_peer(img_size, patch_size))
    ours = VisionTransformer(TINY, img_size, patch_size, out_indices=out_indices).eval()
    state = {k: v for k, v in peer.state_dict().items() if not k.startswith("norm.")}
    ours.load_state_dict(state, strict=True)
    images = noise(2, 3, *img_size)
    maps = ours(images)
    expected = peer.get_intermediate_layers(images, list(out_indices), reshape=True)
    assert isinstance(maps, tuple) and len(maps) == len(out_indices)
    for ours_map, peer_map in zip(maps, expected, strict=True):
        assert ours_map.shape == (2, 32, img_size[0] // patch_size, img_size[1] // patch_size)
        assert relative_error(ours_map, peer_map) < TOLERANCE


def test_maps_after_the_norm_agree_with_timm(randomise, relative_error):
    peer = randomise(timm_peer((64, 64), 16))
    ours = VisionTransformer(TINY, 64, 16, out_indices=(1, 3), norm_maps=True).eval()
    ours.load_state_dict(peer.state_dict(), strict=True)
    images = noise(2, 3, 64, 64)
    expected = peer.get_intermediate_layers(images, [1, 3], reshape=True, norm=True)
    for ours_map, peer_map in zip(ours(images), expected, strict=True):
        assert relative_error(ours_map, peer_map) < TOLERANCE


@pytest.mark.parametrize("img_size", [(96, 64), (32, 48), (48, 128)])
def test_another_input_size_agrees_with_timm(img_size, randomise, relative_error):
    ours = randomise(VisionTransformer(TINY, 64, output="tokens")).eval()
    grid = [side // 16 for side in img_size]
    state = ours.state_dict()
    state["pos_embed"] = resample_abs_pos_embed(state["pos_embed"], grid, [4, 4], antialias=False)
    peer = timm_peer(img_size, 16)
    peer.load_state_dict(state)
    images = noise(2, 3, *img_size)
    assert relative_error(ours(images)[0], peer.forward_features(images)) < TOLERANCE


def test_without_a_class_token_agrees_with_timm(randomise, relative_error):
    peer = randomise(timm_peer(64, 16, class_token=False, global_pool="avg"))
    ours = VisionTransformer(TINY, 64, output="mean", class_token=False).eval()
    ours.load_state_dict(peer.state_dict())
    images = noise(2, 3, 64, 64)
    assert relative_error(ours(images)[0], peer(images)) < TOLERANCE


# Relative position bias


def mmseg_state(state):
    """mmsegmentation's names of the MAE backbone, the model of its ADE20K result, as ours."""
    renamed = {}
    for name, value in state.items():
        if name.endswith("relative_position_index"):
            continue
        for theirs, ours in [
            ("patch_embed.projection", "patch_embed.proj"),
            ("layers.", "blocks."),
            ("ffn.blocks.0.0", "mlp.fc1"),  # "layers." inside "ffn.layers" is renamed by now
            ("ffn.blocks.1", "mlp.fc2"),
            ("ln1", "norm1"),
            ("ln2", "norm2"),
            ("attn.relative", "attn.rel_pos_bias.relative"),
            ("gamma_1", "ls1.gamma"),
            ("gamma_2", "ls2.gamma"),
        ]:
            name = name.replace(theirs, ours)
        renamed[name] = value
    return renamed


@pytest.mark.parametrize("img_size", [(64, 64), (32, 80), (80, 48), (192, 192)])
def test_relative_position_branch_agrees_with_mmsegmentation(img_size, randomise, relative_error):
    peer = randomise(
        MMSegMAE(
            img_size=img_size,
            patch_size=16,
            embed_dims=32,
            num_layers=4,
            num_heads=2,
            out_indices=[0, 1, 3],
            init_values=1.0,
            norm_cfg=dict(type="LN", eps=1e-6),
        )
    )
    ours = VisionTransformer(
        TINY, img_size, out_indices=[0, 1, 3], rel_pos_bias="per_block", layer_scale_init=1.0
    )
    assert all((p == 1).all() for n, p in ours.named_parameters() if n.endswith("gamma"))
    ours.load_state_dict(mmseg_state(peer.state_dict()), strict=True)
    assert all(b.attn.rel_pos_bias.relative_position_bias_table.std() > 0.1 for b in ours.blocks)

    images = noise(2, 3, *img_size)
    maps, expected = ours(images), peer(images)
    for ours_map, peer_map in zip(maps, expected, strict=True):
        assert relative_error(ours_map, peer_map) < TOLERANCE
    directions = [noise(*m.shape, seed=1) for m in maps]
    sum((m * d).sum() for m, d in zip(maps, directions, strict=True)).backward()
    sum((m * d).sum() for m, d in zip(expected, directions, strict=True)).backward()
    gradients = mmseg_state({k: p.grad for k, p in peer.named_parameters()})
    for name, parameter in ours.named_parameters():
        assert relative_error(parameter.grad, gradients[name]) < TOLERANCE, name


@pytest.mark.parametrize("mode", ["per_block", "shared", "decomposed"])
@pytest.mark.parametrize("windows", [{}, dict(window_size=3, global_blocks=(1, 3))])
def test_zero_initialised_bias_starts_without_effect_and_learns(mode, windows, relative_error):
    class_token = not windows and mode != "decomposed"
    options = dict(out_indices=(3,), class_token=class_token, **windows)
    biased = VisionTransformer(TINY, (64, 80), rel_pos_bias=mode, **options)
    plain = VisionTransformer(TINY, (64, 80), **options)
    missing, unexpected = plain.load_state_dict(biased.state_dict(), strict=False)
    tables = {n: p for n, p in biased.named_parameters() if "rel_pos" in n}
    assert not missing and sorted(unexpected) == sorted(tables)
    count = {"per_block": 4, "shared": 2 if windows else 1, "decomposed": 8}[mode]
    assert len(tables) == count

    images = noise(2, 3, 64, 80)
    assert relative_error(biased(images)[0], plain(images)[0]) < 1e-6
    (biased(images)[0] * noise(2, 32, 4, 5, seed=1)).sum().backward()
    for name, table in tables.items():
        assert not table.any(), name
        assert table.grad.abs().max() > 0, name


@pytest.mark.parametrize("global_blocks", [(), (1,), (0, 1, 2, 3)])
def test_every_table_is_used(global_blocks):
    """One that no loss depends on stops training in several processes."""
    options = dict(class_token=False, window_size=2, global_blocks=global_blocks)
    model = VisionTransformer(TINY, 64, out_indices=(3,), rel_pos_bias="shared", **options)
    (features,) = model(torch.randn(1, 3, 64, 64))
    features.sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_shared_table_serves_every_block_alike(randomise, relative_error):
    shared = randomise(VisionTransformer(TINY, 64, out_indices=(3,), rel_pos_bias="shared"))
    own = VisionTransformer(TINY, 64, out_indices=(3,), rel_pos_bias="per_block")
    state = shared.state_dict()
    table = state.pop("rel_pos_bias.relative_position_bias_table")
    for i in range(4):
        state[f"blocks.{i}.attn.rel_pos_bias.relative_position_bias_table"] = table
    own.load_state_dict(state)
    images = noise(2, 3, 64, 64)
    for model in (shared, own):
        model(images)[0].square().sum().backward()
    assert relative_error(shared(images)[0], own(images)[0]) < 1e-6
    total = sum(b.attn.rel_pos_bias.relative_position_bias_table.grad for b in own.blocks)
    shared_gradient = shared.rel_pos_bias.relative_position_bias_table.grad
    assert relative_error(shared_gradient, total) < TOLERANCE


@pytest.mark.parametrize("mode", ["per_block", "shared"])
@pytest.mark.parametrize("windows", [{}, dict(window_size=3, global_blocks=(1, 3))])
def test_bias_at_another_grid(mode, windows, randomise, relative_error):
    options = dict(out_indices=(3,), class_token=not windows, **windows)
    biased = randomise(VisionTransformer(TINY, 64, rel_pos_bias=mode, **options))
    plain = VisionTransformer(TINY, 64, **options)
    plain.load_state_dict(biased.state_dict(), strict=False)
    images = noise(1, 3, 48, 112)
    assert relative_error(biased(images)[0], plain(images)[0]) > 1e-3
    # A constant added to all logits of a query does not change its softmax, at any grid.
    for name, parameter in biased.named_parameters():
        if name.endswith("position_bias_table"):
            nn.init.constant_(parameter, 0.8)
    assert relative_error(biased(images)[0], plain(images)[0]) < TOLERANCE


# Windows


def test_blocks_that_are_all_global_ignore_the_window(randomise):
    options = dict(out_indices=(3,), class_token=False)
    windowed = randomise(
        VisionTransformer(TINY, (48, 80), window_size=2, global_blocks=range(4), **options)
    )
    plain = randomise(VisionTransformer(TINY, (48, 80), **options))
    images = noise(1, 3, 48, 80)
    assert torch.equal(windowed(images)[0], plain(images)[0])


def test_windows_separate_and_global_blocks_connect(randomise):
    model = randomise(
        VisionTransformer(
            TINY,
            (48, 80),
            out_indices=(1, 2, 3),
            class_token=False,
            window_size=2,
            global_blocks=(2,),
        )
    )
    images = noise(1, 3, 48, 80)
    changed = images.clone()
    changed[..., 40, 70] += 1  # patch (2, 4), alone in the bottom right window of the 3x5 grid
    moved = [
        (a - b).abs().amax(dim=1)[0] > 1e-6
        for a, b in zip(model(images), model(changed), strict=True)
    ]
    alone = torch.zeros(3, 5, dtype=torch.bool)
    alone[2, 4] = True
    assert torch.equal(moved[0], alone)
    assert moved[1].all() and moved[2].all()


# Initialisation


@pytest.fixture(scope="module")
def fresh():
    torch.manual_seed(0)
    return VisionTransformer(dict(embed_dim=192, depth=2, num_heads=3), output="tokens")


def assert_uniform(weight, bound):
    assert weight.abs().max() <= bound
    assert weight.abs().max() > 0.99 * bound
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)


def test_linear_layers_are_xavier_uniform_with_qkv_fused(fresh):
    d = 192
    for block in fresh.blocks:
        assert_uniform(block.attn.qkv.weight, (6 / (4 * d)) ** 0.5)
        assert_uniform(block.attn.proj.weight, (6 / (2 * d)) ** 0.5)
        assert_uniform(block.mlp.fc1.weight, (6 / (5 * d)) ** 0.5)
        assert_uniform(block.mlp.fc2.weight, (6 / (5 * d)) ** 0.5)


def test_patch_embedding_is_initialised_as_a_matrix(fresh):
    fan_in = 16 * 16 * 3
    assert_uniform(fresh.patch_embed.proj.weight, (6 / (fan_in + 192)) ** 0.5)
    bias = fresh.patch_embed.proj.bias  # a convolution's default: uniform, bound 1 / sqrt(fan in)
    assert 0.9 * fan_in**-0.5 < bias.abs().max() <= fan_in**-0.5


def test_tokens_norms_and_biases_at_initialisation(fresh):
    assert fresh.cls_token.std().item() == pytest.approx(0.02, rel=0.2)
    assert not fresh.pos_embed[:, 0].any()
    for name, parameter in fresh.named_parameters():
        if "norm" in name and name.endswith("weight"):
            assert (parameter == 1).all(), name
        elif name.endswith("bias") and not name.startswith("patch_embed"):
            assert not parameter.any(), name
    assert all(m.eps == 1e-6 for m in fresh.modules() if isinstance(m, nn.LayerNorm))


# Stochastic depth, freezing, layers


def test_drop_path_grows_linearly():
    model = VisionTransformer(TINY, 32, output="tokens", drop_path_rate=0.3)
    assert isinstance(model.blocks[0].drop_path, nn.Identity)
    rates = [block.drop_path.p for block in model.blocks[1:]]
    assert rates == pytest.approx([0.1, 0.2, 0.3])


def test_drop_path_drops_whole_branches_of_a_sample(randomise):
    torch.manual_seed(0)
    block = randomise(Block(12, 2, drop_path=0.25))
    x = noise(1, 5, 12).expand(64, -1, -1)
    branch = block.attn(block.norm1(x[:1]))
    expected = []
    for attend in (0, 1):
        y = x[:1] + attend * branch / 0.75
        expected += [y, y + block.mlp(block.norm2(y)) / 0.75]
    out = block(x)
    distance = torch.stack([(out - e).abs().amax(dim=(1, 2)) for e in expected])
    assert (distance.min(dim=0).values < 1e-4).all()
    assert distance.argmin(dim=0).unique().tolist() == [0, 1, 2, 3]
    y = x + branch
    torch.testing.assert_close(block.eval()(x), y + block.mlp(block.norm2(y)))


def test_frozen_backbone_is_deterministic_and_has_no_graph():
    model = VisionTransformer(TINY, 32, output="mean", drop_path_rate=0.5, frozen=True).train()
    images = noise(4, 3, 32, 32).requires_grad_()
    assert not any(p.requires_grad for p in model.parameters())
    assert not any(module.training for module in model.modules())
    assert not model(images)[0].requires_grad
    assert torch.equal(model(images)[0], model(images)[0])
    free = VisionTransformer(TINY, 32, output="mean").train()
    assert free.training and free(images)[0].requires_grad


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("cls_token", 0),
        ("pos_embed", 0),
        ("patch_embed.proj.bias", 0),
        ("blocks.0.attn.qkv.weight", 1),
        ("blocks.3.attn.rel_pos_bias.relative_position_bias_table", 4),
        ("norm.weight", 5),
        ("fc_norm.bias", 5),
    ],
)
def test_layer_ids(name, layer):
    assert VisionTransformer(TINY, 32, output="tokens").layer_id(name) == layer


# Errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(arch="gigantic"), "arch='gigantic' is not one of tiny, small, base, large, huge"),
        (dict(arch=dict(embed_dim=32, depth=2)), "needs the keys .*'num_heads'"),
        (dict(arch=dict(embed_dim=32, depth=2, num_heads=3)), "multiple of num_heads"),
        (dict(arch=dict(embed_dim=30, depth=4, num_heads=2)), "multiple of 4, got 30"),
        (dict(output="logits"), "output='logits' is not one of maps, class_token, mean, tokens"),
        (dict(out_indices=()), 'out_indices belongs to output="maps", and is needed'),
        (dict(output="mean", out_indices=(1,)), 'out_indices belongs to output="maps"'),
        (dict(output="mean", out_indices=(), norm_maps=True), "norm_maps belongs to"),
        (dict(out_indices=(1, 4)), r"out_indices=\(1, 4\) must lie in 0..3"),
        (dict(out_indices=(-1,)), r"out_indices=\(-1,\) must lie in 0..3"),
        (
            dict(output="class_token", out_indices=(), class_token=False),
            'output="class_token" needs class_token=True',
        ),
        (dict(window_size=7), "set class_token=False"),
        (dict(rel_pos_bias="each"), "rel_pos_bias='each' is not None or one of per_block, shared"),
    ],
)
def test_impossible_options_are_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        VisionTransformer(**{"arch": TINY, "img_size": 32, "out_indices": (3,), **arguments})


def test_input_that_the_patch_size_does_not_divide_is_an_error():
    model = VisionTransformer(TINY, 32, output="mean")
    with pytest.raises(ValueError, match="40x32 pixels cannot be cut into 16x16 patches"):
        model(torch.zeros(1, 3, 40, 32))


def test_positions_can_stay_as_they_are_loaded():
    backbone = VisionTransformer(TINY, 32, output="mean", train_positions=False)
    kept = [name for name, p in backbone.named_parameters() if not p.requires_grad]
    assert kept == ["pos_embed"]
