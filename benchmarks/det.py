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
from mae_bench.models.vit import SIZES
from mae_bench.training.launch import use_mixed_precision

from .measure import (
    DTYPES,
    OUT_OF_MEMORY,
    count_gflops,
    describe_machine,
    interleaved_seconds,
    loss_tolerance,
    peak_memories,
    print_table,
    processor_clock,
    speed_up,
    utilisation,
)

CONFIG = Path("configs/det/mask_rcnn_vit_base_coco.py")
VARIANTS = ("fused", "fused, checkpointed", "written out")
# In bfloat16 another rounding of the scores is another choice of regions.
LOSS_TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}


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


def build_step(
    variant: str, arch: str, size: int, batch: int, dtype: str = "float32"
) -> Callable[[], float]:
    """A training step of one of :data:`VARIANTS`; returns its loss."""
    cfg = small_config(arch, size)
    if dtype != "float32":
        use_mixed_precision(cfg, dtype)
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
    parser.add_argument("--size", type=int, default=1024, help="side of the pictures, of 16 x 16")
    parser.add_argument("--batch", type=int, default=1, help="pictures in a step")
    add_common_arguments(parser)


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that every model of dense tasks has."""
    parser.add_argument("--arch", choices=SIZES, default="base")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=["float32"])
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each variant")


def run(args: argparse.Namespace) -> None:
    """Measure and print.

    Raises:
        ValueError: the losses of the first step differ.
    """
    print_steps(build_step, VARIANTS, args, f"Mask R-CNN, {args.arch}")


def print_steps(
    build: Callable[..., Callable[[], float]],
    variants: tuple[str, ...],
    args: argparse.Namespace,
    title: str,
) -> None:
    """Compare the first losses, then time and memory of the variants with those of the last.

    Args:
        build: (variant, arch, size, batch, dtype) -> a training step.
        variants: by name. All do what the first one has to, whose operations count in MFU.
        args: options of the command.
        title: what is measured.

    Raises:
        ValueError: the first losses differ.
    """
    processor_clock()
    print(f"{describe_machine()}\n{args.rounds} rounds, median")
    for dtype in args.dtypes:
        size = (args.arch, args.size, args.batch, dtype)
        peaks, too_large = peak_memories(build, variants, *size)
        steps = {name: build(name, *size) for name in peaks}
        losses = {name: step() for name, step in steps.items()}
        spread = max(losses.values()) - min(losses.values())
        if not spread <= loss_tolerance(LOSS_TOLERANCE[dtype]) * max(losses.values()):
            raise ValueError(f"the variants do not compute the same: losses {losses}")
        gflops = count_gflops(next(iter(steps.values())))
        # The first step was the warm-up.
        seconds = interleaved_seconds(steps, args.rounds, warm_up=0, clock=processor_clock())
        last = list(peaks)[-1]
        rows: list[list[object]] = []
        for name, peak in peaks.items():
            typical = statistics.median(seconds[name])
            row: list[object] = [name, typical, args.batch / typical]
            row.append(utilisation(gflops, typical, dtype))
            rows.append([*row, speed_up(seconds, name, last), peak, peak / peaks[last]])
        header = ["variant", "s", "images/s", "MFU", f"times as fast as {last}", "peak MiB"]
        header.append("memory ratio")
        rows += [[name, OUT_OF_MEMORY, *[None] * (len(header) - 2)] for name in too_large]
        where = f"{title}, {args.size} pixels, batch {args.batch}, {dtype}"
        print_table(header, rows, f"{where}; equal losses to {spread:.1e}")
