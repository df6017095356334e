"""Tables and report of what the records in a folder hold, beside the published numbers."""

import argparse
import sys
from pathlib import Path

from ..files import write_atomic
from ..results.compare import changes, comparison_grid
from ..results.correlation import correlation_grids, correlations, correlations_csv
from ..results.export import tables_csv
from ..results.grid import Grid, latex_document
from ..results.html_report import write_report
from ..results.measured import MeasuredTable
from ..results.overview import Overview, overview
from ..results.runs_grid import runs_grids
from ..results.table_grid import table_grid
from ..run_folder import REPORT_NAME
from ..text import PlainConsole, printable


def parse_args() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dir", help="work dir of suites or of single runs, or a record")
    parser.add_argument(
        "--format",
        choices=["md", "csv", "latex", "html"],
        help="without it, tables on the terminal; latex has one line for each method, as papers do",
    )
    parser.add_argument("--out", help="file to write; without it to the terminal, html to DIR")
    parser.add_argument("--rows", nargs="+", help="titles of rows to show, in this order")
    parser.add_argument("--columns", nargs="+", help="titles of columns to show, in this order")
    parser.add_argument(
        "--compare",
        nargs=2,
        metavar=("A", "B"),
        help="instead: which tasks moved from line A to line B, beyond the spread of seeds",
    )
    parser.add_argument(
        "--correlate",
        nargs="+",
        metavar="COLUMN",
        help="instead: how well each other column of a table predicts these, over its checkpoints",
    )
    return parser.parse_args()


def main() -> None:
    """Read, draw, write."""
    args = parse_args()
    if args.format is None and args.out:
        raise ValueError("--out needs --format md, csv, latex or html")
    if args.compare and args.format == "csv":
        raise ValueError("--compare has no csv; use --format md, latex or html")
    if args.compare and args.correlate:
        raise ValueError("--compare and --correlate: give one of them")
    found = overview(args.dir)
    for problem in found.problems:
        print(f"skipped: {printable(problem)}", file=sys.stderr)
    if not found.records:
        raise ValueError(f"{args.dir}: no table to make: no record of a finished run in it")
    if args.format == "html":
        out = args.out or Path(args.dir, REPORT_NAME)
        asked = wanted_grids(args, found) if args.compare or args.correlate else []
        print(write_report(args.dir, out, asked))
        return
    if args.format == "csv" and args.correlate:
        text = correlations_csv(correlations(args.correlate, found.tables))
    elif args.format == "csv":
        text = tables_csv(found.tables)
    else:
        grids = wanted_grids(args, found)
        if args.format is None:
            show(grids)
            return
        text = latex_document(grids) if args.format == "latex" else markdown(grids)
    if args.out:
        write_atomic(text.encode(), args.out)
        print(args.out)
    else:
        print(text, end="")


def wanted_grids(args: argparse.Namespace, found: Overview) -> list[Grid]:
    """The tables that the options ask for; then runs that are in none, and why."""
    if args.compare:
        before, after = args.compare
        return [comparison_grid(before, after, changes(before, after, found.tables))]
    if args.correlate:
        return correlation_grids(correlations(args.correlate, found.tables))
    tables = [table for table in found.tables if chosen(table, args)]
    if (args.rows or args.columns) and not tables:
        raise ValueError(f"{args.dir}: no table has all the rows and columns that were asked for")
    paper = args.format == "latex"
    grids = [table_grid(table, args.rows, args.columns, paper) for table in tables]
    if not (args.rows or args.columns):
        grids += runs_grids(found.by_hand(), found.records)
        for one in found.reasons():
            print(printable(f"in no table: {one.run}: {one.reason}"), file=sys.stderr)
    return grids


def chosen(measured: MeasuredTable, args: argparse.Namespace) -> bool:
    """Whether a table has the lines that were asked for."""
    table = measured.table
    return set(args.rows or ()) <= set(table.rows) and set(args.columns or ()) <= set(table.columns)


def show(grids: list[Grid]) -> None:
    """Print tables on the terminal."""
    console = PlainConsole()
    for grid in grids:
        console.print(grid)


def markdown(grids: list[Grid]) -> str:
    """All tables, each with its heading and footnotes."""
    return "\n".join(grid.markdown_section() for grid in grids)
