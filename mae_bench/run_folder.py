"""The folder of a run: the name of every file in it, what is done there, what may be removed.

A run by hand and a job of a suite leave the same files; a suite's job has a few more, and the work
dir of a suite holds the folders of its jobs. Who is at work in a folder says ``attempt``.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .files import read_json

# What a run leaves. The record is written last: with it the run is done.
RECORD_NAME = "record.json"
RECORD_SUFFIX = ".record.json"  # of records that were given a name of their own
CHECKPOINT_NAME = "checkpoint.safetensors"
KEPT_CHECKPOINT_NAME = "checkpoint_epoch_{}.safetensors"
RECONSTRUCTIONS_NAME = "reconstructions.png"
PREDICTIONS_NAME = "predictions"  # a folder of pictures, each with a text beside it

# What it needs to go on: its identity, and MMEngine's training states.
RUN_NAME = "run.json"
STATE_NAMES = re.compile(r"(epoch|iter)_(\d+)\.pth")
LAST_STATE_NAME = "last_checkpoint"
ROBUSTNESS_NAME = "robustness_state.json"

# What it says meanwhile.
ATTEMPTS_NAME = "attempts"  # a folder: one file for each start
PROGRESS_NAME = "progress.json"
SCALARS_PATTERN = "*/vis_data/scalars.json"  # MMEngine's, one for each start

# What a suite adds to the folder of a job.
JOB_NAME = "job.json"
LOG_NAME = "log.txt"
FAILED_NAME = "failed.json"
SUBMISSION_NAME = "slurm.json"

# What a suite writes into its work dir.
SUITE_NAME = "suite.json"
TABLE_NAME = "table.md"
REPORT_NAME = "report.html"
SLURM_LOGS_NAME = "slurm"  # a folder

# Of a file that was being written (``files.write_atomic``).
REMAINS = re.compile(r"\.(.+)\.[0-9a-f]{32}\.tmp")

# What a run says at last whose loss or weights went to infinity or NaN (``StopOnNonFiniteLoss`` and
# ``SaveCheckpoint``): its settings are no good, and nothing else is wrong with it.
DIVERGED = re.compile(r"rror: (the loss is (nan|-?inf) at|\S+ is not finite after) step \d+")


def diverged(failure: Mapping[str, Any]) -> bool:
    """Whether a job failed because its training diverged, by its ``failed.json``."""
    return any(DIVERGED.search(line) for line in failure["log_tail"])


def failure_text(failure: Mapping[str, Any]) -> str:
    """In one line why a job failed, by its ``failed.json``: the reason, with the error itself."""
    reason, tail = str(failure.get("reason", "no reason given")), failure.get("log_tail")
    if not reason.startswith(("exit code", "killed by")) or not isinstance(tail, list):
        return reason
    # What is indented only says where it came from.
    lines = [line for line in map(str, tail) if line[:1].strip()]
    return f"{reason}: {lines[-1] if lines else 'no output'}"


def is_done(folder: str | Path) -> bool:
    """Whether a run has left its record in the folder."""
    return Path(folder, RECORD_NAME).is_file()


def training_states(folder: str | Path) -> list[Path]:
    """Training states that a run can be resumed from, newest first; none in a missing folder."""
    found = [
        (int(match[2]), path)
        for path in Path(folder).glob("*.pth")
        if (match := STATE_NAMES.fullmatch(path.name))
    ]
    return [path for _, path in sorted(found, reverse=True)]


def clear_remains(folder: str | Path) -> None:
    """Remove what killed processes have left half written, and how far they said they were.

    Only for whoever holds the folder.
    """
    Path(folder, PROGRESS_NAME).unlink(missing_ok=True)
    for path in Path(folder).glob(".*.tmp"):
        # whoever writes a report here need not hold the folder
        if (match := REMAINS.fullmatch(path.name)) and match[1] not in (TABLE_NAME, REPORT_NAME):
            path.unlink(missing_ok=True)


def exported_checkpoints(folder: str | Path) -> Iterator[Path]:
    """The model that a run has left, then those of the epochs it kept, by epoch."""
    final = Path(folder, CHECKPOINT_NAME)
    if final.is_file():
        yield final
    before, after = KEPT_CHECKPOINT_NAME.split("{}")
    kept = Path(folder).glob(KEPT_CHECKPOINT_NAME.format("*"))
    numbers = {path: path.name.removeprefix(before).removesuffix(after) for path in kept}
    yield from sorted((p for p, n in numbers.items() if n.isdigit()), key=lambda p: int(numbers[p]))


def stated_sum(path: Path) -> str | None:
    """SHA-256 that the record beside a checkpoint states of it; None where none does."""
    try:
        exported = read_json(path.with_name(RECORD_NAME))["exported"]
        sums = {entry["file"]: entry["sha256"] for entry in [exported, *exported.get("kept", [])]}
        return sums.get(path.name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # no record, or none that says anything
