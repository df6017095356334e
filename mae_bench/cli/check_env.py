"""Show versions, operators, GPU and disk; where something is wrong, the fix and exit code 1."""

import argparse
import sys
from pathlib import Path

from rich.table import Table
from rich.text import Text

from ..text import PlainConsole
from .machine import all_checks, read_constraints

ROOT = Path(__file__).resolve().parents[2]
STYLES = {"ok": "green", "note": "yellow", "wrong": "bold red"}


def tested_versions() -> dict[str, str]:
    """Versions of the checkout's constraints file that belongs to this Python; a wheel has none."""
    own = ROOT / "constraints" / f"python-{sys.version_info[0]}.{sys.version_info[1]}.txt"
    file = own if own.exists() else ROOT / "constraints.txt"
    return read_constraints(file) if file.exists() else {}


def main() -> int:
    """Print the table; the exit code is 1 if something required is wrong."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    table = Table()
    table.add_column("what", no_wrap=True)
    for title in ("found", "status", "fix or remark"):
        table.add_column(title, overflow="fold")
    wrong = 0
    for check in all_checks(Path.cwd(), tested_versions()):
        status = Text(check.status, STYLES[check.status])
        table.add_row(check.name, check.found, status, check.fix)
        wrong += check.status == "wrong"
    console = PlainConsole()
    console.print(table)
    console.print(f"{wrong} wrong: see the last column" if wrong else "all that is required works")
    return int(wrong > 0)
