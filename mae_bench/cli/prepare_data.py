"""Unpack a data set's archives, as its owner publishes them, into the folders that recipes read.

Checksums are compared, what is unpacked already stays, and what lies unpacked elsewhere is linked.
docs/data_sets.md says where each set is got, its licence and its size.
"""

import argparse
from pathlib import Path


def main() -> int:
    """Unpack, then look at the data as ``check_data`` does."""
    from ..datasets.preparing import prepare, published_sets

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=published_sets(), metavar="NAME", help="such as imagenet")
    parser.add_argument(
        "--archives",
        type=Path,
        help="folder with its archives, or with the set unpacked in another layout (default: the "
        "folder that the recipes read)",
    )
    parser.add_argument("--root", type=Path, default=Path("data"), help="default: %(default)s")
    parser.add_argument(
        "--download", action="store_true", help="get missing archives that have a public address"
    )
    parser.add_argument("--no-check", action="store_true", help="do not look at the images then")
    args = parser.parse_args()
    archives = args.archives or args.root / published_sets()[args.name]["folder"]
    folder = prepare(args.name, archives, args.root, download=args.download)
    print(f"{folder}: {args.name} is there")
    if args.no_check:
        return 0
    from ..config.load import load_config
    from ..datasets.check import check_data, summary
    from ..datasets.file_checks import default_memory

    entry = published_sets()[args.name]
    cfg = load_config(entry["config"])
    if "set" in entry:
        cfg.test_dataloader.dataset.sets = [entry["set"]]
    default = Path("data")
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        if loader not in cfg:
            continue
        dataset = cfg[loader]["dataset"]
        dataset["data_root"] = str(args.root / Path(dataset["data_root"]).relative_to(default))
        evaluator = cfg.get(loader.replace("dataloader", "evaluator")) or {}
        if isinstance(evaluator, dict) and evaluator.get("ann_file"):
            file = Path(evaluator["ann_file"])
            if file.is_relative_to(default):
                evaluator["ann_file"] = str(args.root / file.relative_to(default))
    lines, findings = check_data(cfg, None, default_memory())
    for line in summary(lines, findings):
        print(line)
    return int(bool(findings.problems))
