"""The run card says what a run really uses; operations are counted by hand beside it."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmengine.registry import DefaultScope
from mmpretrain.models import ImageClassifier
from torch import nn

from mae_bench.checkpoint.transfer import PretrainedBackbone
from mae_bench.models import MAE, VisionTransformer
from mae_bench.training import Bfloat16OptimWrapper
from mae_bench.training.hooks import RunCard
from mae_bench.training.hooks.run_card import count_forward_flops, precision_in_use
from mae_bench.training.step_batch import StepBatch

WIDTH, DEPTH, PATCH, CLASSES = 32, 2, 4, 5


@pytest.fixture(autouse=True)
def scope_of_mmpretrain():
    """mmpretrain builds parts by name, whatever scope an earlier run in this process has left."""
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        yield


def backbone(size: int, **options) -> dict:
    return dict(
        type=VisionTransformer,
        arch=dict(embed_dim=WIDTH, depth=DEPTH, num_heads=4),
        img_size=size,
        patch_size=PATCH,
        **options,
    )


def classifier(size: int = 16, **options) -> ImageClassifier:
    return ImageClassifier(
        backbone=backbone(size, **{"output": "mean", "drop_path_rate": 0.5, **options}),
        head=dict(type="LinearClsHead", num_classes=CLASSES, in_channels=WIDTH),
        data_preprocessor=dict(mean=[0.0] * 3, std=[1.0] * 3),
    )


def batch(size: int, count: int = 3) -> dict:
    return dict(inputs=torch.zeros(count, 3, size, size))


def transformer_flops(tokens: int, width: int, depth: int) -> int:
    """Two operations for each multiply-add of qkv, logits, values, projection and MLP."""
    linear = tokens * width * (3 * width + width + 4 * width + 4 * width)
    attention = 2 * tokens * tokens * width
    return 2 * depth * (linear + attention)


@pytest.mark.parametrize("size", [16, 64])
def test_flops_of_a_classifier(size):
    # 64 pixels make 257 tokens, enough for the fused attention kernel.
    patches = (size // PATCH) ** 2
    expected = 2 * patches * 3 * PATCH**2 * WIDTH  # patch embedding
    expected += transformer_flops(patches + 1, WIDTH, DEPTH)
    expected += 2 * WIDTH * CLASSES
    assert count_forward_flops(classifier(size), batch(size)) == expected


def test_flops_of_a_masked_autoencoder():
    # 16 patches, of which the encoder sees 4.
    model = MAE(
        backbone=backbone(16, output="tokens"),
        decoder=dict(embed_dim=16, depth=1, num_heads=2),
        data_preprocessor=dict(type="ImgDataPreprocessor"),
    )
    values = 3 * PATCH**2
    expected = 2 * 4 * values * WIDTH + transformer_flops(5, WIDTH, DEPTH)
    expected += 2 * 5 * WIDTH * 16 + transformer_flops(17, 16, 1) + 2 * 12 * 16 * values
    # The decoder's last block makes queries, projection, attention and MLP for the masked 12 only.
    visible = 5
    expected -= 2 * visible * (16 * (16 + 16) + 2 * 17 * 16 + 2 * 16 * 64)
    assert count_forward_flops(model, batch(16)) == expected


@pytest.mark.parametrize(("mixup", "counted"), [(False, 16), (True, 12)])
def test_flops_of_a_padded_image(mixup, counted):
    """Training pads 12 pixels to 16; but where it mixes images, a single one stays as it is."""
    model = classifier()
    preprocess = model.data_preprocessor

    class Padding(type(preprocess)):
        def forward(self, data, training=False):
            if training:
                data["inputs"] = nn.functional.pad(data["inputs"], (0, 4, 0, 4))
            return super().forward(data, training)

    preprocess.__class__ = Padding
    preprocess.batch_augments = nn.Identity() if mixup else None
    expected = count_forward_flops(classifier(), batch(counted))
    assert count_forward_flops(model, batch(12), padded=True) == expected


def test_counting_changes_nothing():
    model = classifier().train()
    model.head.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(7)
    expected = torch.rand(4)
    torch.manual_seed(7)
    count_forward_flops(model, batch(16))
    assert torch.equal(torch.rand(4), expected)
    assert model.training and model.backbone.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def sgd(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore:torch.cuda.amp.GradScaler")
def test_precision(monkeypatch):
    monkeypatch.setattr(amp_optimizer_wrapper, "is_cuda_available", lambda: True)
    optimizer = sgd(nn.Linear(1, 1))
    assert precision_in_use(OptimWrapper(optimizer)) == "float32"
    assert precision_in_use(Bfloat16OptimWrapper(optimizer)) == "mixed bfloat16"
    wrapper = AmpOptimWrapper(optimizer=optimizer, dtype="float16")
    assert precision_in_use(wrapper) == "mixed float16"


def make_runner(model: nn.Module, **options) -> SimpleNamespace:
    """What the hook reads of a runner."""
    messages: list[str] = []
    loader = torch.utils.data.DataLoader([0] * 100, batch_size=8)
    defaults = dict(
        model=model,
        optim_wrapper=OptimWrapper(sgd(model), accumulative_counts=4),
        train_dataloader=loader,
        world_size=1,
        max_iters=39,
        logger=SimpleNamespace(info=messages.append),
        messages=messages,
    )
    return SimpleNamespace(**{**defaults, **options})


def test_card():
    runner = make_runner(classifier(frozen=True), world_size=2)
    hook = RunCard()
    hook.before_train(runner)
    hook.before_train_iter(runner, 0, batch(16))
    embedding = (3 * PATCH**2 + 1) * WIDTH + WIDTH + 17 * WIDTH
    block = 4 * WIDTH + (WIDTH + 1) * 3 * WIDTH + (WIDTH + 1) * WIDTH
    block += (WIDTH + 1) * 4 * WIDTH + (4 * WIDTH + 1) * WIDTH
    head = (WIDTH + 1) * CLASSES
    flops = 2 * 16 * 48 * WIDTH + transformer_flops(17, WIDTH, DEPTH) + 2 * WIDTH * CLASSES
    assert runner.run_card == {
        "model": "ImageClassifier",
        "effective_batch": 8 * 2 * 4,
        "processes": 2,
        "accumulation": 4,
        "peak_lr": 0.1,
        "precision": "float32",
        "threads": torch.get_num_threads(),
        "optimizer": "SGD",
        "parameters": embedding + DEPTH * block + 2 * WIDTH + head,
        "trainable_parameters": head,
        "iterations": 39,
        "training_samples": 100,
        "forward_gflops_per_image": pytest.approx(flops / 1e9, abs=1e-6),
    }
    hook.before_train_iter(runner, 1, batch(16))
    assert len(runner.messages) == 1
    assert "effective batch: 64" in runner.messages[0]


def test_card_says_what_became_of_the_checkpoint(tmp_path):
    path = tmp_path / "c.pth"
    torch.save({**classifier().backbone.state_dict(), "head.bias": torch.ones(3)}, path)
    runner = make_runner(classifier(32))
    PretrainedBackbone(path)(runner.model.backbone)
    hook = RunCard()
    hook.before_train(runner)
    hook.before_train_iter(runner, 0, batch(32))
    assert runner.run_card["checkpoint"] == runner.model.backbone.loading_report.summary()
    (message,) = runner.messages
    for words in ("c.pth: 29 tensors loaded (", "resized: pos_embed (1, 17, 32) -> (1, 65, 32)"):
        assert words in message
    assert "dropped: head (1)" in message


def test_peak_rate_is_that_of_the_head_before_warmup():
    model = nn.Linear(1, 1)
    wrapper = OptimWrapper(sgd(model))
    for group, peak in zip(wrapper.optimizer.param_groups, [0.3], strict=True):
        group["initial_lr"], group["lr"] = peak, 0.0
    runner = make_runner(model, optim_wrapper=wrapper)
    RunCard().before_train(runner)
    assert runner.run_card["peak_lr"] == 0.3


@pytest.mark.parametrize(("sync_bn", "seen", "recipe"), [(None, 4, 8), ("torch", 8, 64)])
def test_norms_that_see_fewer_samples_than_the_recipe_says(sync_bn, seen, recipe):
    model = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    cfg = Config(dict(total_batch_size=64, train_dataloader=dict(batch_size=8), sync_bn=sync_bn))
    warnings = []
    runner = make_runner(model, cfg=cfg, step_batch=StepBatch(2, 4, 8), world_size=2)
    runner.logger.warning = warnings.append
    RunCard().before_train(runner)
    assert runner.run_card["norm_samples"] == seen
    assert runner.run_card["recipe_norm_samples"] == recipe
    assert [
        f"sees {seen} samples of each batch, and {recipe} in the recipe" in w for w in warnings
    ] == [True]


def test_card_of_a_test():
    loader = torch.utils.data.DataLoader([0] * 100, batch_size=8)
    loop = SimpleNamespace(fp16=False)
    runner = make_runner(classifier(), world_size=2, test_dataloader=loader, test_loop=loop)
    hook = RunCard()
    hook.before_test(runner)
    hook.before_test_iter(runner, 0, batch(16))
    flops = 2 * 16 * 48 * WIDTH + transformer_flops(17, WIDTH, DEPTH) + 2 * WIDTH * CLASSES
    card = runner.run_card
    assert card["parameters"] == sum(p.numel() for p in runner.model.parameters())
    assert {key: card[key] for key in ("model", "effective_batch", "precision")} == {
        "model": "ImageClassifier",
        "effective_batch": 16,
        "precision": "float32",
    }
    assert card["forward_gflops_per_image"] == pytest.approx(flops / 1e9, abs=1e-6)
    loop.fp16 = True
    hook.before_test(runner)
    assert runner.run_card["precision"] == "mixed bfloat16"  # autocast's on a CPU


def test_test_goes_on_where_operations_cannot_be_counted():
    class Picky(nn.Linear):
        def data_preprocessor(self, data, training):
            raise RuntimeError("only crops")

    warnings: list[str] = []
    loader = torch.utils.data.DataLoader([0] * 10, batch_size=2)
    runner = make_runner(Picky(1, 1), test_dataloader=loader, test_loop=SimpleNamespace())
    runner.logger.warning = warnings.append
    hook = RunCard()
    hook.before_test(runner)
    hook.before_test_iter(runner, 0, batch(16))
    assert "forward_gflops_per_image" not in runner.run_card
    assert "only crops" in warnings[0]
    training = make_runner(Picky(1, 1))
    training.logger.warning = warnings.append
    hook.before_train(training)
    hook.before_train_iter(training, 0, batch(16))
    assert "forward_gflops_per_image" not in training.run_card
    assert "only crops" in warnings[1]
