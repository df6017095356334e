"""All records below a folder, and where the models in them come from."""

import logging
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from ..run_folder import RECORD_NAME, RECORD_SUFFIX
from .record import Record, read_record

SEED_KEY = "randomness.seed"  # of MMEngine's configs


class Records(dict[str, Record]):
    """Runs by name, and which of them made a file."""

    @cached_property
    def makers(self) -> dict[str, str]:
        """SHA-256 of what a run exported -> that run; none is added after the first call."""
        return {sha256: run for run, record in self.items() for sha256 in record.exported_sums()}

    def below(self, folder: str) -> "Records":
        """Those of a folder; ``"."`` is all of them."""
        if folder == ".":
            return self
        inside = {name: one for name, one in self.items() if name.startswith(f"{folder}/")}
        return Records(inside)


def read_records(folder: str | Path) -> Records:
    """Completed records below `folder`: run name (folder relative to it) -> record.

    A file that is no record is named in a warning and skipped.
    """
    records, problems = scan_records(folder)
    for problem in problems:
        logging.getLogger(__name__).warning("skipped: %s", problem)
    return records


def scan_records(folder: str | Path) -> tuple[Records, list[str]]:
    """As `read_records`, and what is wrong with each file that was skipped, which it names.

    Records are files named ``record.json``, whose run is named after their folder, or that end in
    ``.record.json``, whose run is named after them. `folder` may be one such file.

    Raises:
        FileNotFoundError: there is no such file or folder.
    """
    folder = Path(folder)
    if folder.is_file():
        return Records({folder.name.removesuffix(RECORD_SUFFIX): read_record(folder)}), []
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder, and no record")
    records = Records()
    problems: list[str] = []
    # by a pattern: of a whole name it would be asked first whether a link leads to a file
    named = folder.rglob(f"*{RECORD_NAME}")
    for path in sorted(p for p in named if p.name == RECORD_NAME or p.name.endswith(RECORD_SUFFIX)):
        name = path.relative_to(folder).as_posix()
        try:
            record = read_record(path)
        except (ValueError, OSError, RecursionError, OverflowError) as error:
            problems.append(" ".join(str(error).split()))
            continue
        if record.status != "completed":
            problems.append(f"{path}: of a run that failed, so its numbers are not shown")
        else:
            own_name = name.removesuffix(RECORD_SUFFIX).removesuffix(RECORD_NAME).rstrip("/")
            records[own_name or folder.resolve().name] = record
    return records, problems


def ancestors(name: str, records: Mapping[str, Record]) -> list[str]:
    """Runs that made what run `name` started from, the nearest first: by SHA-256, not by name."""
    # of thousands that were read from a folder the makers are gathered once
    makers = (records if isinstance(records, Records) else Records(records)).makers
    found: list[str] = []
    checkpoint = records[name].checkpoint
    while checkpoint and (maker := makers.get(checkpoint["sha256"])) and maker not in found:
        found.append(maker)
        checkpoint = records[maker].checkpoint
    return found


def setting(name: str, records: Mapping[str, Record]) -> str:
    """What the seeds of one setting have in common: recipe, overrides, data and start.

    A checkpoint is known by the setting of the run that made it, so that its seeds are seeds of one
    setting, or else by its SHA-256; never by the name of a file.
    """
    record = records[name]
    start: Any = record.checkpoint and record.checkpoint["sha256"]
    made_by = ancestors(name, records)
    if made_by:
        maker = records[made_by[0]]
        sums = maker.exported_sums()
        # an epoch that was kept is another start than the end
        start = (setting(made_by[0], records), sums.index(start))
    overrides = sorted((k, repr(v)) for k, v in record.overrides.items() if k != SEED_KEY)
    data = sorted((split, known.get("digest")) for split, known in record.data.items())
    return repr((record.task, record.config_file, overrides, data, start))
