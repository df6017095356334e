#!/usr/bin/env python
"""Show a checkpoint: format, architecture, tensors, provenance. Executes nothing in it."""

import argparse
import re

from mae_bench.cli import run_command


def parse_args() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", help=".safetensors, or a .pth of tensors only")
    return parser.parse_args()


def main() -> None:
    """Print the metadata, then one row for each kind of tensor."""
    args = parse_args()
    from rich.console import Console
    from rich.table import Table

    from mae_bench.checkpoint.format import read_tensors
    from mae_bench.checkpoint.transfer import visible_architecture
    from mae_bench.files import sha256_of

    tensors, metadata = read_tensors(args.file)
    about = Table(show_header=False, box=None)
    about.add_column()
    about.add_column(overflow="fold")  # a long value goes on in the next line, never cut
    about.add_row("file", args.file)
    about.add_row("SHA-256", sha256_of(args.file))
    if metadata is None:
        about.add_row("format", "plain tensors, without metadata")
    else:
        about.add_row("format", f"mae_bench, version {metadata.format_version}")
        about.add_row("architecture", _pairs(metadata.architecture))
        about.add_row("image size", f"{metadata.img_size}, patches of {metadata.patch_size} pixels")
        about.add_row("input mean", f"{metadata.mean} on the scale 0..255")
        about.add_row("input std", f"{metadata.std} on the scale 0..255")
        about.add_row("method", metadata.method)
        about.add_row("data", metadata.data)
        about.add_row("epochs", "unknown" if metadata.epochs is None else str(metadata.epochs))
        source = metadata.source
        about.add_row("source", _pairs(vars(source)) if source else "trained here")
    about.add_row("seen in shapes", _pairs(visible_architecture(tensors)) or "no ViT")
    total = sum(tensor.numel() for tensor in tensors.values())
    about.add_row("tensors", f"{len(tensors)}, {total:,} parameters")

    # Blocks repeat the same tensors: one row for all of them.
    groups: dict[tuple[str, ...], int] = {}
    for name, tensor in tensors.items():
        kind = re.sub(r"\.\d+\.", ".*.", name)
        key = (kind, str(tuple(tensor.shape)), str(tensor.dtype).removeprefix("torch."))
        groups[key] = groups.get(key, 0) + 1
    kinds = Table("tensor", "shape", "dtype", "count", box=None)
    for key, count in sorted(groups.items()):
        kinds.add_row(*key, str(count))

    # Markup and highlighting would read brackets in names and numbers as instructions.
    console = Console(markup=False, highlight=False)
    console.print(about)
    console.print()
    console.print(kinds)


def _pairs(values: dict) -> str:
    return ", ".join(f"{key}={value}" for key, value in values.items())


if __name__ == "__main__":
    run_command(main)
