"""The masked autoencoder against Hugging Face's, and what it must not do."""

import pytest
import torch
from torch import Tensor, nn
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from mae_bench.models.mae import MAE
from mae_bench.models.masking import Masking, random_masking
from mae_bench.models.vit import patchify
from mae_bench.registry import MODELS

from ..hugging_face_names import names_of_4

PATCH = 4
# Hugging Face can only be built for a square number of patches; (8, 32) has 2 x 8 of them.
IMAGE_SIZES = [(16, 16), (8, 32), (48, 48)]


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def build(img_size=(16, 16), **kwargs) -> MAE:
    return MAE(
        backbone=dict(
            type="VisionTransformer",
            arch=dict(embed_dim=32, depth=2, num_heads=4),
            img_size=img_size,
            patch_size=PATCH,
            output="tokens",
        ),
        decoder=dict(embed_dim=16, depth=2, num_heads=2),
        **kwargs,
    )


def build_hugging_face(img_size=(16, 16), norm_pix=True) -> ViTMAEForPreTraining:
    config = ViTMAEConfig(
        image_size=img_size,
        patch_size=PATCH,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        decoder_hidden_size=16,
        decoder_num_hidden_layers=2,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=64,
        layer_norm_eps=1e-6,
        mask_ratio=0.75,
        norm_pix_loss=norm_pix,
    )
    model = ViTMAEForPreTraining(config).eval()
    cut = model.patchify

    def cut_any_shape(pixels: Tensor, interpolate_pos_encoding: bool = False) -> Tensor:
        return cut(pixels, interpolate_pos_encoding=True)  # else it refuses what is not square

    model.patchify = cut_any_shape
    return model


RENAMED = [
    ("vit.embeddings.patch_embeddings.projection", "backbone.patch_embed.proj"),
    ("vit.embeddings.position_embeddings", "backbone.pos_embed"),
    ("vit.embeddings.", "backbone."),
    ("vit.encoder.layer.", "backbone.blocks."),
    ("vit.layernorm.", "backbone.norm."),
    ("decoder.decoder_layers.", "decoder.blocks."),
    ("decoder.decoder_", "decoder."),
    ("layernorm_before", "norm1"),
    ("layernorm_after", "norm2"),
    ("attention.output.dense", "attn.proj"),
    ("intermediate.dense", "mlp.fc1"),
    ("output.dense", "mlp.fc2"),
]


def from_hugging_face(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights or gradients under our names, query, key and value fused."""
    tensors = names_of_4(tensors, ViTMAEForPreTraining)
    renamed = {}
    for name, value in tensors.items():
        if ".key." in name or ".value." in name:
            continue
        if ".query." in name:
            value = torch.cat(
                [tensors[name.replace("query", n)] for n in ("query", "key", "value")]
            )
            name = name.replace("attention.attention.query", "attn.qkv")
        for theirs, ours in RENAMED:
            name = name.replace(theirs, ours)
        renamed[name] = value
    return renamed


@pytest.fixture
def pair(randomise):
    """Our MAE and Hugging Face's with the same random weights."""

    def make(img_size=(16, 16), norm_pix=True) -> tuple[MAE, ViTMAEForPreTraining]:
        peer = randomise(build_hugging_face(img_size, norm_pix))
        ours = build(img_size, norm_pix=norm_pix)
        ours.load_state_dict(from_hugging_face(peer.state_dict()), strict=True)
        return ours, peer

    return make


@pytest.mark.parametrize("norm_pix", [True, False])
@pytest.mark.parametrize("img_size", IMAGE_SIZES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-6)])
def test_loss_and_every_gradient_agree_with_hugging_face(
    img_size, norm_pix, dtype, tolerance, pair, relative_error
):
    ours, peer = (model.to(dtype) for model in pair(img_size, norm_pix))
    num_patches = img_size[0] * img_size[1] // PATCH**2
    images = noise(3, 3, *img_size).to(dtype)
    scores = noise(3, num_patches, seed=1)
    masking = random_masking(3, num_patches, 0.75, noise=scores)
    loss = ours.loss(images, masking)
    out = peer(images, noise=scores)
    assert torch.equal(masking.as_mask(), out.mask.float())
    assert relative_error(loss, out.loss) < tolerance

    loss.backward()
    out.loss.backward()
    # The fused qkv keeps the key's bias, whose own gradient is zero, beside those of q and v.
    expected = from_hugging_face(
        {name: p.grad for name, p in peer.named_parameters() if p.requires_grad}
    )
    actual = {name: p.grad for name, p in ours.named_parameters() if p.requires_grad}
    assert sorted(actual) == sorted(expected)
    for name, gradient in actual.items():
        assert relative_error(gradient, expected[name]) < tolerance, name


