#!/usr/bin/env python
"""Run a suite: everything that is not done yet, then the table and the report.

Interrupt it at any time; the same command goes on where it stopped.
"""

import argparse
import signal
import sys
from pathlib import Path

from rich.console import Console

from mae_bench.cli import run_command
from mae_bench.results.report import write_report
from mae_bench.results.table import build_table, read_records, write_layout
from mae_bench.suite.executor import State, cpu_cores, current_state, run_jobs
from mae_bench.suite.plan import plan_jobs
from mae_bench.suite.progress import BarDisplay, PlainDisplay, ProgressReader, duration
from mae_bench.suite.spec import Suite, load_suite


def parse_args() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", help="suite file, such as configs/suite/demo.yaml")
    parser.add_argument("--work-dir", help="where everything is written; work_dirs/SUITE")
    parser.add_argument(
        "--executor",
        choices=["inline", "local", "slurm"],
        default="local",
        help="one job at a time, several on this machine, or a cluster",
    )
    parser.add_argument("--jobs", type=int, help="jobs at once; 2 where there are 2 cores")
    parser.add_argument("--dry-run", action="store_true", help="list the jobs and stop")
    return parser.parse_args()


def main() -> int:
    """Plan, run, report; 1 if a job failed."""
    args = parse_args()
    console = Console()
    if args.executor == "slurm":
        raise ValueError("--executor slurm is not there yet; use --executor local")
    if args.jobs is not None and args.jobs < 1:
        raise ValueError(f"--jobs {args.jobs}: must be 1 or more")
    if args.executor == "inline" and args.jobs not in (None, 1):
        raise ValueError(f"--jobs {args.jobs}: --executor inline runs one at a time; use local")
    slots = 1 if args.executor == "inline" else args.jobs or min(2, cpu_cores())
    suite = load_suite(args.suite)
    work_dir = Path(args.work_dir or Path("work_dirs", Path(args.suite).stem))
    state = current_state(plan_jobs(suite, work_dir), slots)
    if args.dry_run:
        list_jobs(state, console)
        return 0
    # a batch system ends a program with SIGTERM: stop the children then as on Ctrl-C
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    prepare_data(suite)
    write_layout(suite.layout(), work_dir)
    display = BarDisplay(console) if console.is_terminal else PlainDisplay(console)
    try:
        with display:
            run_jobs(state, display, work_dir)
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on from here", highlight=False)
        return 130
    summarise(suite, work_dir, console)
    for name, reason in state.failed.items():
        log = work_dir / name / "log.txt"
        print(f"failed: {name}: {reason}; see {log}", file=sys.stderr)
    for name, needed in state.skipped.items():
        print(f"skipped: {name}: it needs {needed}", file=sys.stderr)
    return 1 if state.failed else 0


def list_jobs(state: State, console: Console) -> None:
    """One line for each job, and what all of it would take."""
    for job in state.jobs:
        status = "done" if job.name in state.done else "to do"
        needs = f"  needs {job.needs}" if job.needs else ""
        line = f"{status:5}  {duration(60 * job.minutes):>10}  {job.name}{needs}"
        console.print(line, highlight=False, soft_wrap=True)
    left = duration(ProgressReader().seconds_left(state))
    console.print(
        f"{len(state.waiting())} of {len(state.jobs)} jobs to do, {state.slots} at once: "
        f"about {left} (the suite's minutes hold for one core per job)",
        highlight=False,
        soft_wrap=True,
    )


def prepare_data(suite: Suite) -> None:
    """Build the embedded data set where the suite wants it and it is not there."""
    if suite.data == "miniworld":
        from mae_bench.datasets.miniworld import build

        build()


def summarise(suite: Suite, work_dir: Path, console: Console) -> None:
    """Print the table and write it and the report beside the jobs."""
    table = build_table(suite.layout(), read_records(work_dir))
    console.print(table.rich())
    table_file = work_dir / "table.md"
    table_file.write_text(table.markdown(), encoding="utf-8")
    report_file = write_report(work_dir, work_dir / "report.html")
    console.print(f"table:  {table_file}\nreport: {report_file}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    run_command(main)
