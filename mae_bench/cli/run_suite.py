"""Run a suite: everything that is not done yet, then the table and the report.

Interrupt it at any time; the same command goes on where it stopped. The same command on a second
machine that shares the work dir helps.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..config.locate import find_config
from ..config.loggers import LOGGERS_VARIABLE, check_loggers
from ..files import EXIT_DISK_FULL, write_atomic
from ..results.html_report import write_report
from ..results.overview import overview
from ..results.table_file import Suite, load_suite, resources_from, write_suite
from ..results.table_grid import table_grid
from ..run_folder import LOG_NAME, REPORT_NAME, TABLE_NAME
from ..suite.cost import costs
from ..suite.display import BarDisplay, PlainDisplay, ProgressReader, duration
from ..suite.executor import Executor, LocalExecutor, cpu_cores, run_jobs, visible_gpus
from ..suite.job import Job
from ..suite.plan import Plan, plan_jobs
from ..suite.rows import parse_checkpoints, with_checkpoints
from ..suite.slurm import SlurmExecutor
from ..suite.state import State, current_state
from ..text import PlainConsole, printable
from .quiet import without_logs


def parse_args(shipped: str | None) -> argparse.Namespace:
    """Options of the command line, which names the suite unless it is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.set_defaults(suite=shipped)
    if shipped is None:
        parser.add_argument("suite", help="suite file, such as configs/suite/demo.yaml")
    parser.add_argument("--work-dir", help="where everything is written; work_dirs/SUITE")
    parser.add_argument(
        "--executor",
        choices=["inline", "local", "slurm"],
        default="local",
        help="one job at a time, several on this machine, or a cluster",
    )
    parser.add_argument(
        "--jobs", type=int, help="jobs at once; one for each GPU, or 2 where there are 2 cores"
    )
    parser.add_argument(
        "--slurm",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="what a Slurm job asks for, in submitit's names: time=600 partition=gpu",
    )
    parser.add_argument(
        "--resources",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="what each job that trains is given, in place of the suite's: gpus=8 nodes=2 "
        "amp=bfloat16 cpus_per_gpu=12",
    )
    parser.add_argument(
        "--checkpoint",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=FILE",
        help="a further line of the tables for each: NAME=FILE, FILE, or a pattern of files; the "
        "name of a start gives that start another file",
    )
    parser.add_argument(
        "--only",
        metavar="TITLES",
        help="parts of titles, such as 'MAE, ViT-B', which cells must have in row, column or table",
    )
    parser.add_argument(
        "--logger",
        action="append",
        default=[],
        metavar="tensorboard|wandb|mlflow",
        help="send curves and pictures of the jobs there, too; may be given several times",
    )
    parser.add_argument("--retry-failed", action="store_true", help="try failed jobs once more")
    parser.add_argument("--dry-run", action="store_true", help="list the jobs and stop")
    parser.add_argument(
        "--gpu",
        help="with --dry-run: GPU hours of the jobs that train, such as on an h100-80g; an unknown "
        "one lists all",
    )
    return parser.parse_args()


