"""Print all values of a config as one file that commands read back, or what differs from another.

tools/print_config.py configs/cls/vit_base_finetune_in1k.py --cfg-options train_cfg.max_epochs=50
tools/print_config.py configs/cls/vit_base_finetune_in1k.py --diff another.py

With --diff and the same file: what the options change, and what follows from them. Where the values
are from says tools/describe.py.
"""

import argparse


def parse_args() -> argparse.Namespace:
    """Options of the command line."""
    from ..config.overrides import OptionsAction

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "--diff", metavar="OTHER", help="print `KEY: VALUE | VALUE IN OTHER` for what differs"
    )
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=OptionsAction,
        default={},
        help="key=value overrides of CONFIG",
    )
    return parser.parse_args()


def main() -> None:
    """Load, and print."""
    args = parse_args()
    from ..config.config_text import config_text
    from ..config.difference import differences
    from ..config.load import load_config
    from ..text import printable

    cfg = load_config(args.config, args.cfg_options)
    if args.diff is None:
        print(config_text(cfg), end="")
        return
    for key, one, other in differences(cfg, load_config(args.diff)):
        print(printable(f"{key}: {one} | {other}"))
