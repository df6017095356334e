"""Bytes that a real training step takes at its peak, as the system counts them: for one process.

    tests/training/measured_peak.py CONFIG BATCH [OVERRIDES as JSON]

Prints resident memory at the peak of the second step, less that of before the model was built.
Small and large tensors come from the system one by one (``MALLOC_...`` in the environment), so
that nothing that was freed is counted.
"""

import json
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS, init_default_scope

from mae_bench.config.load import load_config
from mae_bench.training.step_cost import build_optimizer, image_side, training_loss


def resident(key: str) -> int:
    """``VmRSS``, or ``VmHWM``, the most since it was last reset; bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


def loss_of(cfg: Config, model: BaseModel, batch: int) -> torch.Tensor:
    """Of random images; of a detector with its own losses on random objects."""
    height, width = image_side(cfg)
    images = torch.rand(batch, 3, height, width)
    if cfg.default_scope != "mmdet":
        return training_loss(cfg, model, images)
    from mmdet.testing import demo_mm_inputs  # after mae_bench, which gives mmcv its operators

    shapes, objects = [(3, height, width)] * batch, [8] * batch
    samples = demo_mm_inputs(batch, shapes, num_items=objects, num_classes=3, with_mask=True)
    for sample in samples["data_samples"]:
        sample.set_metainfo(dict(pad_shape=(height, width), batch_input_shape=(height, width)))
    return model.parse_losses(model(images, samples["data_samples"], mode="loss"))[0]


def main(config: str, batch: int, overrides: dict) -> int:
    cfg = load_config(config, overrides)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    del model  # what imports and first calls take is not the model's
    before = resident("VmRSS")
    model = MODELS.build(cfg.model).train()
    optimizer = build_optimizer(cfg, model)
    for _ in range(2):
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
        loss_of(cfg, model, batch).backward()
        optimizer.step()
        optimizer.zero_grad()
    return resident("VmHWM") - before


if __name__ == "__main__":
    path, images, *rest = sys.argv[1:]
    print(main(path, int(images), json.loads(rest[0]) if rest else {}))
