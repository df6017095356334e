"""Show a checkpoint: format, architecture, tensors, provenance. Executes nothing in it."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from ..checkpoint.format import CheckpointMetadata


def parse_args() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "file", help="checkpoint of any format that docs/checkpoint_format.md lists"
    )
    return parser.parse_args()


def main() -> None:
    """Print what the file says and shows, then one row for each kind of tensor."""
    args = parse_args()
    from rich.console import Console
    from rich.table import Table

    from ..checkpoint.adapters.foreign_file import read_foreign_file
    from ..checkpoint.format import is_safetensors, load_checkpoint, stored_metadata
    from ..checkpoint.names import visible_architecture
    from ..files import sha256_of

    path = Path(args.file)
    ours = is_safetensors(path) and stored_metadata(path) is not None
    about = Table(show_header=False, box=None)
    about.add_column()
    about.add_column(overflow="fold")  # a long value goes on in the next line, never cut
    if ours:
        tensors, metadata = load_checkpoint(path)
        rows = _ours(metadata) | {"seen in shapes": _pairs(visible_architecture(tensors))}
    else:
        tensors = read_foreign_file(path)
        rows = _foreign(tensors)
    about.add_row("file", args.file)
    about.add_row("SHA-256", sha256_of(path))
    for name, value in rows.items():
        about.add_row(name, value or "no ViT")
    total = sum(tensor.numel() for tensor in tensors.values())
    about.add_row("tensors", f"{len(tensors)}, {total:,} parameters")

    # Blocks repeat the same tensors: one row for all of them.
    groups: dict[tuple[str, ...], int] = {}
    for name, tensor in tensors.items():
        kind = re.sub(r"\.\d+\.", ".*.", re.sub(r"_\d+/", "_*/", name, count=1))
        key = (kind, str(tuple(tensor.shape)), str(tensor.dtype).removeprefix("torch."))
        groups[key] = groups.get(key, 0) + 1
    kinds = Table(box=None)
    kinds.add_column("tensor", overflow="fold")
    for heading in ("shape", "dtype", "count"):
        kinds.add_column(heading, no_wrap=True)
    for row, count in sorted(groups.items()):
        kinds.add_row(*row, str(count))

    # Markup and highlighting would read brackets in names and numbers as instructions.
    console = Console(markup=False, highlight=False)
    console.print(about)
    console.print()
    console.print(kinds)


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


def _foreign(tensors: dict[str, Tensor]) -> dict[str, str]:
    """Rows of any other file: its format by names, and what shapes and format tell."""
    from ..checkpoint.adapters import candidates, known_heads
    from ..checkpoint.adapters.tensors import square_grid
    from ..checkpoint.names import visible_architecture

    found = candidates(tensors)
    if len(found) != 1:
        names = ", ".join(adapter.name for adapter in found)
        known = f"of names that {names} share" if found else "unknown"
        return {"format": known, "seen in shapes": _pairs(visible_architecture(tensors))}
    (adapter,) = found
    try:
        imported = adapter.to_ours(tensors)
    except ValueError as error:
        return {"format": adapter.name, "cannot be used": str(error)}
    seen: dict[str, object] = dict(visible_architecture(imported.tensors))
    positions = imported.tensors.get("pos_embed")
    side = square_grid(positions.shape[1]) if positions is not None and positions.ndim == 3 else 0
    if side and "patch_size" in seen:
        seen["img_size"] = side * visible_architecture(imported.tensors)["patch_size"]
    heads = known_heads(adapter, imported)
    source = "seen in shapes" if imported.num_heads else "by width"
    return {
        "format": adapter.name,
        "seen in shapes": _pairs(seen),
        "heads": f"{heads}, {source}" if heads else "unknown: --num-heads when converting",
        "input mean, std": adapter.normalization or "unknown: --normalization when converting",
        "method": adapter.method,
        "data": adapter.data,
        "left out": ", ".join(list(imported.dropped)[:5]) + " …" * (len(imported.dropped) > 5)
        or "nothing",
    }


def _pairs(values: dict) -> str:
    return ", ".join(f"{key}={value}" for key, value in values.items())
