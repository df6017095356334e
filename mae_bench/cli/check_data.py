"""Does the data on disk have the layout, counts, classes and sizes that a config expects?

Every file is looked at, so this takes minutes for COCO or ImageNet. Exit code 1 where something is
wrong.
"""

import argparse


def main() -> int:
    """Print what was looked at, and each mistake with its fix."""
    from mmengine.config import DictAction

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "--cfg-options", nargs="+", action=DictAction, default={}, help="key=value overrides"
    )
    args = parser.parse_args()
    from ..config.load import load_config
    from ..datasets.check import check_data

    summary, problems = check_data(load_config(args.config, args.cfg_options))
    for line in [*summary, *(f"wrong: {problem}" for problem in problems)]:
        print(line)
    return int(bool(problems))
