"""Tables and report of what the records in a folder hold, beside the published numbers."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from ..files import write_atomic
from ..results.compare import changes, comparison_grid
from ..results.export import tables_csv
from ..results.grid import Grid, latex_document
from ..results.html_report import write_report
from ..results.paper import measured_tables
from ..results.table import build_table, find_layouts, records_below, scan_records
from ..run_folder import REPORT_NAME


def parse_args() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dir", help="work dir of a suite, of several, or of single runs")
    parser.add_argument(
        "--format",
        choices=["md", "csv", "latex", "html"],
        help="without it, tables on the terminal",
    )
    parser.add_argument("--out", help="file to write; without it to the terminal, html to DIR")
    parser.add_argument(
        "--compare",
        nargs=2,
        metavar=("A", "B"),
        help="instead: which tasks moved from initialisation A to B, beyond the spread of seeds",
    )
    return parser.parse_args()


def main() -> None:
    """Read, draw, write."""
    args = parse_args()
    if args.format is None and args.out:
        raise ValueError("--out needs --format md, csv, latex or html")
    if args.compare and args.format == "csv":
        raise ValueError("--compare has no csv; use --format md, latex or html")
    if not Path(args.dir).is_dir():
        raise FileNotFoundError(f"{args.dir}: no such folder")
    records, problems = scan_records(args.dir)
    layouts = find_layouts(args.dir)
    suites = {
        folder: build_table(layout, records_below(folder, records))
        for folder, layout in layouts.items()
    }
    papers, wrong_cells = measured_tables(records)
    for problem in [*problems, *wrong_cells]:
        print(f"skipped: {problem}", file=sys.stderr)
    if not suites and not papers and not args.compare:
        raise ValueError(
            f"{args.dir}: no table to make: {len(records)} records, no suite, and none whose "
            "config says what it reproduces (docs/report.md)"
        )
    if args.format == "html":
        out = args.out or Path(args.dir, REPORT_NAME)
        print(write_report(args.dir, out, tuple(args.compare) if args.compare else None))
        return
    grids = [table.grid() for table in suites.values()] + [paper.grid() for paper in papers]
    if args.compare:
        before, after = args.compare
        grids = [comparison_grid(before, after, changes(before, after, layouts, records))]
    if args.format is None:
        for grid in grids:
            Console().print(grid.rich())
        return
    if args.format == "csv":
        text = tables_csv(suites, papers, records)
    else:
        text = latex_document(grids) if args.format == "latex" else markdown(grids)
    if args.out:
        write_atomic(text.encode(), args.out)
        print(args.out)
    else:
        print(text, end="")


def markdown(grids: list[Grid]) -> str:
    """All tables, each with its heading and footnotes."""
    return "\n".join(grid.markdown_section() for grid in grids)
