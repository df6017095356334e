"""Convert a checkpoint: from a foreign format to ours, from ours to a foreign one, or between two.

tools/convert_checkpoint.py mae_pretrain_vit_base.pth mae_base.safetensors
tools/convert_checkpoint.py mae_base.safetensors vit_mae.safetensors --to hf_vit_mae
"""

import argparse
from pathlib import Path

OURS = "mae_bench"


def parse_args() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("src", help="checkpoint to read; nothing in it is executed")
    parser.add_argument("dst", help="file to write; its suffix says how: .safetensors, .pth, .npz")
    parser.add_argument("--from", dest="source", help="format of SRC; detected when left out")
    parser.add_argument("--to", default=OURS, help=f"format of DST (default: {OURS})")
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
    unseen.add_argument("--method", help="default: the format's")
    unseen.add_argument("--data", help="default: the format's")
    unseen.add_argument("--epochs", type=int)
    return parser.parse_args()


def main() -> None:
    """Read, convert, write, and say what became of every tensor."""
    args = parse_args()
    from ..checkpoint.adapters import (
        ADAPTERS,
        Unseen,
        describe,
        import_file,
        known_heads,
        metadata_heads,
    )
    from ..checkpoint.adapters.foreign_file import write_foreign_file
    from ..checkpoint.format import (
        CheckpointSource,
        is_safetensors,
        load_checkpoint,
        save_checkpoint,
        stored_metadata,
    )
    from ..files import sha256_of

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
        method=args.method,
        data=args.data,
        epochs=args.epochs,
    )

    source = args.source
    path = Path(args.src)
    if Path(args.dst).exists() and path.exists() and path.samefile(args.dst):
        raise ValueError(f"{path}: SRC and DST are the same file: name another DST")
    if source is None and is_safetensors(path) and stored_metadata(path) is not None:
        source = OURS
    dropped: list[str] = []
    metadata = None
    if source == OURS:
        if args.to == OURS:
            raise ValueError(f"{path}: is of our format already: name another with --to")
        if unseen != Unseen():
            raise ValueError(f"{path}: is of our format and says what these options would")
        tensors, metadata = load_checkpoint(path)
        heads: int | None = metadata_heads(metadata)
    else:
        adapter, imported = import_file(path, ADAPTERS.get(source) if source else None)
        source = adapter.name
        tensors, dropped = imported.tensors, list(imported.dropped)
        heads = unseen.num_heads or known_heads(adapter, imported)
        if args.to == OURS:
            origin = CheckpointSource(path.name, sha256_of(path), adapter.name)
            try:
                metadata = describe(adapter, imported, origin, unseen)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None

    if args.to == OURS:
        assert metadata is not None
        save_checkpoint(args.dst, tensors, metadata)
        written = len(tensors)
    else:
        try:
            exported = ADAPTERS[args.to].from_ours(tensors, heads)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        write_foreign_file(args.dst, exported.tensors, ADAPTERS[args.to])
        written, dropped = len(exported.tensors), dropped + exported.dropped

    print(f"{path} ({source}) -> {args.dst} ({args.to}): {written} tensors")
    print(f"dropped: {_shortened(dropped) or 'nothing'}")
    if metadata and args.to == OURS:
        print(
            f"architecture: {metadata.architecture}\ninput mean {metadata.mean}, "
            f"std {metadata.std}, on the scale 0..255\nmethod {metadata.method}, "
            f"data {metadata.data}, epochs {metadata.epochs or 'unknown'}"
        )
    elif metadata:
        print(
            f"not held by {args.to}: input mean {metadata.mean}, std {metadata.std} on the scale "
            f"0..255, method {metadata.method}, data {metadata.data}"
        )


def _shortened(names: list[str]) -> str:
    """Names by their first two parts, with how many there are of each."""
    groups: dict[str, int] = {}
    for name in names:
        group = ".".join(name.split(".")[:2])
        groups[group] = groups.get(group, 0) + 1
    return ", ".join(f"{group} ({count})" for group, count in groups.items())
