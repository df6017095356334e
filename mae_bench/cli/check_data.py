"""Does the data on disk have the layout, counts, classes and sizes that a config expects?

Every image is decoded, unless --sample says how many of each set. Verdicts are remembered for files
that do not change. Exit code 1 where something is wrong.
"""

import argparse


def main() -> int:
    """Print what was looked at, and each mistake with its fix."""
    from ..config.overrides import OptionsAction

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "--sample", type=int, metavar="N", help="decode N images of each set, evenly spread"
    )
    parser.add_argument("--again", action="store_true", help="decode what was seen before, too")
    parser.add_argument(
        "--cfg-options", nargs="+", action=OptionsAction, default={}, help="key=value overrides"
    )
    args = parser.parse_args()
    from ..config.load import load_config
    from ..datasets.check import check_data, summary
    from ..datasets.file_checks import default_memory
    from ..datasets.findings import DataError, Findings
    from ..text import printable

    if args.sample is not None and args.sample < 1:
        raise ValueError(f"--sample {args.sample}: it takes at least one image")
    memory = None if args.again else default_memory()
    try:
        cfg = load_config(args.config, args.cfg_options)
    except DataError as error:  # what `own_data` reads is wrong already
        lines: list[str] = []
        findings = Findings()
        findings.add(error.findings, error.where)
    else:
        lines, findings = check_data(cfg, args.sample, memory)
    for line in summary(lines, findings):
        print(printable(line))
    return int(bool(findings.problems))