def main(shipped: str | None = None) -> int:
    """Plan, run, report; 1 if a job failed."""
    args = parse_args(shipped)
    console = PlainConsole()
    if args.jobs is not None and args.jobs < 1:
        raise ValueError(f"--jobs {args.jobs}: must be 1 or more")
    if args.executor == "inline" and args.jobs not in (None, 1):
        raise ValueError(f"--jobs {args.jobs}: --executor inline runs one at a time; use local")
    if args.slurm and args.executor != "slurm":
        raise ValueError("--slurm is for --executor slurm")
    if args.gpu and not args.dry_run:
        raise ValueError("--gpu is for --dry-run: jobs take the GPUs that there are")
    check_loggers(args.logger)
    if args.logger:
        os.environ[LOGGERS_VARIABLE] = " ".join(args.logger)
    suite = with_checkpoints(
        load_suite(find_config(args.suite)), parse_checkpoints(args.checkpoint)
    )
    work_dir = Path(args.work_dir or Path("work_dirs", Path(args.suite).stem))
    resources = parse_resources(args.resources)
    plan = plan_jobs(suite, work_dir, args.only, resources)
    if not args.dry_run and fetch(plan, console):
        plan = plan_jobs(suite, work_dir, args.only, resources)
    jobs = plan.jobs
    if plan.missing:
        list_missing(plan)
        if not args.dry_run:
            raise ValueError(f"{len(plan.missing)} files are missing, listed above")
    if args.executor != "slurm" and not args.dry_run:
        refuse_nodes(jobs, args.executor)
    executor, slots = make_executor(args, work_dir, len(jobs))
    state = current_state(jobs, slots, args.retry_failed)
    if args.dry_run:
        list_jobs(state, console)
        if args.gpu:
            list_gpu_hours(state.open(), args.gpu, console)
        return 0
    # a batch system ends a program with SIGTERM: stop the children then as on Ctrl-C
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    prepare_data(suite)
    write_suite(suite, work_dir)
    display = BarDisplay(console) if console.is_terminal else PlainDisplay(console)
    try:
        with display:
            run_jobs(state, executor, display)
    except KeyboardInterrupt:
        queue = ", submitted jobs stay in the queue" if args.executor == "slurm" else ""
        console.print(f"stopped{queue}; the same command goes on from here")
        return 130
    for job in jobs:
        if job.name in state.done:
            job.refresh_cells()
    summarise(work_dir, console)
    for name, reason in state.failed.items():
        log = work_dir / name / LOG_NAME
        what = "stopped" if name in state.no_room else "failed"
        print(printable(f"{what}: {name}: {reason}; see {log}"), file=sys.stderr)
    for name, needed in state.blocked.items():
        print(f"blocked: {name}: it needs {needed}", file=sys.stderr)
    if state.failed.keys() - state.no_room:
        print("--retry-failed tries failed jobs once more", file=sys.stderr)
        return 1
    return EXIT_DISK_FULL if state.no_room else 0


def pairs(option: str, given: list[str]) -> dict[str, Any]:
    """The KEY=VALUE of an option, whole numbers as such."""
    found: dict[str, Any] = {}
    for pair in given:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"{option} {pair}: must be KEY=VALUE")
        found[key] = int(value) if value.isdigit() else value
    return found


def parse_resources(given: list[str]) -> dict[str, Any]:
    """Fields of ``Resources`` from --resources; ``amp=none`` is float32."""
    found = pairs("--resources", given)
    if found.get("amp") == "none":
        found["amp"] = None
    resources_from(found, "--resources")
    return found


def refuse_nodes(jobs: Sequence[Job], executor: str) -> None:
    """Raise ValueError for a job over several nodes, which a runner of one machine cannot start."""
    for job in jobs:
        if (job.resources.nodes or 1) > 1:
            raise ValueError(
                f"{job.name}: its resources have nodes={job.resources.nodes}, and --executor "
                f"{executor} has one machine: give --executor slurm, or --resources nodes=1"
            )


def make_executor(args: argparse.Namespace, work_dir: Path, jobs: int) -> tuple[Executor, int]:
    """The executor, and how many jobs it runs at once."""
    if args.executor == "slurm":
        parameters = pairs("--slurm", args.slurm)
        for key, own in (
            ("gpus_per_node", "gpus"),
            ("nodes", "nodes"),
            ("ntasks_per_node", "gpus"),
        ):
            if key in parameters:
                raise ValueError(f"--slurm {key}: give --resources {own}=N, which uses them too")
        slots = min(jobs, args.jobs or jobs)
        parameters.setdefault("array_parallelism", slots)
        return SlurmExecutor(work_dir, parameters), slots
    gpus = visible_gpus()
    slots = 1 if args.executor == "inline" else args.jobs or len(gpus) or min(2, cpu_cores())
    return LocalExecutor(slots, gpus), slots


