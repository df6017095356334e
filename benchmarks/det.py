"""A training step of Mask R-CNN: fused attention, checkpointing, and attention written out.

The model of configs/det/mask_rcnn_vit_base_coco.py, forward, backward and AdamW, on noise
with objects. All variants have the same weights and pictures, and their losses are compared.
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData
from torch import Tensor

from mae_bench.config.load import load_config
from mae_bench.models import attention

from .measure import (
    describe_machine,
    interleaved_seconds,
    peak_memory,
    print_table,
    processor_clock,
    speed_up,
)

CONFIG = Path("configs/det/mask_rcnn_vit_base_coco.py")
VARIANTS = ("fused", "fused, checkpointed", "written out")
LOSS_TOLERANCE = 1e-4


def attend_written_out(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """:func:`mae_bench.models.attention.attend` with all logits held."""
    logits = (q * (q.shape[-1] ** -0.5 if scale is None else scale)) @ k.transpose(-2, -1)
    if bias is not None:
        logits = logits + bias
    return logits.softmax(dim=-1) @ v


def small_config(arch: str, size: int) -> Config:
    """The config at another width and input size, without randomness in the model."""
    from mae_bench.models.vit import SIZES

    cfg = load_config(CONFIG)
    depth, width = SIZES[arch]["depth"], SIZES[arch]["embed_dim"]
    taps = tuple(depth * (i + 1) // 4 - 1 for i in range(4))
    cfg.model.backbone.update(
        arch=arch, img_size=size, out_indices=taps, global_blocks=taps, drop_path_rate=0.0
    )
    cfg.model.neck[0].embed_dim = width
    cfg.model.neck[1].in_channels = [width] * 4
    cfg.model.data_preprocessor.pad_size_divisor = size
    return cfg


def noise(size: int, batch: int) -> dict[str, Any]:
    """Pictures with four objects each, as the data loader gives them."""
    generator = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(batch):
        corners = torch.rand(4, 2, generator=generator) * size / 2
        boxes = torch.cat([corners, corners + size / 4], dim=1)
        masks = torch.zeros(4, size, size, dtype=torch.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
            mask[y1:y2, x1:x2] = 1
        meta = dict(img_shape=(size, size), ori_shape=(size, size), scale_factor=(1.0, 1.0))
        sample = DetDataSample(metainfo=meta)
        sample.gt_instances = InstanceData(
            bboxes=boxes,
            labels=torch.randint(80, (4,), generator=generator),
            masks=BitmapMasks(masks.numpy(), size, size),
        )
        sample.ignored_instances = InstanceData(bboxes=boxes[:0], labels=torch.zeros(0).long())
        samples.append(sample)
    shape = (batch, 3, size, size)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    return dict(inputs=list(images), data_samples=samples)


def build_step(variant: str, arch: str, size: int, batch: int) -> Callable[[], float]:
    """A training step of one of :data:`VARIANTS`; returns its loss."""
    cfg = small_config(arch, size)
    cfg.model.backbone.with_cp = "checkpointed" in variant
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = revert_sync_batchnorm(MODELS.build(cfg.model)).train()
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    data = noise(size, batch)
    fused = attention.attend

    def step() -> float:
        attention.attend = attend_written_out if variant == "written out" else fused
        try:
            torch.manual_seed(1)  # proposals are sampled
            return model.train_step(data, wrapper)["loss"].item()
        finally:
            attention.attend = fused

    return step


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``tools/benchmark.py det``."""
    parser.add_argument("--arch", default="base", help="tiny, small, base or large")
    parser.add_argument("--size", type=int, default=1024, help="side of the pictures, of 16 x 16")
    parser.add_argument("--batch", type=int, default=1, help="pictures in a step")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each variant")


def run(args: argparse.Namespace) -> None:
    """Measure and print.

    Raises:
        ValueError: the losses of the first step differ.
    """
    processor_clock()
    print(f"{describe_machine()}\n{args.rounds} rounds, median [least-greatest]")
    size = (args.arch, args.size, args.batch)
    print_steps(build_step, VARIANTS, size, args.rounds, f"Mask R-CNN, {args.arch}")


def print_steps(
    build: Callable[..., Callable[[], float]],
    variants: tuple[str, ...],
    size: tuple[str, int, int],
    rounds: int,
    title: str,
) -> None:
    """Compare the first losses, then time and memory of the variants with those of the last.

    Args:
        build: (variant, arch, size, batch) -> a training step.
        variants: by name.
        size: arch, side of the pictures, batch.
        rounds: measurements of each.
        title: what is measured.

    Raises:
        ValueError: the first losses differ.
    """
    peaks = {name: peak_memory(build, name, *size) for name in variants}
    steps = {name: build(name, *size) for name in variants}
    losses = {name: step() for name, step in steps.items()}
    spread = max(losses.values()) - min(losses.values())
    if spread > LOSS_TOLERANCE * max(losses.values()):
        raise ValueError(f"the variants do not compute the same: losses {losses}")
    # The first step was the warm-up.
    seconds = interleaved_seconds(steps, rounds, warm_up=0, clock=processor_clock())
    last = variants[-1]
    rows = [
        (
            name,
            f"{statistics.median(seconds[name]):.2f}",
            f"{size[2] / statistics.median(seconds[name]):.2f}",
            f"{speed_up(seconds, name, last):.2f}",
            f"{peaks[name]:.0f}",
            f"{peaks[name] / peaks[last]:.2f}",
        )
        for name in variants
    ]
    print(f"\n{title}, {size[1]} pixels, batch {size[2]}; equal losses to {spread:.1e}\n")
    print_table(["variant", "s", "images/s", "speed-up", "peak MiB", "memory ratio"], rows)
