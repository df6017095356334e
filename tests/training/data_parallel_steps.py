"""Steps of several processes, as the runner has them, against one process with all their batches.

    data_parallel_steps.py FOLDER [ddp|fsdp DEVICE]

with the variables of torchrun. Process 0 writes what went wrong to FOLDER/failures.json. Without a
wrapper every switch of the backbone by DDP on CPUs, else one model of each task.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample

from mae_bench.config.load import load_config
from mae_bench.training.sharding import is_sharded, shard_model

STEPS, IMAGES = 2, 2
PRETRAIN, FINETUNE = "pretrain/mae_vit_mini_miniworld", "cls/vit_mini_finetune_miniworld"
LINEAR = "cls/vit_mini_linear_miniworld"
DETECT, SEGMENT = "det/mask_rcnn_vit_mini_miniworld", "seg/upernet_vit_mini_miniworld"
WINDOWS = dict(class_token=False, window_size=4)
CASES: list[tuple[str, dict[str, Any]]] = [
    (PRETRAIN, {}),
    (LINEAR, {}),
    *((FINETUNE, dict(trainable_blocks=blocks)) for blocks in (0.5, 1, 4)),
    (FINETUNE, dict(frozen=True)),
    (FINETUNE, dict(layer_scale_init=0.1)),
    (FINETUNE, dict(drop_path_rate=0.5, with_cp=True)),
    (FINETUNE, dict(rel_pos_bias="per_block", train_positions=False)),
    (FINETUNE, dict(output="class_token", register_tokens=2)),
    (DETECT, {}),  # a shared bias, all blocks global
    (DETECT, {**WINDOWS, "global_blocks": (1, 3)}),
    (DETECT, dict(WINDOWS)),
    (DETECT, {**WINDOWS, "global_blocks": (3,), "rel_pos_bias": "decomposed"}),
    (DETECT, dict(frozen=True, rel_pos_bias=None)),
    (SEGMENT, {}),
    (SEGMENT, dict(rel_pos_bias="shared", layer_scale_init=1.0)),
]

TASKS = [
    (PRETRAIN, {}),
    (LINEAR, {}),
    (FINETUNE, dict(drop_path_rate=0.5, with_cp=True)),
    (DETECT, {}),
    (SEGMENT, {}),
]


def batch_of(cfg: Config, model: BaseModel, step: int, rank: int) -> dict[str, Any]:
    """A process's images with annotations, the same whenever they are asked for."""
    torch.manual_seed(100 * step + rank)
    side = cfg.model.backbone.img_size
    images = torch.randint(0, 256, (IMAGES, 3, side, side), dtype=torch.uint8)
    samples: list[Any]
    if cfg.default_scope == "mmdet":
        from mmdet.testing import demo_mm_inputs  # after mae_bench, which gives mmcv its operators

        shapes, objects = [(3, side, side)] * IMAGES, [3] * IMAGES
        found = demo_mm_inputs(IMAGES, shapes, num_items=objects, num_classes=3, with_mask=True)
        samples = found["data_samples"]
    elif cfg.default_scope == "mmseg":
        labels = torch.randint(0, 3, (IMAGES, 1, side, side))
        samples = [SegDataSample(gt_sem_seg=PixelData(data=label)) for label in labels]
    else:
        samples = [DataSample().set_gt_label(torch.randint(0, 3, (1,))) for _ in range(IMAGES)]
    inputs = images if cfg.default_scope == "mmpretrain" else list(images)
    return dict(inputs=inputs, data_samples=samples)


def make(cfg: Config, device: str) -> BaseModel:
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model.to(device).train()


def optimizer_of(model: BaseModel) -> OptimWrapper:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return OptimWrapper(torch.optim.SGD(trained, lr=0.01))


def one_process(cfg: Config, device: str) -> dict[str, torch.Tensor]:
    """Weights after steps whose gradients are the means of those of all processes."""
    model, processes = make(cfg, device), dist.get_world_size()
    optimizer = optimizer_of(model)
    for step in range(STEPS):
        for rank in range(processes):
            data = model.data_preprocessor(batch_of(cfg, model, step, rank), True)
            losses = model(**data, mode="loss")
            (model.parse_losses(losses)[0] / processes).backward()
        optimizer.step()
        optimizer.zero_grad()
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def several_processes(cfg: Config, device: str, wrapper: str) -> dict[str, torch.Tensor]:
    """Weights of this process after the same steps, each with its part."""
    model = make(cfg, device)
    if wrapper == "fsdp":
        wrapped: Any = shard_model(model)
    else:
        wrapped = MMDistributedDataParallel(
            model, device_ids=None, broadcast_buffers=False, find_unused_parameters=False
        )
    optimizer = optimizer_of(model)
    for step in range(STEPS):
        wrapped.train_step(batch_of(cfg, model, step, dist.get_rank()), optimizer)
    return {
        name: parameter.full_tensor() if is_sharded(parameter) else parameter.detach()
        for name, parameter in model.named_parameters()
    }


def failures(name: str, changes: dict[str, Any], wrapper: str, device: str) -> list[str]:
    cfg = load_config(f"configs/{name}.py")
    cfg.model.backbone.update(changes)
    init_default_scope(cfg.default_scope)
    found, expected = several_processes(cfg, device, wrapper), one_process(cfg, device)
    start = dict(make(cfg, device).named_parameters())
    moved = sum(not torch.equal(found[key], start[key].detach()) for key in found)
    wrong = [] if moved else ["nothing was trained"]
    for key, value in expected.items():
        change = (value - start[key].detach()).abs().max()
        if (found[key] - value).abs().max() > 1e-4 * change + 1e-7:
            wrong.append(f"{key}: {(found[key] - value).abs().max():.2e} of {change:.2e}")
    return wrong


def main(folder: str, wrapper: str = "", device: str = "cpu") -> None:
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        torch.backends.cudnn.allow_tf32 = False
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    found = {}
    for name, changes in TASKS if wrapper else CASES:
        case = f"{name} {changes}"
        try:
            wrong: Any = failures(name, dict(changes), wrapper, device)
        except Exception as error:
            wrong = [f"{type(error).__name__}: {error}"]
        gathered: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(gathered, wrong)
        if any(gathered):
            found[case] = gathered
    if dist.get_rank() == 0:
        Path(folder, "failures.json").write_text(json.dumps(found, indent=1))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
