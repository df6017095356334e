"""Linear probing: the frozen backbone beside one that computes gradients.

Both train the same head on the same images with LARS; one of them also computes the gradients of
the backbone, as a probe does whose backbone merely is not in the optimizer. Data loading is left
out. On a GPU in mixed precision; on a CPU the computing time of one thread is counted.
"""

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from mae_bench.models.vit import SIZES, VisionTransformer
from mae_bench.training import LARS

from .measure import (
    Spread,
    describe_machine,
    interleaved_seconds,
    print_table,
    processor_clock,
    speed_up,
)

CLASSES = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the sub-command."""
    parser.add_argument("--arch", choices=list(SIZES), default="base", help="size of the ViT")
    parser.add_argument("--patch-size", type=int, default=16, help="side of a patch in pixels")
    parser.add_argument("--batch", type=int, default=16, help="images per step")
    parser.add_argument("--rounds", type=int, default=5, help="steps of each variant")


def make_step(arch: str, patch_size: int, images: torch.Tensor, frozen: bool) -> Callable[[], None]:
    """A training step of a linear probe on ``images`` (B, 3, 224, 224)."""
    device = images.device
    backbone = VisionTransformer(
        arch, patch_size=patch_size, output="class_token", frozen=frozen
    ).to(device)
    backbone.train()
    head = nn.Sequential(
        nn.BatchNorm1d(backbone.embed_dim, affine=False, eps=1e-6),
        nn.Linear(backbone.embed_dim, CLASSES),
    ).to(device)
    optimizer = LARS(head.parameters(), lr=0.1)
    labels = torch.randint(CLASSES, (len(images),), device=device)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = F.cross_entropy(head(backbone(images)[0]), labels)
        optimizer.zero_grad()
        backbone.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def run(args: argparse.Namespace) -> None:
    """Measure and print images per second and the ratio."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images = torch.randn(args.batch, 3, 224, 224, device=device)
    variants = {
        name: make_step(args.arch, args.patch_size, images, frozen)
        for name, frozen in (("frozen", True), ("with gradients", False))
    }
    clock = processor_clock()
    print(f"{describe_machine()}\nViT {args.arch}/{args.patch_size}, batch {args.batch}")
    seconds = interleaved_seconds(variants, args.rounds, clock=clock)
    ratio = speed_up(seconds, "frozen", "with gradients")
    rows = [(name, f"{Spread.of(args.batch / s for s in seconds[name]):.1f}") for name in variants]
    print_table(["backbone", "images/s, median [range]"], rows)
    print(f"frozen over with gradients: {ratio:.2f}")
