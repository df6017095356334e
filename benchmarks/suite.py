"""Time to plan a suite, to find out what is done, and to report, against the number of its jobs.

The suite fine-tunes one backbone with as many seeds as there are jobs. Records are copies of one
that is written here; nothing is trained. Each step is timed once, in processor seconds.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from mae_bench.results.html_report import write_report
from mae_bench.results.overview import overview
from mae_bench.results.record import Record, write_record
from mae_bench.results.table_file import load_suite, write_suite
from mae_bench.run_folder import RECORD_NAME
from mae_bench.suite.job import Job
from mae_bench.suite.plan import plan_jobs
from mae_bench.suite.state import current_state

from .measure import describe_machine, print_table

CONFIG = "configs/cls/vit_mini_finetune_miniworld.py"
METRIC = "accuracy/top1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--jobs", type=int, nargs="+", default=[10, 100, 1000, 10000])


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    print(describe_machine())
    rows = []
    for jobs in args.jobs:
        with tempfile.TemporaryDirectory() as folder:
            seconds = measure(Path(folder), jobs)
        rows.append([f"{jobs:,}", *(f"{value:.2f}" for value in seconds.values())])
        header = ["jobs", *(f"{name}, s" for name in seconds)]
    print_table(header, rows)


def measure(folder: Path, jobs: int) -> dict[str, float]:
    """Processor seconds of each step."""
    file, work_dir = folder / "suite.yaml", folder / "runs"
    file.write_text(yaml.safe_dump(suite_of(jobs)), encoding="utf-8")
    seconds: dict[str, float] = {}

    def timed(name: str, step: Callable[[], Any]) -> Any:
        start = time.process_time()
        found = step()
        seconds[name] = time.process_time() - start
        return found

    plan = timed("plan", lambda: plan_jobs(load_suite(file), work_dir))
    write_suite(load_suite(file), work_dir)
    for job in plan.jobs:
        job.claim()
        write_record(record_of(job), job.folder / RECORD_NAME)
    state = timed("what is done", lambda: current_state(plan.jobs, 1))
    if len(state.done) != jobs:
        raise ValueError(f"{len(state.done)} of {jobs} jobs are done")
    timed("tables", lambda: overview(work_dir))
    timed("report", lambda: write_report(work_dir, folder / "report.html"))
    return seconds


def suite_of(jobs: int) -> dict[str, Any]:
    """A table of one row and one column, and as many seeds as jobs."""
    return {
        "name": f"{jobs} jobs",
        "data": "miniworld",
        "seeds": list(range(jobs)),
        "tasks": {"finetune": {"config": CONFIG}},
        "columns": {"top-1": {"quantity": "top-1 accuracy", "task": "finetune", "metric": METRIC}},
        "rows": {"random": {}},
    }


def record_of(job: Job) -> Record:
    """As a run of the job would leave it."""
    return Record(
        task=job.task,
        initialisation=job.initialisation,
        metrics={METRIC: 50.0 + job.seed % 7},
        config_file=CONFIG,
        config_sha256=job.config_sha256 or "",
        overrides={},
        seed=job.seed,
        checkpoint=None,
        run_card={"effective_batch": 50},
        data_counts={"train": 500, "val": 1000},
        versions={"torch": "2.14.1"},
        git_revision=None,
        device="cpu",
        started="2026-01-01T00:00:00+00:00",
        finished="2026-01-01T00:01:00+00:00",
        duration_seconds=60.0,
        peak_memory_mib=None,
        cells=job.cells,
    )
