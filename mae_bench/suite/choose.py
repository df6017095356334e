"""The job that ends a search: takes the best cell's run for the task's own.

``python -m mae_bench.suite.choose WORK_DIR JOB --metric M --best max --among JOB...``; a suite
starts it. The record of the chosen run is copied into the folder of the job, with the task's label
and with the search (the metric, the mean of every cell, the chosen one) in the run card. The
checkpoint and the curves become hard links. With ``--study`` in place of ``--among``, the best
trial of a search by Optuna is taken, and the run card has its settings and the search's cost too.
"""

import argparse
import dataclasses
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

from ..results.labels import run_labels
from ..results.record import read_record, write_record
from ..results.table import Search
from ..run_folder import CHECKPOINT_NAME, RECORD_NAME
from .search import best_cell
from .study import Study


def main() -> None:
    """Choose, and write the record last."""
    parser = argparse.ArgumentParser(description="take the best run of a search")
    parser.add_argument("work_dir", type=Path)
    parser.add_argument("job")
    parser.add_argument("--metric", required=True)
    parser.add_argument("--best", choices=["min", "max"], required=True)
    among = parser.add_mutually_exclusive_group(required=True)
    among.add_argument("--among", nargs="+")
    among.add_argument("--study", type=json.loads, help="a Search of results/table.py, as JSON")
    args = parser.parse_args()
    found: dict[str, Any] = {}
    if args.study:
        study = Study(args.work_dir, Search(**args.study), args.best)
        name, settings = study.best()
        means = study.values()
        found = {"settings": settings, "sampler": args.study["sampler"], **study.cost()}
        records = {name: read_record(args.work_dir / name / RECORD_NAME)}
    else:
        records = {name: read_record(args.work_dir / name / RECORD_NAME) for name in args.among}
        label, means = best_cell(records, args.metric, args.best)
        seed = args.job.partition("/")[0]
        name = next(n for n, r in records.items() if r.task == label and n.startswith(f"{seed}/"))
    source, folder = args.work_dir / name, args.work_dir / args.job
    for path in [source / CHECKPOINT_NAME, *source.glob("*/vis_data")]:
        target = folder / path.relative_to(source)
        if path.is_dir():
            shutil.copytree(path, target, copy_function=_link, dirs_exist_ok=True)
        elif path.is_file():
            _link(path, target)
    labels = run_labels(folder, records[name].config_file)
    search = {
        "metric": args.metric,
        "best": args.best,
        "chosen": name,
        "means": {cell: mean if math.isfinite(mean) else None for cell, mean in means.items()},
        **found,
    }
    run_card = {**records[name].run_card, "search": search}
    record = dataclasses.replace(
        records[name], task=labels.task, run_card=run_card, cells=labels.cells
    )
    write_record(record, folder / RECORD_NAME)
    print(f"chose {name}, of {len(means)} that were trained to their end")


def _link(source: str | Path, target: str | Path) -> None:
    Path(target).unlink(missing_ok=True)  # of an earlier, interrupted start
    os.link(source, target)


if __name__ == "__main__":
    main()
