"""A training step of pre-training, classification and segmentation never waits for the device.

The step runs on the meta device, where tensors have shapes and no values: whatever would read a
value, or make a tensor whose size depends on values, raises. The forward pass is one graph for
torch.compile.
"""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS

from mae_bench.models.targets import PCATarget
from mae_bench.openmmlab.seg_heads import PixelCrossEntropy

from .test_precision import TRAINED, random_batch, small_config


def small(path: Path) -> tuple[torch.nn.Module, dict]:
    """A small model of a config, for training, and a batch."""
    cfg = small_config(path)
    if path.parent.name == "seg" and "miniworld" in path.stem:
        # They keep mmseg's loss: the sum of its class weights in another order is another rounding,
        # and after hundreds of steps another mIoU than the README's.
        names = {"decode_head", "auxiliary_head"} & cfg.model.keys()
        for head in map(cfg.model.get, names):
            head.loss_decode.type = PixelCrossEntropy
    model = MODELS.build(cfg.model).train()
    for module in model.modules():
        if isinstance(module, PCATarget):
            module.known_fitted = True  # read once, before the first step
    return model, random_batch(cfg)


def recipes(*quick: str) -> list:
    """All that have no detector; where ``quick`` names some, the others are slow."""
    return [
        pytest.param(
            path,
            id=f"{path.parent.name}/{path.stem}",
            marks=[] if not quick or path.stem in quick else pytest.mark.slow,
        )
        for path in TRAINED
        if path.parent.name != "det"
    ]


@pytest.mark.parametrize("path", recipes())
def test_a_step_reads_nothing_from_the_device(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # meta has none
    model, batch = small(path)
    model.to("meta")
    optimizer = torch.optim.AdamW(model.parameters(), foreach=True)
    model.train_step(batch, OptimWrapper(optimizer))


@pytest.mark.parametrize(
    "path",
    recipes("mae_vit_mini_miniworld", "vit_mini_finetune_miniworld", "upernet_vit_mini_miniworld"),
)
def test_the_forward_pass_is_one_graph(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, batch = small(path)
    data = model.data_preprocessor(batch, True)
    torch._dynamo.reset()
    found = torch._dynamo.explain(lambda: sum(model(**data, mode="loss").values()))()
    assert found.graph_break_count == 0, [reason.reason for reason in found.break_reasons]
