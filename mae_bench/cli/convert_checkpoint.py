"""Convert a checkpoint: from a foreign format to ours, from ours to a foreign one, or between two.

tools/convert_checkpoint.py mae_pretrain_vit_base.pth mae_base.safetensors
tools/convert_checkpoint.py mae_base.safetensors vit_mae.safetensors --to hf_vit_mae
tools/convert_checkpoint.py run/epoch_40.pth epoch_40.safetensors --key ema_state_dict
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..checkpoint.format import CheckpointMetadata


def parse_args() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "src",
        help="checkpoint to read: a file, a folder of Hugging Face, mae:vit_base and the like, "
        "hf-hub:OWNER/NAME or timm:NAME; nothing in it is executed",
    )
    parser.add_argument("dst", help="file to write; its suffix says how: .safetensors, .pth, .npz")
    parser.add_argument("--from", dest="source", help="format of SRC; detected when left out")
    parser.add_argument("--key", help="entry of SRC to take, dots between levels (default: found)")
    parser.add_argument("--prefix", help="take names with this prefix, without it (default: found)")
    parser.add_argument("--to", default="mae_bench", help="format of DST (default: mae_bench)")
    parser.add_argument(
        "--push", metavar="OWNER/NAME", help="upload DST and a card to the Hugging Face hub"
    )
    unseen = parser.add_argument_group("what a foreign SRC does not show, for our metadata")
    unseen.add_argument("--num-heads", type=int, help="default: by width, of our sizes")
    unseen.add_argument(
        "--img-size", type=int, nargs="+", help="side, or height and width (default: square)"
    )
    unseen.add_argument(
        "--normalization",
        choices=["imagenet", "half"],
        help="input mean and std: ImageNet's, or 0.5 (default: the format's, where it has one)",
    )
    unseen.add_argument("--mean", type=float, nargs="+", help="input mean, on the scale 0..255")
    unseen.add_argument("--std", type=float, nargs="+", help="its deviation, on the same scale")
    unseen.add_argument("--method", help="how it was trained (default: unknown, or a guess)")
    unseen.add_argument("--data", help="what it was trained on (default: unknown)")
    unseen.add_argument("--epochs", type=int)
    return parser.parse_args()


def main() -> None:
    """Read, convert, write, and say what became of every tensor."""
    args = parse_args()
    from ..checkpoint.adapters import ADAPTERS
    from ..checkpoint.adapters.writing import write_foreign_file
    from ..checkpoint.format import save_checkpoint
    from ..checkpoint.locate_checkpoint import push
    from ..checkpoint.metadata import Unseen
    from ..checkpoint.reader import OURS, read_checkpoint
    from ..text import printable

    names = [OURS, *ADAPTERS]
    for option, name in (("--from", args.source), ("--to", args.to)):
        if name is not None and name not in names:
            raise ValueError(f"{option} {name} is not one of {', '.join(names)}")
    size = args.img_size
    if size and len(size) > 2:
        raise ValueError(f"--img-size {size} is neither a side nor height and width")
    unseen = Unseen(
        num_heads=args.num_heads,
        img_size=None if not size else size[0] if len(size) == 1 else (size[0], size[1]),
        normalization=args.normalization,
        mean=args.mean,
        std=args.std,
        method=args.method,
        data=args.data,
        epochs=args.epochs,
    )

    adapter = ADAPTERS[args.source] if args.source not in (None, OURS) else None
    checkpoint = read_checkpoint(args.src, args.key, args.prefix, adapter)
    path = checkpoint.path
    if Path(args.dst).exists() and path.samefile(args.dst):
        raise ValueError(f"{path}: SRC and DST are the same file: name another DST")
    stated = checkpoint.stated
    if args.source == OURS and not stated:
        raise ValueError(f"{path}: has no metadata of {OURS}: leave out --from")
    if stated and unseen != Unseen():
        raise ValueError(f"{path}: is of our format and says what these options would")
    if stated and args.to == OURS and not checkpoint.adapter and not args.push:
        raise ValueError(f"{path}: is of our format already: name another with --to")
    if not stated and not checkpoint.adapter:
        raise ValueError(f"{path}: {checkpoint.unknown_format()}")

    tensors, left_out, _ = checkpoint.imported
    dropped = list(left_out)
    if args.to == OURS:
        metadata = replace(checkpoint.describe(unseen), source=checkpoint.source)
        save_checkpoint(args.dst, tensors, metadata)
        written = len(tensors)
    else:
        heads = unseen.num_heads or checkpoint.num_heads
        try:
            exported = ADAPTERS[args.to].from_ours(tensors, heads)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        write_foreign_file(args.dst, exported.tensors, ADAPTERS[args.to])
        written, dropped = len(exported.tensors), dropped + exported.dropped

    print(f"{path} ({checkpoint.format}) -> {args.dst} ({args.to}): {written} tensors")
    for note in checkpoint.notes:
        print(printable(note))
    print(printable(f"dropped: {_shortened(dropped) or 'nothing'}"))
    if args.to == OURS:
        about = (
            f"architecture: {metadata.architecture}\ninput mean {metadata.mean}, "
            f"std {metadata.std}, on the scale 0..255\nmethod {metadata.method}, "
            f"data {metadata.data}, epochs {metadata.epochs or 'unknown'}"
        )
        print(printable(about))
    elif stated:
        about = (
            f"not held by {args.to}: input mean {stated.mean}, std {stated.std} on the scale "
            f"0..255, method {stated.method}, data {stated.data}"
        )
        print(printable(about))
    if args.push:
        card = model_card(args.push, args.to, metadata if args.to == OURS else checkpoint.metadata)
        push(args.push, Path(args.dst), card)


def model_card(name: str, kind: str, metadata: CheckpointMetadata | None) -> str:
    """The card of a pushed checkpoint: what the file says of itself, and how to use it."""
    from ..text import markdown_text

    lines = [f"# {name}", "", f"A Vision Transformer in the format `{kind}` of mae_bench.", ""]
    if metadata is not None:
        lines += ["| | |", "|---|---|"]
        values = vars(metadata) | {"source": metadata.source and vars(metadata.source)}
        for key, value in values.items():
            lines.append(f"| {key.replace('_', ' ')} | {markdown_text(str(value))} |")
        lines.append("")
    lines += ["```", f"tools/train.py CONFIG --checkpoint hf-hub:{name}", "```", ""]
    return "\n".join(lines)


def _shortened(names: list[str]) -> str:
    """Names by their first two parts, with how many there are of each."""
    groups: dict[str, int] = {}
    for name in names:
        group = ".".join(name.split(".")[:2])
        groups[group] = groups.get(group, 0) + 1
    return ", ".join(f"{group} ({count})" for group, count in groups.items())
