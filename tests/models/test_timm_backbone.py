"""Any model of timm behind the contract: each against timm itself."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from mae_bench.checkpoint.transfer import load_backbone
from mae_bench.models import TimmBackbone, VisionTransformer
from mae_bench.training.layer_decay import parameter_groups

TINY = dict(embed_dim=16, depth=2, num_heads=2)
PLAIN = {
    "vit_tiny_patch16_224": (dict(patch_size=8, **TINY), 32),
    "vit_small_patch14_reg4_dinov2": (TINY, 28),  # registers, patches of 14
    "vit_small_patch16_dinov3": (TINY, 32),  # RoPE, registers, no absolute positions
    "eva02_tiny_patch14_224": (TINY, 28),  # RoPE and absolute positions, SwiGLU
}
HIERARCHICAL = {
    "swin_tiny_patch4_window7_224": (
        dict(embed_dim=8, depths=(1, 1, 2, 1), num_heads=(1, 1, 2, 2), window_size=2),
        (8, 16, 32, 64),
        5,
    ),
    "convnext_atto": (dict(depths=(1, 1, 2, 1), dims=(8, 16, 24, 40)), (8, 16, 24, 40), 5),
    "resnet18": (dict(channels=(8, 16, 24, 40)), (8, 16, 24, 40), 8),
}
GENERATOR = torch.Generator().manual_seed(0)


def noise(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A state dict of timm's model where no two values are equal by initialisation."""
    return {
        name: t if "num_batches" in name else 0.2 * torch.randn(t.shape, generator=GENERATOR).abs()
        for name, t in model.state_dict().items()
    }


def timm_model(name: str, kwargs: dict, img_size: int | None, **more) -> torch.nn.Module:
    sized = {} if img_size is None else dict(img_size=img_size)
    return timm.create_model(name, num_classes=0, **sized, **kwargs, **more).eval()


@pytest.mark.parametrize("name", PLAIN)
def test_plain_vit_gives_timms_features(name, tmp_path):
    kwargs, size = PLAIN[name]
    reference = timm_model(name, kwargs, size, global_pool="")
    state = noise(reference)
    reference.load_state_dict(state)
    path = tmp_path / "c.safetensors"
    save_file({**state, "head.weight": torch.ones(5, 16)}, path)
    images = torch.randn(2, 3, size, size, generator=GENERATOR)

    tokens = TimmBackbone(name, size, "tokens", model_kwargs=kwargs).eval()
    report = load_backbone(tokens, path)
    assert report.share == 1.0 and len(report.dropped) == 1 and "head." in report.dropped[0]
    with torch.no_grad():
        expected = reference.forward_features(images)
        torch.testing.assert_close(tokens(images)[0], expected)
    maps = TimmBackbone(name, size, "maps", (1, 0), model_kwargs=kwargs).eval()
    load_backbone(maps, path)
    with torch.no_grad():
        first, second = reference.forward_intermediates(images, intermediates_only=True)
        torch.testing.assert_close(maps(images), (second, first))
    assert (maps.embed_dim, maps.num_layers) == (16, 2)
    assert maps.patch_size == images.shape[-1] // first.shape[-1]
    assert maps.map_strides is None


@pytest.mark.parametrize("name", PLAIN)
def test_plain_vit_takes_other_sizes(name):
    kwargs, size = PLAIN[name]
    backbone = TimmBackbone(name, size, out_indices=(1,), model_kwargs=kwargs)
    patch = backbone.patch_size
    assert backbone(torch.zeros(1, 3, 3 * patch, 5 * patch))[0].shape == (1, 16, 3, 5)


