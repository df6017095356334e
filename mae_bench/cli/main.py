"""``mae-bench COMMAND``: every command of this package under one name."""

import argparse
import ast
import sys
from importlib import import_module
from pathlib import Path

from .command import run_command


def find_commands() -> dict[str, str]:
    """Name and first line of help of each command: the modules beside this one with a ``main``.

    They are read, not imported: most of them import torch, which takes seconds.
    """
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem == Path(__file__).stem:
            continue
        module = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in module.body):
            found[path.stem] = (ast.get_docstring(module) or "").partition("\n")[0]
    return found


def main() -> None:
    """Hand over to the command's module, which reads the rest of the command line."""
    found = find_commands()
    parser = argparse.ArgumentParser(prog="mae-bench", description=__doc__, add_help=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, summary in found.items():
        commands.add_parser(name, help=summary.replace("%", "%%"), add_help=False)
    parser.add_argument("-h", "--help", action="store_true", help="show this message")
    arguments, rest = parser.parse_known_args(sys.argv[1:2])
    if arguments.command is None:
        parser.print_help()
        sys.exit(0 if arguments.help else 2)
    sys.argv = [f"mae-bench {arguments.command}", *rest, *sys.argv[2:]]
    run_command(import_module(f"mae_bench.cli.{arguments.command}").main)
