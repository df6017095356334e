"""Options of the autoencoder: mask tokens in the encoder, loss on all patches, other targets."""

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mae_bench.models.dvae import VOCABULARY, DVAEEncoder
from mae_bench.models.mae import MAE
from mae_bench.models.masking import Masking, random_masking
from mae_bench.models.vit import Block, patchify

PATCH, SIDE, VALUES = 4, 16, 48
SPLIT = random_masking(2, 16, 0.75, noise=torch.rand(2, 16, generator=torch.manual_seed(5)))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def build(**options) -> MAE:
    torch.manual_seed(0)
    return MAE(
        backbone=dict(
            type="VisionTransformer",
            arch=dict(embed_dim=32, depth=2, num_heads=4),
            img_size=SIDE,
            patch_size=PATCH,
            output="tokens",
        ),
        decoder=dict(embed_dim=16, depth=2, num_heads=2),
        **options,
    )


@pytest.mark.parametrize("queries", [3, 7])
def test_a_block_that_computes_the_last_tokens_only(queries, randomise, relative_error):
    block = randomise(Block(32, 4)).double()
    x = noise(2, 7, 32).double().requires_grad_()
    whole = block(x)[:, -queries:]
    weights = noise(2, queries, 32, seed=1)
    expected = torch.autograd.grad((whole * weights).sum(), [x, *block.parameters()])
    part = block(x, num_queries=queries)
    actual = torch.autograd.grad((part * weights).sum(), [x, *block.parameters()])
    assert relative_error(part, whole) < 1e-12
    for ours, theirs in zip(actual, expected, strict=True):
        assert relative_error(ours, theirs) < 1e-12


# Mask tokens in the encoder (Table 1c)


def in_image_order(model: MAE, images: Tensor, masking: Masking) -> Tensor:
    """The prediction for every patch, computed with the tokens in image order throughout."""
    vit, decoder = model.backbone, model.decoder
    patches = vit.patch_embed(patchify(images, PATCH))
    hidden = masking.as_mask().bool().unsqueeze(-1)
    patches = torch.where(hidden, model.encoder_mask_token, patches) + vit.pos_embed[:, 1:]
    x = torch.cat([(vit.cls_token + vit.pos_embed[:, :1]).expand(len(images), -1, -1), patches], 1)
    for block in vit.blocks:
        x = block(x)
    x = decoder.embed(vit.norm(x)) + decoder.pos_embed
    for block in decoder.blocks:
        x = block(x)
    return decoder.pred(decoder.norm(x))[:, 1:]


def test_mask_tokens_in_the_encoder(randomise, relative_error):
    model = randomise(build(encoder_mask_tokens=True))
    assert model.decoder.mask_token is None
    images = noise(2, 3, SIDE, SIDE)
    expected = in_image_order(model, images, SPLIT)
    prediction = model.predict_masked(images, SPLIT)[0]
    for b in range(2):
        assert relative_error(prediction[b], expected[b, SPLIT.masked[b]]) < 1e-5
    model.loss(images, SPLIT).backward()
    assert model.encoder_mask_token.grad.any()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_without_the_option_nothing_changes_in_the_state():
    assert "encoder_mask_token" not in build().state_dict()
    assert "decoder.mask_token" in build().state_dict()


# Loss on all patches (footnote 1)


def test_loss_on_all_patches(randomise):
    model = randomise(build(loss_on_all=True, norm_pix=False))
    images = noise(2, 3, SIDE, SIDE)
    prediction = model.predict_masked(images, SPLIT, and_visible=True)[0]
    assert prediction.shape == (2, 16, VALUES)
    masked_only = model.predict_masked(images, SPLIT)[0]
    torch.testing.assert_close(prediction[:, 4:], masked_only, rtol=1e-4, atol=1e-4)
    patches = patchify(images, PATCH)
    errors = torch.stack(
        [
            (prediction[b, i] - patches[b, SPLIT.in_order()[b, i]]).square().mean()
            for b in range(2)
            for i in range(16)
        ]
    )
    assert model.loss(images, SPLIT).item() == pytest.approx(errors.mean().item(), rel=1e-5)


