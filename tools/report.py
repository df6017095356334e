#!/usr/bin/env python
"""Table or report of what a suite has measured so far, from the records in its work dir."""

import argparse
from pathlib import Path

from rich.console import Console

from mae_bench.cli import run_command
from mae_bench.results.report import write_report
from mae_bench.results.table import build_table, read_layout, read_records


def parse_args() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work_dir", help="--work-dir of tools/run_suite.py")
    parser.add_argument(
        "--format",
        choices=["md", "csv", "html"],
        help="without it, a table on the terminal",
    )
    parser.add_argument("--out", help="file to write; md and csv go to the terminal without it")
    return parser.parse_args()


def main() -> None:
    """Read, draw, write."""
    args = parse_args()
    if args.format is None and args.out:
        raise ValueError("--out needs --format md, csv or html")
    if args.format == "html":
        print(write_report(args.work_dir, args.out or Path(args.work_dir, "report.html")))
        return
    table = build_table(read_layout(args.work_dir), read_records(args.work_dir))
    if args.format is None:
        Console().print(table.rich())
        return
    text = table.markdown() if args.format == "md" else table.csv()
    if args.out:
        Path(args.out).write_text(text, encoding="utf-8")
        print(args.out)
    else:
        print(text, end="")


if __name__ == "__main__":
    run_command(main)
