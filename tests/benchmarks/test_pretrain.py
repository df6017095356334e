"""The benchmark of pre-training compares models that compute the same."""

import pytest
import torch
from torch import Tensor

from benchmarks import pretrain
from benchmarks.plain_mae import PlainMAE
from mae_bench.models.mae import MAE


@pytest.fixture(scope="module")
def model() -> MAE:
    torch.manual_seed(0)
    model = MAE(
        backbone=dict(
            type="mae_bench.VisionTransformer",
            arch=dict(embed_dim=32, depth=2, num_heads=4),
            img_size=pretrain.IMAGE_SIZE,
            patch_size=56,
            output="tokens",
        ),
        decoder=dict(embed_dim=16, depth=2, num_heads=2),
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def images() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(3, 3, pretrain.IMAGE_SIZE, pretrain.IMAGE_SIZE, generator=generator)


@pytest.mark.parametrize("name", ["plain", "mmpretrain", "transformers"])
def test_same_weights_and_mask_give_the_same_loss(name, model, images):
    if name == "plain":
        loss_of = PlainMAE(model)
    elif name == "mmpretrain":
        peer = pretrain.build_mmpretrain(model)
        loss_of = lambda images: peer.loss(images, [])["loss"]  # noqa: E731
    else:
        peer = pretrain.build_hugging_face(model)
        loss_of = lambda images: peer(images).loss  # noqa: E731
    torch.manual_seed(2)
    expected = model.loss(images)
    torch.manual_seed(2)
    assert loss_of(images).item() == pytest.approx(expected.item(), rel=1e-5)
    torch.manual_seed(3)  # another mask, another loss
    assert loss_of(images).item() != pytest.approx(expected.item(), rel=1e-5)


def test_operations_of_a_step_are_those_of_its_matrix_products(monkeypatch):
    """ViT of one block and width 8 on 4 patches of 2 x 2, half of them masked, by hand."""
    monkeypatch.setattr(pretrain, "IMAGE_SIZE", 4)
    model = MAE(
        backbone=dict(
            type="mae_bench.VisionTransformer",
            arch=dict(embed_dim=8, depth=1, num_heads=2),
            img_size=4,
            patch_size=2,
            output="tokens",
        ),
        decoder=dict(embed_dim=8, depth=1, num_heads=2),
        mask_ratio=0.5,
    )
    step = pretrain.make_step(model, model.loss, True, batch=1, dtype="float32")
    width, values, visible, masked = 8, 12, 2, 2
    encoder, decoder = 1 + visible, 1 + visible + masked
    block = 12 * width * width  # of a token
    forward = visible * values * width  # patch embedding: no gradient of its input
    with_gradients = encoder * block + 2 * encoder * encoder * width
    with_gradients += encoder * width * width  # embedding of the decoder
    # Last block: keys and values of all tokens, all else of the masked ones only.
    with_gradients += decoder * 2 * width * width + masked * 10 * width * width
    with_gradients += 2 * masked * decoder * width
    with_gradients += masked * width * values
    expected = 2 * (2 * forward + 3 * with_gradients)
    assert pretrain.count_gflops(step) * 1e9 == pytest.approx(expected)