@pytest.mark.parametrize("norm_pix", [True, False])
def test_reconstruction_without_pasting_shows_the_prediction_everywhere(norm_pix, randomise):
    model = randomise(build(norm_pix=norm_pix))
    images = noise(2, 3, SIDE, SIDE)
    pasted, mask = model.reconstruct(images, SPLIT)
    bare, same_mask = model.reconstruct(images, SPLIT, paste_visible=False)
    assert torch.equal(mask, same_mask)
    hidden = mask.bool().expand_as(images)
    torch.testing.assert_close(bare[hidden], pasted[hidden], rtol=1e-4, atol=1e-4)
    assert torch.equal(pasted[~hidden], images[~hidden])
    assert (bare[~hidden] - images[~hidden]).abs().min() > 0


# Targets (Table 1d)


def test_pca_target_of_masked_patches(randomise):
    model = randomise(build(target=dict(type="PCATarget", coefficients=6)))
    assert model.decoder.pred.out_features == 6
    basis = torch.linalg.qr(noise(VALUES, VALUES))[0][:6]
    model.target.set_basis(noise(VALUES, seed=1), basis)
    images = noise(2, 3, SIDE, SIDE)
    prediction = model.predict_masked(images, SPLIT)[0]
    patches = patchify(images, PATCH)
    hidden = torch.stack([patches[b, SPLIT.masked[b]] for b in range(2)])
    expected = (prediction - (hidden - model.target.mean) @ basis.T).square().mean()
    assert model.loss(images, SPLIT).item() == pytest.approx(expected.item(), rel=1e-5)
    picture, _ = model.reconstruct(images, SPLIT)
    made = torch.stack([patchify(picture, PATCH)[b, SPLIT.masked[b]] for b in range(2)])
    torch.testing.assert_close(
        (made - model.target.mean) @ basis.T, prediction, rtol=1e-3, atol=1e-3
    )


def test_dvae_target_of_masked_patches(tmp_path):
    torch.manual_seed(1)
    encoder = DVAEEncoder(hidden=4)
    save_file(encoder.state_dict(), tmp_path / "e.safetensors")
    mean, std = [120.0, 110.0, 100.0], [60.0, 50.0, 40.0]
    target = dict(
        type="DVAETarget", patch_size=PATCH, checkpoint=str(tmp_path / "e.safetensors"), hidden=4
    )
    model = build(
        target=target,
        data_preprocessor=dict(type="ImgDataPreprocessor", mean=mean, std=std),
    )
    model.init_weights()
    assert model.decoder.pred.out_features == VOCABULARY
    pixels = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    scale = [torch.tensor(values).view(3, 1, 1) for values in (mean, std)]
    images = (255 * pixels - scale[0]) / scale[1]
    tokens = model.target(pixels)
    hidden = torch.stack([tokens[b, SPLIT.masked[b]] for b in range(2)])
    prediction = model.predict_masked(images, SPLIT)[0]
    expected = nn.functional.cross_entropy(prediction.transpose(1, 2), hidden)
    assert model.loss(images, SPLIT).item() == pytest.approx(expected.item(), rel=1e-5)
    with pytest.raises(ValueError, match="predicts no pixels"):
        model.reconstruct(images, SPLIT)


@pytest.mark.parametrize("sampling", ["block", "grid"])
def test_sampling_by_name(sampling, monkeypatch):
    model = build(sampling=sampling)
    torch.manual_seed(0)
    masking = model.predict_masked(noise(2, 3, SIDE, SIDE))[2]
    assert masking.visible.shape == (2, 4)
    if sampling == "grid":
        cells = (1 - masking.as_mask()).view(2, 2, 2, 2, 2)
        assert (cells.sum(dim=(2, 4)) == 1).all()
    with pytest.raises(ValueError, match="sampling='chess' is not one of"):
        build(sampling="chess")