@pytest.mark.parametrize("img_size", IMAGE_SIZES)
def test_prediction_and_reconstruction_agree_with_hugging_face(img_size, pair, relative_error):
    ours, peer = pair(img_size)
    num_patches = img_size[0] * img_size[1] // PATCH**2
    images, scores = noise(2, 3, *img_size), noise(2, num_patches, seed=1)
    masking = random_masking(2, num_patches, 0.75, noise=scores)
    with torch.no_grad():
        logits = peer(images, noise=scores).logits
    prediction = ours.predict_masked(images, masking)[0]
    for b in range(2):
        assert relative_error(prediction[b], logits[b, masking.masked[b]]) < 1e-5

    patches = peer.patchify(images)
    pixels = logits * (patches.var(-1, keepdim=True) + 1e-6).sqrt() + patches.mean(-1, keepdim=True)
    hidden = masking.as_mask().bool()
    pixels[~hidden] = patches[~hidden]
    picture, mask = ours.reconstruct(images, masking)
    assert relative_error(picture, peer.unpatchify(pixels, img_size)) < 1e-5
    rows, columns = (side // PATCH for side in img_size)
    expected_mask = torch.kron(
        hidden.reshape(2, 1, rows, columns).float(), torch.ones(PATCH, PATCH)
    )
    assert torch.equal(mask, expected_mask)


def test_reconstruction_of_plain_pixels_is_the_prediction(randomise):
    model = randomise(build(norm_pix=False))
    images = noise(1, 3, 16, 16)
    masking = Masking(torch.arange(4)[None], torch.arange(4, 16)[None])
    picture, _ = model.reconstruct(images, masking)
    assert torch.equal(picture[..., :4, :], images[..., :4, :])  # the first row of patches
    prediction = model.predict_masked(images, masking)[0]
    assert torch.equal(patchify(picture, PATCH)[:, 4:], prediction)


def test_another_image_size_agrees_with_hugging_face_in_the_encoder(pair, relative_error):
    """Their decoder resizes its table along the flattened patches, so only encoders compare."""
    ours, peer = pair()
    images, scores = noise(2, 3, 24, 32), noise(2, 48, seed=1)
    masking = random_masking(2, 48, 0.75, noise=scores)
    with torch.no_grad():
        expected = peer.vit(images, noise=scores, interpolate_pos_encoding=True).last_hidden_state
    encoded = ours.encode(patchify(images, PATCH), masking, (6, 8))
    assert relative_error(encoded, expected) < 1e-5
    assert ours.loss(images, masking).isfinite()


# Cost and leaks


def test_encoder_does_no_work_for_masked_patches():
    model = build()
    seen: dict[str, list[int]] = {"embed": [], "encoder": [], "decoder": [], "pred": []}

    def record(place):
        return lambda module, inputs: seen[place].append(inputs[0].shape[1])

    model.backbone.patch_embed.register_forward_pre_hook(record("embed"))
    for block in model.backbone.blocks:
        block.register_forward_pre_hook(record("encoder"))
    for block in model.decoder.blocks:
        block.register_forward_pre_hook(record("decoder"))
    model.decoder.pred.register_forward_pre_hook(record("pred"))
    model.loss(noise(2, 3, 16, 16))
    assert seen == {"embed": [4], "encoder": [1 + 4] * 2, "decoder": [1 + 16] * 2, "pred": [12]}


def test_masked_pixels_do_not_reach_the_prediction(randomise):
    model = randomise(build())
    masking = random_masking(2, 16, 0.75, noise=noise(2, 16))
    images = noise(2, 3, 16, 16).requires_grad_()
    model.predict_masked(images, masking)[0].square().sum().backward()
    reached = patchify(images.grad, PATCH).abs().amax(dim=-1) > 0
    assert torch.equal(reached, ~masking.as_mask().bool())


@pytest.mark.parametrize("norm_pix", [True, False])
def test_visible_patches_are_no_target(norm_pix, randomise, monkeypatch):
    """With the encoder's output held fixed, only masked pixels can move the loss."""
    model = randomise(build(norm_pix=norm_pix))
    masking = random_masking(2, 16, 0.75, noise=noise(2, 16))
    images = noise(2, 3, 16, 16).requires_grad_()
    fixed = noise(2, 1 + 4, 32)
    monkeypatch.setattr(model, "encode", lambda patches, masking, grid: fixed)
    model.loss(images, masking).backward()
    moves = patchify(images.grad, PATCH).abs().amax(dim=-1) > 0
    assert torch.equal(moves, masking.as_mask().bool())


def test_order_of_visible_and_masked_patches_does_not_matter(randomise):
    model = randomise(build())
    masking = random_masking(2, 16, 0.75, noise=noise(2, 16))
    images = noise(2, 3, 16, 16)
    reordered = Masking(masking.visible.flip(1), masking.masked.flip(1))
    assert model.loss(images, masking).item() == pytest.approx(
        model.loss(images, reordered).item(), rel=1e-5
    )


# The MMEngine model


def test_fixed_positions_and_initialisation_of_the_decoder():
    torch.manual_seed(0)
    model = MAE(
        dict(
            type="VisionTransformer",
            arch=dict(embed_dim=64, depth=1, num_heads=2),
            img_size=32,
            output="tokens",
        )
    )
    model.init_weights()
    fixed = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert fixed == {"backbone.pos_embed", "decoder.pos_embed"}
    decoder = model.decoder
    assert len(decoder.blocks) == 8
    assert decoder.pred.weight.shape == (768, 512)
    assert all(block.attn.num_heads == 16 for block in decoder.blocks)
    assert decoder.mask_token.std().item() == pytest.approx(0.02, rel=0.15)
    assert not decoder.pos_embed[:, 0].any()
    for weight, fans in [
        (decoder.embed.weight, 64 + 512),
        (decoder.pred.weight, 512 + 768),
        (decoder.blocks[0].attn.qkv.weight, 4 * 512),
    ]:
        bound = (6 / fans) ** 0.5
        assert 0.99 * bound < weight.abs().max() <= bound
    for module in decoder.modules():
        if isinstance(module, nn.Linear | nn.LayerNorm):
            assert not module.bias.any()


def test_modes_of_the_mmengine_model():
    model = MODELS.build(
        dict(
            type="mae_bench.MAE",
            backbone=dict(
                type="mae_bench.VisionTransformer",
                arch=dict(embed_dim=16, depth=1, num_heads=2),
                img_size=16,
                patch_size=PATCH,
                output="tokens",
            ),
            decoder=dict(embed_dim=16, depth=1, num_heads=2),
            mask_ratio=0.5,
        )
    )
    images = noise(2, 3, 16, 16)
    losses = model(images, mode="loss")
    assert list(losses) == ["loss"] and losses["loss"].ndim == 0
    assert model(images).shape == (2, 8, 48)
    with pytest.raises(ValueError, match="mode='predict': MAE knows"):
        model(images, mode="predict")


def test_loss_is_computed_in_float32_under_autocast():
    model = build()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(noise(2, 3, 16, 16))
    assert loss.dtype == torch.float32


@pytest.mark.parametrize("options", [dict(output="mean"), dict(output="tokens", class_token=False)])
def test_mae_needs_all_tokens_and_a_class_token(options):
    backbone = dict(
        type="VisionTransformer", arch=dict(embed_dim=16, depth=1, num_heads=2), img_size=32
    )
    with pytest.raises(ValueError, match='output="tokens" and a class token alone'):
        MAE({**backbone, **options})


def test_patch_size_has_to_divide_the_images():
    with pytest.raises(ValueError, match="18x16 pixels cannot be cut into 4x4 patches"):
        build().loss(torch.zeros(1, 3, 18, 16))


def test_statistics_used_for_pictures_invert_the_target():
    target, patches = build().target, noise(2, 3, 48)
    pixels = target.to_pixels(target(patches), patches)
    torch.testing.assert_close(pixels, patches, rtol=1e-5, atol=1e-5)