@pytest.mark.parametrize("name", HIERARCHICAL)
def test_hierarchical_model_hands_out_its_four_scales(name, tmp_path):
    kwargs, widths, blocks = HIERARCHICAL[name]
    size = 64 if name.startswith("swin") else None
    reference = timm_model(name, kwargs, size)
    state = noise(reference)
    reference.load_state_dict(state)
    path = tmp_path / "c.pth"
    torch.save(state, path)
    images = torch.randn(2, 3, 64, 64, generator=GENERATOR)
    backbone = TimmBackbone(name, 64, model_kwargs=kwargs).eval()
    assert load_backbone(backbone, path).share == 1.0
    with torch.no_grad():
        maps = backbone(images)
        expected = reference.forward_intermediates(images, indices=4, intermediates_only=True)
        pooled = reference(images)
    for actual, wanted in zip(maps, expected, strict=True):
        torch.testing.assert_close(actual, wanted)
    assert backbone.map_channels == tuple(m.shape[1] for m in maps) == widths
    assert backbone.map_strides == tuple(64 // m.shape[2] for m in maps) == (4, 8, 16, 32)
    assert (backbone.embed_dim, backbone.patch_size) == (widths[-1], 4)
    assert backbone.num_layers == blocks

    mean = TimmBackbone(name, 64, "mean", model_kwargs=kwargs).eval()
    assert load_backbone(mean, path).share == 1.0
    with torch.no_grad():
        torch.testing.assert_close(mean(images)[0], pooled)
    assert backbone(torch.zeros(2, 3, 64, 96))[0].shape[2:] == (16, 24)


def test_images_that_are_too_small_are_named():
    backbone = TimmBackbone("convnext_atto", model_kwargs=HIERARCHICAL["convnext_atto"][0])
    with pytest.raises(
        ValueError, match=r"an input of \(24, 40\) pixels is too small .*patch_size"
    ):
        backbone(torch.zeros(1, 3, 24, 40))


def test_layer_decay_of_a_plain_vit_is_that_of_ours():
    """Same names, so the same rates: 0.5 ** (3 - layer)."""
    ours = VisionTransformer(arch=TINY, img_size=32, patch_size=8, output="mean")
    kwargs, size = PLAIN["vit_tiny_patch16_224"]
    timms = TimmBackbone("vit_tiny_patch16_224", size, "mean", model_kwargs=kwargs)
    assert timms.num_layers == ours.num_layers == 2
    names = {name.removeprefix("net."): name for name, _ in timms.named_parameters()}
    assert set(names) == {name for name, _ in ours.named_parameters()}
    for name, prefixed in names.items():
        assert timms.layer_id(prefixed) == timms.layer_id(name) == ours.layer_id(name), name


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        (
            "swin_tiny_patch4_window7_224",
            {
                "patch_embed.proj.weight": 0,
                "layers.0.blocks.0.norm1.weight": 1,
                "layers.2.blocks.1.mlp.fc1.weight": 4,
                "layers.3.blocks.0.mlp.fc1.weight": 5,
                "norm.weight": 6,
            },
        ),
        (
            "convnext_atto",
            {
                "stem.0.weight": 0,
                "stages.0.blocks.0.conv_dw.weight": 1,
                "stages.2.blocks.1.conv_dw.weight": 4,
                "stages.3.blocks.0.conv_dw.weight": 5,
                "head.norm.weight": 6,
            },
        ),
        (
            "resnet18",
            {"conv1.weight": 0, "bn1.bias": 0, "layer1.0.conv1.weight": 1, "layer4.1.bn2.bias": 8},
        ),
    ],
)
def test_layers_of_hierarchical_models(name, layers):
    """Blocks counted by hand through the stages of the table above."""
    kwargs, _, blocks = HIERARCHICAL[name]
    backbone = TimmBackbone(name, 64, "mean", model_kwargs=kwargs)
    assert {key: backbone.layer_id(key) for key in layers} == layers
    assert backbone.num_layers == blocks
    model = torch.nn.Module()
    model.backbone = backbone
    groups = parameter_groups(model, lr=1.0, weight_decay=0.1, layer_decay=0.5)
    assert sum(len(g["params"]) for g in groups) == len(list(backbone.parameters()))
    stem = next(iter(backbone.net.parameters()))
    (rate,) = {g["lr"] for g in groups if any(p is stem for p in g["params"])}
    assert rate == 0.5 ** (blocks + 1)


def test_positions_are_resized_and_a_prefix_is_none_of_ours(tmp_path):
    kwargs, size = PLAIN["vit_tiny_patch16_224"]
    small = VisionTransformer(arch=TINY, img_size=32, patch_size=8, output="tokens")
    path = tmp_path / "c.pth"
    torch.save(small.state_dict(), path)
    big = TimmBackbone("vit_tiny_patch16_224", 64, "tokens", model_kwargs=kwargs)
    report = load_backbone(big, path)
    assert [r.name for r in report.resized] == ["pos_embed"] and report.share == 1.0
    assert set(big.state_dict()) == set(small.state_dict())
    # And back: ours loads what it exports.
    assert big.img_size == 64
    small.load_state_dict({**big.state_dict(), "pos_embed": small.pos_embed})


def test_file_of_a_deeper_model_is_refused(tmp_path):
    kwargs = dict(HIERARCHICAL["convnext_atto"][0])
    deep = TimmBackbone("convnext_atto", model_kwargs={**kwargs, "depths": (1, 1, 3, 1)})
    path = tmp_path / "c.safetensors"
    save_file(deep.state_dict(), path)
    with pytest.raises(ValueError, match=r"no place for stages\.2\.blocks\.2"):
        load_backbone(TimmBackbone("convnext_atto", model_kwargs=kwargs), path)


def test_timms_own_beit_takes_its_file_as_it_is(tmp_path):
    """Our adapter would turn it into what our own ViT has."""
    reference = timm_model("beit_base_patch16_224", TINY, 32)
    path = tmp_path / "c.safetensors"
    save_file(noise(reference), path)
    backbone = TimmBackbone("beit_base_patch16_224", 32, "mean", model_kwargs=TINY)
    assert load_backbone(backbone, path).share == 1.0


def test_frozen_backbone_neither_learns_nor_counts():
    kwargs = HIERARCHICAL["resnet18"][0]
    backbone = TimmBackbone("resnet18", output="mean", frozen=True, model_kwargs=kwargs).train()
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    (features,) = backbone(torch.randn(4, 3, 64, 64, generator=GENERATOR))
    assert not features.requires_grad
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(name="convnet_atto"), r"no model 'convnet_atto'; near: convnext_atto"),
        (dict(name="resnet18", output="class_token"), "resnet18 has no class token"),
        (dict(name="resnet18", out_indices=(1,)), "leave out out_indices"),
        (dict(name="resnet18", model_kwargs=dict(depht=3)), "resnet18: .*depht"),
        (dict(name="vit_tiny_patch16_224", output="map"), "output='map' is not one of"),
        (dict(name="vit_tiny_patch16_224", model_kwargs=TINY), "needed there"),
        (
            dict(name="vit_tiny_patch16_224", out_indices=(2,), model_kwargs=TINY),
            r"must lie in 0\.\.1",
        ),
        (
            dict(name="vit_base_patch16_siglip_224", output="class_token", model_kwargs=TINY),
            "no class token",
        ),
    ],
)
def test_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TimmBackbone(**changes)
