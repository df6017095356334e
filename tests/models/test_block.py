"""Options of a block: layer scale against timm, and activation checkpointing."""

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer as TimmViT

from mae_bench.models.vit import Block, VisionTransformer

TINY = dict(embed_dim=32, depth=4, num_heads=2)
TOLERANCE = 1e-5


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gradients(model, out):
    (out * noise(*out.shape, seed=1)).sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_layer_scale_agrees_with_timm(randomise, relative_error):
    peer = randomise(TimmViT(64, 16, num_classes=0, init_values=0.1, **TINY)).eval()
    ours = VisionTransformer(TINY, 64, output="class_token", layer_scale_init=0.1).eval()
    assert all((block.ls1.gamma == 0.1).all() for block in ours.blocks)
    ours.load_state_dict(peer.state_dict(), strict=True)
    images = noise(2, 3, 64, 64)
    out, expected = ours(images)[0], peer(images)
    assert relative_error(out, expected) < TOLERANCE
    ours_gradients, theirs = gradients(ours, out), gradients(peer, expected)
    assert "blocks.3.ls2.gamma" in ours_gradients
    for name, gradient in ours_gradients.items():
        assert relative_error(gradient, theirs[name]) < TOLERANCE, name


def test_a_layer_scale_of_one_starts_without_effect_and_learns():
    scaled = VisionTransformer(TINY, 64, output="mean", layer_scale_init=1.0)
    plain = VisionTransformer(TINY, 64, output="mean")
    missing, unexpected = plain.load_state_dict(scaled.state_dict(), strict=False)
    assert not missing and len(unexpected) == 8
    images = noise(2, 3, 64, 64)
    out = scaled(images)[0]
    assert torch.equal(out, plain(images)[0])
    found = gradients(scaled, out)
    assert all(found[name].abs().max() > 0 for name in unexpected)


MODELS = {
    "global": dict(output="mean"),
    "windows": dict(
        out_indices=(1, 3),
        class_token=False,
        rel_pos_bias="decomposed",
        window_size=3,
        global_blocks=(1,),
    ),
    "shared bias": dict(out_indices=(3,), rel_pos_bias="shared", layer_scale_init=0.5),
}


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_checkpointing_gives_the_same_outputs_and_gradients(options, randomise):
    """With stochastic depth, whose draws have to be the same in both passes."""
    images = noise(4, 3, 64, 80)
    results = []
    for with_cp in (False, True):
        model = VisionTransformer(TINY, (64, 80), drop_path_rate=0.5, with_cp=with_cp, **options)
        model = randomise(model).train()
        torch.manual_seed(0)
        out = torch.cat([part.flatten() for part in model(images)])
        results.append((out, gradients(model, out)))
    (out, found), (expected, wanted) = results
    assert torch.equal(out, expected)
    assert found.keys() == wanted.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-6, atol=1e-7)


def test_checkpointing_keeps_less(randomise):
    """Of activations a block with it leaves the backward pass its input and nothing else."""
    x = noise(2, 9, 32).requires_grad_()
    kept = []
    for with_cp in (False, True):
        block = randomise(Block(32, 2, with_cp=with_cp))
        sizes = {}

        known = {t.data_ptr() for t in (x, *block.parameters())}

        def pack(tensor, known=known, sizes=sizes):
            if tensor.data_ptr() not in known:
                sizes[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            block(x)
        kept.append(sum(sizes.values()))
    assert kept[0] > 10 * x.numel() and kept[1] == 0


def test_nothing_is_computed_twice_without_gradients(monkeypatch):
    model = VisionTransformer(TINY, 32, output="mean", with_cp=True).eval()

    def refuse(*args, **kwargs):
        raise AssertionError("checkpointed without a backward pass to come")

    monkeypatch.setattr("mae_bench.models.block.checkpoint", refuse)
    with torch.no_grad():
        model(noise(1, 3, 32, 32))
