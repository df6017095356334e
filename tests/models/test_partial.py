"""Partial fine-tuning: what trains, what is computed for it, and that it is the same gradient."""

import pytest
import torch

from mae_bench.models import VisionTransformer

ARCH = dict(embed_dim=16, depth=4, num_heads=2)


def make(**options) -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(ARCH, 32, 8, **{"output": "class_token", **options})


def images(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def block_names(first: int) -> set[str]:
    return {
        name
        for name, _ in make().named_parameters()
        if name.startswith("blocks.") and int(name.split(".")[1]) >= first
    }


NORM = {"norm.weight", "norm.bias"}
LAST_MLP = {
    f"blocks.3.{layer}.{kind}"
    for layer in ("norm2", "mlp.fc1", "mlp.fc2")
    for kind in ("weight", "bias")
}


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        (0, set()),
        (0.5, LAST_MLP | NORM),
        (1, block_names(3) | NORM),
        (1.5, block_names(3) | {n.replace(".3.", ".2.") for n in LAST_MLP} | NORM),
        (3, block_names(1) | NORM),
        (4, {name for name, _ in make().named_parameters()}),
        (None, {name for name, _ in make().named_parameters()}),
    ],
)
def test_which_parameters_train(blocks, expected):
    model = make(trainable_blocks=blocks)
    assert {n for n, p in model.named_parameters() if p.requires_grad} == expected


def test_mean_pooling_trains_its_norm():
    model = make(trainable_blocks=0.5, output="mean")
    assert {n for n, p in model.named_parameters() if p.requires_grad} == LAST_MLP | {
        "fc_norm.weight",
        "fc_norm.bias",
    }


@pytest.mark.parametrize("blocks", [0.5, 1, 2.5])
def test_gradients_are_those_of_the_whole_model(blocks):
    part, whole = make(trainable_blocks=blocks), make()
    whole.load_state_dict(part.state_dict())
    for model in (part, whole):
        model(images())[0].square().sum().backward()
    gradients = {name: p.grad for name, p in whole.named_parameters()}
    for name, parameter in part.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, gradients[name])
        else:
            assert parameter.grad is None, name


def saved_tensors(model: VisionTransformer) -> int:
    """Tensors that autograd keeps for the backward pass."""
    kept = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(images())
    return len(kept)


def test_frozen_part_records_nothing():
    counts = {blocks: saved_tensors(make(trainable_blocks=blocks)) for blocks in (0, 0.5, 1, 2, 3)}
    assert counts[0] == 0
    # Each block more keeps as much as the one before: nothing of the frozen ones is kept.
    assert counts[3] - counts[2] == counts[2] - counts[1] > 0
    assert 0 < counts[0.5] < counts[1]
    shallow = VisionTransformer({**ARCH, "depth": 5}, 32, 8, output="class_token")
    deep = VisionTransformer({**ARCH, "depth": 5}, 32, 8, output="class_token", trainable_blocks=1)
    assert saved_tensors(deep) == counts[1] < saved_tensors(shallow)


def test_frozen_blocks_drop_no_paths():
    model = make(trainable_blocks=1, drop_path_rate=0.5).train()
    assert [block.training for block in model.blocks] == [False, False, False, True]
    assert [block.training for block in model.eval().blocks] == [False] * 4
    frozen = make(trainable_blocks=0, drop_path_rate=0.5).train()
    assert not any(module.training for module in frozen.modules())
    assert all(module.training for module in make(drop_path_rate=0.5).train().modules())


@pytest.mark.parametrize("blocks", [-1, 4.5, 0.25])
def test_impossible_number_of_blocks(blocks):
    with pytest.raises(ValueError, match=rf"trainable_blocks={blocks} .* 0 to 4"):
        make(trainable_blocks=blocks)


def test_frozen_and_trainable_exclude_each_other():
    with pytest.raises(ValueError, match="frozen=True excludes trainable_blocks=2"):
        make(frozen=True, trainable_blocks=2)
