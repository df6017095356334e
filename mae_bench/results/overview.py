"""Everything that a folder has measured: its records, its suites, and the tables they fill."""

from dataclasses import dataclass
from pathlib import Path

from ..run_folder import JOB_NAME
from .measured import MeasuredTable, Unplaced, measure
from .records import Records, scan_records
from .shipped import joined, shipped_tables, suites_below
from .table_file import Suite


@dataclass(frozen=True)
class Overview:
    """What a folder has measured.

    Attributes:
        records: run name -> record.
        suites: folder -> suite.
        own: tables of suites that print no published number.
        published: tables beside their published numbers.
        unplaced: runs that stand in no cell, or not in one that they claim.
        problems: what could not be read, each with its file.
        jobs: runs that are jobs of a suite; others may lie in its folder.
    """

    records: Records
    suites: dict[str, Suite]
    own: list[MeasuredTable]
    published: list[MeasuredTable]
    unplaced: list[Unplaced]
    problems: list[str]
    jobs: set[str]

    @property
    def tables(self) -> list[MeasuredTable]:
        """All tables with a measured cell."""
        return [*self.own, *self.published]

    def of_suite(self, folder: str) -> Records:
        """Records of the suite in `folder`; ``"."`` is all of them."""
        return self.records.below(folder)

    def outside(self) -> Records:
        """Records that belong to no suite."""
        others = {name: one for name, one in self.records.items() if name not in self.jobs}
        return Records(others)

    def by_hand(self) -> list[str]:
        """Runs that no cell shows, and that no suite made for other runs."""
        placed = {
            run
            for table in self.tables
            for cell in table.cells.values()
            for behind in cell.runs.values()
            for run in behind
        }
        outside = self.outside()
        left = {one.run for one in self.unplaced if self.records[one.run].cells}
        return [
            run for run in self.records if run not in placed and (run in outside or run in left)
        ]

    def reasons(self) -> list[Unplaced]:
        """Why runs stand in no table; those of suites that are but steps on the way left out."""
        return [
            one for one in self.unplaced if self.records[one.run].cells or one.run not in self.jobs
        ]


def overview(folder: str | Path) -> Overview:
    """Read a folder; what is damaged in it is named and left out.

    Raises:
        FileNotFoundError: there is no such folder, nor a record of that name.
    """
    records, problems = scan_records(folder)
    suites, unreadable = suites_below(folder) if Path(folder).is_dir() else ({}, [])
    published = dict(shipped_tables())
    others = [t for suite in suites.values() for t in suite.tables if t.published]
    tables = joined([*published.values(), *others])
    own_tables, own_claims = [], set()
    for place, suite in suites.items():
        inside = records.below(place)
        for table in suite.tables:
            if not table.published:
                measured, _ = measure([table], inside)
                own_tables += measured
                own_claims.add(table.name)
    measured, unplaced = measure(tables, records)
    unplaced = [
        one
        for one in unplaced
        if not any(claim["table"] in own_claims for claim in records[one.run].cells)
    ]
    jobs = {name for name in records if Path(folder, name, JOB_NAME).is_file()}
    problems = [*problems, *unreadable]
    return Overview(records, suites, own_tables, measured, unplaced, problems, jobs)
