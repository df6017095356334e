"""Write MiniWorld, the embedded dataset, to a folder; nothing happens if it is there already."""

import argparse
import sys

from ..datasets.miniworld.world import DEFAULT_ROOT, build, check_contents


def main() -> int:
    """Parse the command line and build."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", nargs="?", default=DEFAULT_ROOT, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    arguments = parser.parse_args()
    try:
        description = build(arguments.root, seed=arguments.seed)
        check_contents(arguments.root)  # of what was there already, too: the hash is of that
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.root}: {description['files']} files, SHA-256 {description['sha256']}")
    return 0
