"""Say all of a recipe: every value, layer, first weight, parameter group and rate, with sources."""

from __future__ import annotations

import argparse
from pathlib import Path

from .quiet import without_logs

PAGES = Path("docs/recipes")
CONFIGS = Path("configs")
ABOUT = """\
One page for each config: every value that decides its number, with its source or UNKNOWN, and what
is built from it. `tools/describe.py CONFIG --cfg-options key=value` prints the page of a variant.
Written by `tools/describe.py --all`, not to be edited; sources are in `configs/sources.yaml`."""
TASKS = ("pretrain", "cls", "det", "seg")


def parse_args() -> argparse.Namespace:
    """Options of the command line."""
    from ..config.overrides import OptionsAction

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", nargs="?", type=Path, help="config file")
    parser.add_argument(
        "--all", action="store_true", help=f"write the pages of all configs into {PAGES}"
    )
    parser.add_argument("--cfg-options", nargs="+", action=OptionsAction, help="dotted key=value")
    return parser.parse_args()


@without_logs()  # MMEngine logs what every parameter starts from
def main() -> None:
    """Print the page of one config, or write those of all.

    Raises:
        ValueError: neither or both of a config and ``--all``.
    """
    args = parse_args()
    if (args.config is None) != args.all:
        raise ValueError("describe: name one config, or say --all")
    if args.all:
        write_all(PAGES)
        return
    from ..recipe.page import describe

    print(describe(args.config, args.cfg_options))


def write_all(folder: Path) -> None:
    """Write the page of every config below ``configs``, and a list of them."""
    from ..recipe.page import describe, versions

    links = []
    for task in TASKS:
        for path in sorted((CONFIGS / task).glob("*.py")):
            page = folder / task / f"{path.stem}.md"
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(describe(path), encoding="utf-8")
            links.append(f"- [{task}/{path.name}]({task}/{page.name})")
    parts = ["# Recipes", ABOUT, *("\n".join(links), "## Libraries", versions())]
    (folder / "README.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
