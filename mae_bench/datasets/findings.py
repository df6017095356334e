"""What a look at data finds: mistakes that end a run before it starts, and remarks for its log."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

SHOWN = 3


@dataclass
class Findings:
    """Lines, one for each kind of thing found.

    Attributes:
        problems: the data cannot be used as it is, or would give a wrong number.
        remarks: what was left out or made anew, and what people usually did not mean.
    """

    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def wrong(self, cases: Sequence[str], what: str, fix: str) -> None:
        """Note a mistake, with how often it occurs, examples and the fix; nothing of no cases."""
        if cases:
            self.problems.append(_line(cases, what, fix))

    def note(self, cases: Sequence[str], what: str, fix: str) -> None:
        """Note a remark likewise."""
        if cases:
            self.remarks.append(_line(cases, what, fix))

    def add(self, other: "Findings", where: str | Path = "") -> None:
        """Take over what was found elsewhere, each line begun with ``where``."""
        start = f"{where}: " if where else ""
        self.problems += [start + line for line in other.problems]
        self.remarks += [start + line for line in other.remarks]

    def refuse(self, where: str | Path = "") -> None:
        """Raise DataError if there is a mistake."""
        if self.problems:
            raise DataError(self, where)


class DataError(ValueError):
    """Data that cannot be used; the message has the first mistake, ``findings`` has all."""

    def __init__(self, findings: Findings, where: str | Path = "") -> None:
        self.findings, self.where = findings, where
        more = len(findings.problems) - 1
        rest = f" (and {more} more: tools/check_data.py lists all)" if more else ""
        super().__init__((f"{where}: " if where else "") + findings.problems[0] + rest)


def _line(cases: Sequence[str], what: str, fix: str) -> str:
    named = [case for case in cases[:SHOWN] if case]
    more = "; ..." if len(cases) > len(named) else ""
    examples = f" ({'; '.join(named)}{more})" if named else ""
    return f"{len(cases):,} {what}{examples}: {fix}"
