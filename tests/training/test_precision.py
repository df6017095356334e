"""A training step of every shipped recipe in bfloat16 is that in float32, within its precision."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample
from safetensors.torch import save_file

from mae_bench.config.load import load_config
from mae_bench.models.dvae import DVAEEncoder
from mae_bench.models.targets import PCATarget
from mae_bench.training import Bfloat16OptimWrapper
from mae_bench.training.seeded import seed_everything

from ..shrink import SIDE, shrink

CONFIGS = Path(__file__).parents[2] / "configs"
TRAINED = [
    path
    for path in sorted(CONFIGS.glob("[cdps]*/*.py"))
    if not re.search("robustness|frozen", path.name) and not path.name.endswith("_ms.py")
]
IMAGES = 4
MOST_STEPS = 20  # until the scale of the loss suits float16
# one for each kind of model; all in the slow tests
KINDS = (
    *(
        "mae_vit_base_p16",
        "mae_vit_large_p16_pca",
        "vit_base_finetune_in1k",
        "vit_base_linear_in1k",
    ),
    *("vitdet_mask_rcnn_vit_base_coco", "patch_classifier_vit_base_imagenet_s"),
)


def annotations(cfg: Config) -> list[Any]:
    """Random ones of a batch, for the task of a config."""
    if cfg.default_scope == "mmdet":
        shapes, objects = [(3, SIDE, SIDE)] * IMAGES, [2] * IMAGES
        data = demo_mm_inputs(IMAGES, shapes, num_items=objects, num_classes=3, with_mask=True)
        return data["data_samples"]
    if cfg.default_scope == "mmseg":
        maps = torch.randint(0, 3, (IMAGES, 1, SIDE, SIDE))
        return [SegDataSample(gt_sem_seg=PixelData(data=labels)) for labels in maps]
    return [DataSample().set_gt_label(n % 2) for n in range(IMAGES)]


def small_config(path: Path) -> Config:
    """A recipe with a small model, and in the current folder the file that it reads."""
    cfg = load_config(path)
    shrink(cfg.model)
    if "partial" in path.stem:
        cfg.model.backbone.trainable_blocks = 1
    if "dvae" in path.stem:
        save_file(DVAEEncoder(hidden=4).state_dict(), "dvae.safetensors")
        cfg.model.target.hidden = 4
    init_default_scope(cfg.default_scope)
    return cfg


def random_batch(cfg: Config) -> dict[str, Any]:
    """Of a data loader, for the task of a config."""
    inputs: Any = torch.randint(0, 256, (IMAGES, 3, SIDE, SIDE), dtype=torch.uint8)
    if cfg.default_scope != "mmpretrain":
        inputs = list(inputs)
    return dict(inputs=inputs, data_samples=annotations(cfg))


def wrapper_for(precision: str, model: torch.nn.Module) -> OptimWrapper:
    """What a run has for a precision, with an optimizer that leaves the weights as they are."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    if precision == "float16":
        return AmpOptimWrapper(optimizer=optimizer, dtype=precision, loss_scale="dynamic")
    return (Bfloat16OptimWrapper if precision == "bfloat16" else OptimWrapper)(optimizer)


class Step:
    """One forward and backward pass of a small model of a config.

    Args:
        precision: of autocast, or ``"float32"``.
        proposals: of another step, for its discrete choices of regions; its own where None.
        device: where model and batch are.
    """

    def __init__(
        self,
        cfg: Config,
        batch: dict,
        precision: str = "float32",
        proposals: Any = None,
        device: str = "cpu",
    ) -> None:
        seed_everything(0)
        model = MODELS.build(cfg.model)
        model.init_weights()
        model.to(device).train()
        for module in model.modules():
            if isinstance(module, PCATarget):
                module.set_basis(torch.zeros_like(module.mean), torch.eye(*module.basis.shape))
            if isinstance(module, torch.nn.Linear):
                module.register_forward_hook(lambda _, inputs, output: kinds.add(output.dtype))
        kinds = self.kinds = set()
        self.device, self.proposals = device, proposals
        if hasattr(model, "rpn_head"):
            self.loss_and_predict = model.rpn_head.loss_and_predict
            model.rpn_head.loss_and_predict = self.propose
        wrapper = wrapper_for(precision, model)
        data = model.data_preprocessor(copy.deepcopy(batch), True)
        for _ in range(MOST_STEPS):
            seed_everything(1)
            with wrapper.optim_context(model):
                loss, _ = model.parse_losses(model(**data, mode="loss"))
            wrapper.backward(loss)
            if precision == "float16":
                wrapper.loss_scaler.unscale_(wrapper.optimizer)
            self.loss = loss.detach()
            self.gradients = {
                name: parameter.grad
                for name, parameter in model.named_parameters()
                if parameter.grad is not None
            }
            self.gradient = torch.cat([value.flatten() for value in self.gradients.values()])
            if precision != "float16" or self.gradient.isfinite().all():
                break
            wrapper.step()  # a smaller scale of the loss
            wrapper.zero_grad()

    def propose(self, *args, **kwargs):
        losses, found = self.loss_and_predict(*args, **kwargs)
        self.proposals = self.proposals or copy.deepcopy(found)
        seed_everything(2)
        return losses, [proposals.clone().to(self.device) for proposals in self.proposals]


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path,
            id=f"{path.parent.name}/{path.stem}",
            marks=[] if path.stem in KINDS else pytest.mark.slow,
        )
        for path in TRAINED
    ],
)
def test_a_step_in_bfloat16(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = small_config(path)
    seed_everything(3)
    batch = random_batch(cfg)
    whole = Step(cfg, batch)
    half = Step(cfg, batch, "bfloat16", whole.proposals)
    assert half.kinds == {torch.bfloat16} and whole.kinds == {torch.float32}
    torch.testing.assert_close(half.loss, whole.loss, rtol=2e-2, atol=0)
    assert torch.cosine_similarity(half.gradient, whole.gradient, dim=0) > 0.99
