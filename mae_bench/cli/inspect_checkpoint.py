"""Show a checkpoint: format, architecture, tensors, provenance. Executes nothing in it."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..checkpoint.format import CheckpointMetadata
    from ..checkpoint.reader import Checkpoint


def parse_args() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "file", help="checkpoint of any format that docs/checkpoint_format.md lists"
    )
    parser.add_argument("--key", help="entry of the file to take, dots between levels")
    parser.add_argument("--prefix", help="take names with this prefix, without it")
    return parser.parse_args()


def main() -> None:
    """Print what the file says and shows, then one row for each kind of tensor."""
    args = parse_args()
    from rich.table import Table

    from ..checkpoint.reader import read_checkpoint
    from ..text import PlainConsole

    checkpoint = read_checkpoint(args.file, args.key, args.prefix)
    about = Table(show_header=False, box=None)
    about.add_column()
    about.add_column(overflow="fold")  # a long value goes on in the next line, never cut
    for name, value in about_file(args.file, checkpoint).items():
        about.add_row(name, value)

    # Blocks repeat the same tensors: one row for all of them.
    groups: dict[tuple[str, ...], int] = {}
    for name, tensor in checkpoint.stored.items():
        kind = re.sub(r"\.\d+\.", ".*.", re.sub(r"_\d+/", "_*/", name, count=1))
        key = (kind, str(tuple(tensor.shape)), str(tensor.dtype).removeprefix("torch."))
        groups[key] = groups.get(key, 0) + 1
    kinds = Table(box=None)
    kinds.add_column("tensor", overflow="fold")
    for heading in ("shape", "dtype", "count"):
        kinds.add_column(heading, no_wrap=True)
    for row, count in sorted(groups.items()):
        kinds.add_row(*row, str(count))

    console = PlainConsole()
    console.print(about)
    console.print()
    console.print(kinds)


def about_file(file: str, checkpoint: Checkpoint) -> dict[str, str]:
    """Lines on a file that was read: sum, format, model, input, provenance, size."""
    tensors = checkpoint.stored
    total = sum(tensor.numel() for tensor in tensors.values())
    return {
        "file": file,
        "SHA-256": checkpoint.sha256,
        **{name: value or "no ViT" for name, value in _describe(checkpoint).items()},
        "tensors": f"{len(tensors)}, {total:,} parameters",
    }


def _ours(metadata: CheckpointMetadata) -> dict[str, str]:
    """Rows of a file of our format."""
    return {
        "format": f"mae_bench, version {metadata.format_version}",
        "architecture": _pairs(metadata.architecture),
        "image size": f"{metadata.img_size}, patches of {metadata.patch_size} pixels",
        "input mean": f"{metadata.mean} on the scale 0..255",
        "input std": f"{metadata.std} on the scale 0..255",
        "method": metadata.method,
        "data": metadata.data,
        "epochs": "unknown" if metadata.epochs is None else str(metadata.epochs),
        "source": _pairs(vars(metadata.source)) if metadata.source else "trained here",
    }


def _describe(checkpoint: Checkpoint) -> dict[str, str]:
    """What the file says of its model, or what format, names and shapes tell."""
    from ..checkpoint.adapters.tensors import square_grid
    from ..checkpoint.names import visible_architecture

    read = {"read": "; ".join(checkpoint.notes)} if checkpoint.notes else {}
    if checkpoint.stated:
        seen = _pairs(visible_architecture(checkpoint.imported.tensors))
        return {**_ours(checkpoint.stated), "seen in shapes": seen, **read}
    adapter = checkpoint.adapter
    if adapter is None:
        seen = _pairs(visible_architecture(checkpoint.stored))
        return {"format": "unknown", "seen in shapes": seen, **read}
    try:
        tensors, dropped, in_shapes = checkpoint.imported
    except ValueError as error:
        return {"format": adapter.name, "cannot be used": str(error), **read}
    shapes: dict[str, object] = dict(visible_architecture(tensors))
    positions = tensors.get("pos_embed")
    side = square_grid(positions.shape[1]) if positions is not None and positions.ndim == 3 else 0
    if side and "patch_size" in shapes:
        shapes["img_size"] = side * visible_architecture(tensors)["patch_size"]
    heads, source = checkpoint.num_heads, "seen in shapes" if in_shapes else "by width"
    return {
        "format": adapter.name,
        "seen in shapes": _pairs(shapes),
        "heads": f"{heads}, {source}" if heads else "unknown: --num-heads when converting",
        "input mean, std": adapter.normalization or "unknown: --normalization when converting",
        "method": checkpoint.facts["method"],
        "data": checkpoint.facts["data"] or "unknown",
        "left out": ", ".join(list(dropped)[:5]) + " …" * (len(dropped) > 5) or "nothing",
        **read,
    }


def _pairs(values: dict) -> str:
    return ", ".join(f"{key}={value}" for key, value in values.items())