def list_jobs(state: State, console: PlainConsole) -> None:
    """One line for each job: what it costs, what it needs; then what all of it would take."""
    known = costs(state)
    for job in state.jobs:
        cost = known[job.name]
        status = "to do"
        for what, names in (
            ("done", state.done),
            ("failed", state.failed),
            ("blocked", state.blocked),
            ("running", state.running),
        ):
            status = what if job.name in names else status
        time = "unknown" if cost.seconds is None else duration(cost.seconds)
        mark = "~" if cost.source == "suite" else ""
        processes = job.resources.processes
        gpus = f"  {processes} GPUs" if processes > 1 else ""
        needs = f"  needs {_short_list(job.needs)}" if job.needs else ""
        line = f"{status:7}  {mark + time:>12}  {job.name}{gpus}{needs}"
        console.print(line, soft_wrap=True)
    console.print(
        f"{len(state.open())} of {len(state.jobs)} jobs to do, {state.slots} at once: "
        f"{ProgressReader().left(state)}. Times are those of records here; with ~ the suite's "
        "minutes, which hold for one core.",
        soft_wrap=True,
    )


@without_logs()
def list_gpu_hours(jobs: Sequence[Job], gpu: str, console: PlainConsole) -> None:
    """One line for each job that trains: hours, GPUs and batch; then GPU hours of all.

    Raises:
        ValueError: no such GPU.
    """
    from ..suite.gpu_cost import estimate, hours_of
    from ..training.gpus import gpu_named
    from ..training.training_cost import UTILISATION

    gpu_named(gpu)
    total, counted, unknown = 0.0, 0, 0
    for job in jobs:
        found = estimate(job, gpu)
        if found is None:
            continue
        hours, gpus = hours_of(job, found), found.gpus
        if hours is None:
            unknown += 1
            continue
        total, counted = total + hours * gpus, counted + 1
        console.print(
            f"{hours:10,.2f} h on {gpus} GPUs  batch {found.shares.total:,}  {job.name}",
            soft_wrap=True,
        )
    at_least = f"at least, because {unknown} are of unknown length, " if unknown else ""
    console.print(
        f"{at_least}{total:,.1f} GPU hours on {gpu} for {counted} trainings, at an assumed "
        f"{UTILISATION:.0%} of its peak, without validations and evaluations",
        soft_wrap=True,
    )


def _short_list(names: tuple[str, ...]) -> str:
    if len(names) > 2:
        return f"{names[0]} and {len(names) - 1} more"
    return " and ".join(names)


def prepare_data(suite: Suite) -> None:
    """Build the embedded data set where the suite wants it and it is not there."""
    if suite.data_set == "miniworld":
        from ..datasets.miniworld.world import build

        build()


def fetch(plan: Plan, console: PlainConsole) -> int:
    """Fetch the checkpoints that have a name and are not there, and say how many came."""
    from ..checkpoint.locate_checkpoint import can_be_fetched, locate

    names = [name for name in plan.absent if can_be_fetched(name)]
    for number, name in enumerate(names):
        console.print(f"fetching {name}")
        try:
            locate(name)
        except FileNotFoundError as error:  # no network: all that is missing is listed below
            print(printable(str(error)), file=sys.stderr)
            return number
    return len(names)


def list_missing(plan: Plan) -> None:
    """Name every file that cells want and that is not there."""
    for file, cells in plan.missing.items():
        more = f" and {len(cells) - 1} more cells" if len(cells) > 1 else ""
        print(f"missing: {file}, for {cells[0]}{more}", file=sys.stderr)


def summarise(work_dir: Path, console: PlainConsole) -> None:
    """Write the tables and the report beside the jobs, then print the tables."""
    found = overview(work_dir)
    grids = [table_grid(table) for table in found.tables]
    table_file = work_dir / TABLE_NAME
    sections = "\n".join(grid.markdown_section() for grid in grids)
    write_atomic(sections.encode(), table_file)
    report_file = write_report(work_dir, work_dir / REPORT_NAME)
    for grid in grids:
        console.print(grid)
    console.print(f"table:  {table_file}\nreport: {report_file}", soft_wrap=True)
