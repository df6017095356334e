"""Records and tables of a folder as data frames of pandas."""

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .export import tables_csv
from .overview import overview
from .records import scan_records

if TYPE_CHECKING:
    from pandas import DataFrame


def read_records(folder: str | Path) -> "DataFrame":
    """The completed runs below a folder, a row each, by the name of their folder.

    Columns are the keys of a record (see docs/records.md), and those inside one after a dot:
    ``metrics.accuracy/top1``. A file that is no record is named in a warning and left out.

    Raises:
        FileNotFoundError: no such folder.
        ModuleNotFoundError: pandas is not installed.
    """
    pandas = _pandas()
    records, problems = scan_records(folder)
    _warn(problems)
    rows = pandas.json_normalize([vars(record) for record in records.values()])
    return rows.set_axis(pandas.Index(records, name="run"))


def tables(folder: str | Path) -> "DataFrame":
    """What a folder has measured beside what was published: a row for each cell of a table.

    The columns are those of ``tools/report.py DIR --format csv``, and so are the values.

    Raises:
        FileNotFoundError: no such folder.
        ModuleNotFoundError: pandas is not installed.
    """
    pandas = _pandas()
    found = overview(folder)
    _warn(found.problems)
    texts = dict.fromkeys(("table", "row", "column", "metric", "unit", "notes", "runs"), str)
    text = io.StringIO(tables_csv(found.tables))
    return pandas.read_csv(text, dtype=texts, keep_default_na=False, na_values=[""])


def _pandas() -> Any:
    try:
        import pandas
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "data frames are of pandas, which is not installed: pip install pandas"
        ) from None
    return pandas


def _warn(problems: list[str]) -> None:
    for problem in problems:
        warnings.warn(f"left out: {problem}", stacklevel=3)
