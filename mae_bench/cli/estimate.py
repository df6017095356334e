"""What a training will take, before it is started: operations, memory, hours and disk."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .quiet import without_logs

if TYPE_CHECKING:
    from ..training.training_cost import Estimate


def parse_args() -> argparse.Namespace:
    """Options of the command line."""
    from ..config.overrides import OptionsAction

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("--gpu", default="h100-80g", help="kind; an unknown one lists all")
    parser.add_argument("--gpus", type=int, default=1, help="how many, a process each")
    parser.add_argument(
        "--amp",
        nargs="?",
        const="bfloat16",
        choices=["bfloat16", "float16"],
        help="in mixed precision, bfloat16 unless told",
    )
    parser.add_argument(
        "--batch", type=int, help="images of a forward pass on one GPU; the recipe's unless told"
    )
    parser.add_argument(
        "--fsdp", action="store_true", help="weights and moments cut among the processes"
    )
    parser.add_argument(
        "--images", type=int, help="of an epoch, where the recipe is not one of those shipped"
    )
    parser.add_argument(
        "--utilisation", type=float, help="share of the GPU's peak that is reached; 0.4 unless told"
    )
    parser.add_argument(
        "--cfg-options", nargs="+", action=OptionsAction, default={}, help="key=value overrides"
    )
    return parser.parse_args()


@without_logs()
def main() -> None:
    """Print the estimate.

    Raises:
        ValueError: a number that is none, or what ``Estimate`` finds wrong.
    """
    from ..config.load import load_config
    from ..recipe.sources import images_of
    from ..training.training_cost import UTILISATION, Estimate

    args = parse_args()
    for name in ("gpus", "batch", "images"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise ValueError(f"--{name} {getattr(args, name)}: must be 1 or more")
    utilisation = args.utilisation or UTILISATION
    if not 0 < utilisation <= 1:
        raise ValueError(f"--utilisation {utilisation}: a share of the peak, at most 1")
    cfg = load_config(args.config, args.cfg_options)
    if cfg.get("optim_wrapper") is None:
        raise ValueError(f"{args.config} does not train: there is nothing to estimate")
    found = Estimate(
        cfg,
        args.gpu,
        args.gpus,
        args.amp or "float32",
        args.images or images_of(Path(cfg.filename)),
        args.batch,
        args.fsdp,
        utilisation,
    )
    width = max(len(name) for name, _ in rows(found))
    for name, text in rows(found):
        print(f"{name:{width}}  {text}")


def rows(found: Estimate) -> list[tuple[str, str]]:
    """(name, value) of each line."""
    from ..training.gpus import GIB
    from ..training.training_cost import RESERVED

    cut, step = found.shares, found.step
    batch = f"{cut.total:,}: {cut.processes} GPUs x {cut.size} images x {cut.accumulation} passes"
    memory = f"{found.memory / GIB:.1f} GiB of {found.card.memory} GiB a GPU"
    if found.memory > found.card.memory * GIB * (1 - RESERVED):
        memory += ": does not fit"
    seen = "unknown: give --images" if found.seen is None else f"{found.seen:,}"
    hours = "unknown: give --images"
    if found.hours is not None:
        hours = (
            f"{found.hours:,.1f} on {found.gpus} x {found.gpu}, {found.hours * found.gpus:,.1f} of "
            f"one, at an assumed {found.utilisation:.0%} of its peak; without validations"
        )
    return [
        ("parameters", f"{step.parameters / 4e6:,.1f} M with buffers"),
        ("operations", f"{found.operations_per_image / 1e9:,.1f} GFLOP an image, there and back"),
        ("images seen", seen),
        ("operations in all", _total(found)),
        ("batch of a step", batch),
        ("precision", f"mixed {found.precision}" if found.precision != "float32" else "float32"),
        ("memory", f"{memory}; {step.activations / GIB:.1f} GiB of it activations"),
        ("largest batch", f"{found.largest_batch} images on one GPU, {RESERVED:.0%} left free"),
        ("hours", hours),
        ("disk", f"{found.disk / GIB:.1f} GiB for training states and the exported model"),
    ]


def _total(found: Estimate) -> str:
    if found.seen is None:
        return "unknown: give --images"
    return f"{found.operations_per_image * found.seen / 1e18:,.3g} EFLOP"
