"""A training step of every task, and what it predicts, on the GPU as on the CPU."""

import copy

import pytest
import torch
from mmengine.registry import MODELS

from mae_bench.config.load import load_config
from mae_bench.evaluation.frozen.frozen_loop import image_features
from mae_bench.evaluation.frozen.knn import nearest, vote
from mae_bench.models.mae import MAE
from mae_bench.training.seeded import seed_everything

from ..shrink import shrink
from ..training.test_precision import CONFIGS, Step, random_batch, small_config
from .device import DEVICE, PRECISIONS, DrawnOnCPU

pytestmark = pytest.mark.gpu

# One recipe for each kind of model.
RECIPES = (
    "pretrain/mae_vit_base_p16",
    "pretrain/mae_vit_large_p16_pca",
    "cls/vit_base_finetune_in1k",
    "cls/vit_base_linear_in1k",
    "cls/vit_base_attentive_in1k",
    "det/mask_rcnn_vit_base_coco",  # a shared relative position bias
    "det/vitdet_cascade_vit_base_coco",  # decomposed relative positions
    "seg/upernet_vit_base_ade20k",
    "seg/patch_classifier_vit_base_imagenet_s",
)
# Of float32: sums differ by their order, which the backward pass of many layers carries on.
LOSS, GRADIENT, OUTPUT = 1e-5, 1e-4, 1e-4
COSINE = 0.99


@pytest.fixture(params=RECIPES)
def case(request, tmp_path, monkeypatch):
    """A small config and a batch; random numbers are the same on every device."""
    monkeypatch.chdir(tmp_path)
    cfg = small_config(CONFIGS / f"{request.param}.py")
    seed_everything(3)
    with DrawnOnCPU():
        yield cfg, random_batch(cfg)


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.cpu() - expected.cpu()).norm() / expected.norm())


def test_a_step_is_that_of_the_cpu(case, record_property):
    cfg, batch = case
    expected = Step(cfg, batch)
    found = Step(cfg, batch, proposals=expected.proposals, device=DEVICE)
    loss = abs(found.loss.item() / expected.loss.item() - 1)
    gradient = relative(found.gradient, expected.gradient)
    record_property("loss", loss)
    record_property("gradient", gradient)
    assert loss < LOSS and gradient < GRADIENT
    whole = expected.gradient.norm()
    for name, value in expected.gradients.items():
        difference = (found.gradients[name].cpu() - value).norm()
        # Some have none but rounding: the bias of keys, which softmax takes away.
        assert difference < 10 * GRADIENT * value.norm() + 0.1 * GRADIENT * whole, name


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_step_in_mixed_precision(case, precision, record_property):
    cfg, batch = case
    whole = Step(cfg, batch, device=DEVICE)
    half = Step(cfg, batch, precision, whole.proposals, DEVICE)
    assert half.kinds == {getattr(torch, precision)} and whole.kinds == {torch.float32}
    assert half.loss.isfinite() and half.gradient.isfinite().all()
    pair = half.gradient.double(), whole.gradient.double()
    cosine = torch.cosine_similarity(*pair, dim=0).item()
    record_property("cosine", cosine)
    torch.testing.assert_close(half.loss, whole.loss, rtol=2e-2, atol=0)
    assert cosine > COSINE


def outputs(cfg, batch, device: str) -> list[torch.Tensor]:
    """Raw predictions of the model as it evaluates."""
    seed_everything(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.to(device).eval()
    data = model.data_preprocessor(copy.deepcopy(batch), False)
    seed_everything(1)  # of a mask
    with torch.no_grad():
        if hasattr(model, "rpn_head"):  # whose regions are discrete choices
            found = sum(map(list, model.rpn_head(model.extract_feat(data["inputs"]))), [])
        else:
            found = [model(**data, mode="tensor")]
    return [tensor.cpu() for tensor in found]


def test_an_evaluation_is_that_of_the_cpu(case, record_property):
    expected, found = outputs(*case, "cpu"), outputs(*case, DEVICE)
    worst = max(relative(*pair) for pair in zip(found, expected, strict=True))
    record_property("output", worst)
    assert worst < OUTPUT


def frozen_knn(device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of a frozen backbone, and the classes that its neighbours vote for."""
    cfg = load_config(CONFIGS / "cls/vit_base_frozen_in1k.py")
    shrink(cfg.model)
    seed_everything(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.to(device).eval()
    images = torch.randn(300, 3, 32, 32).to(device)
    labels = torch.randint(5, (200,)).to(device)
    with torch.no_grad():
        features = torch.cat(list(image_features(model.backbone, "tokens", images).values()), 1)
    near, places = nearest(features[:200].split(64), features[200:], 20)
    return features.cpu(), vote(near, labels[places], 5, 0.07).cpu()


def test_frozen_measures_are_those_of_the_cpu(record_property):
    features, classes = frozen_knn("cpu")
    found_features, found_classes = frozen_knn(DEVICE)
    record_property("features", relative(found_features, features))
    assert relative(found_features, features) < OUTPUT
    assert (found_classes != classes).sum() <= 1  # an image may be as near to two classes
    assert len(classes.unique()) > 1


def test_a_wrong_step_is_found(tmp_path, monkeypatch):
    """The tolerances are no wider than a single layer that is a hundredth off."""
    monkeypatch.chdir(tmp_path)
    cfg = small_config(CONFIGS / f"{RECIPES[0]}.py")
    batch = random_batch(cfg)
    initialise = MAE.init_weights

    def init_weights(model):
        initialise(model)
        model.backbone.blocks[0].attn.proj.weight.data *= 1.01

    with DrawnOnCPU():
        expected = Step(cfg, batch, device=DEVICE)
        monkeypatch.setattr(MAE, "init_weights", init_weights)
        found = Step(cfg, batch, device=DEVICE)
    assert relative(found.gradient, expected.gradient) > GRADIENT
