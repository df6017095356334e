"""Print a script that completes commands, options and files in a shell: bash, zsh, tcsh or fish."""

import argparse
from importlib import import_module
from typing import Any, NoReturn
from unittest.mock import patch

from .main import find_commands


class _Built(Exception):
    """The parser of a command, as soon as it has all its options."""


def _stop(parser: argparse.ArgumentParser, *unused: Any) -> NoReturn:
    raise _Built(parser)


def parser_of(command: str) -> argparse.ArgumentParser:
    """The parser that a command builds before it does anything else."""
    with patch.object(argparse.ArgumentParser, "parse_args", _stop):
        try:
            import_module(f"mae_bench.cli.{command}").main()
        except _Built as built:
            return built.args[0]
    raise AssertionError(f"{command} reads no arguments")


def full_parser() -> argparse.ArgumentParser:
    """All commands with all their options, as one parser; what has no choices is a file."""
    import shtab

    parser = argparse.ArgumentParser(prog="mae-bench")
    commands = parser.add_subparsers()
    for name, summary in find_commands().items():
        own = parser_of(name)
        for action in own._actions:
            if action.choices:
                action.choices = list(action.choices)  # a dictionary would be sub-commands to shtab
            elif action.nargs != 0:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
        text = summary.replace("%", "%%")
        commands.add_parser(name, parents=[own], add_help=False, help=text, description=text)
    return parser


def main() -> None:
    """Print the script of one shell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shell", choices=["bash", "zsh", "tcsh", "fish"])
    shell = parser.parse_args().shell
    try:
        import shtab
    except ImportError as error:
        fix = "pip install 'mae-bench[completion]'"
        raise FileNotFoundError(f"shtab, which writes completions, is missing: {fix}") from error
    print(shtab.complete(full_parser(), shell))
