"""Every published number this benchmark is measured against, with its source.

    >>> published("Table 3", "MAE", "ViT-L").value
    85.9

`TABLES` holds the tables of the MAE paper that report results (1 to 7, 12, 13, and what Figures 5
and 9 and the text print), the re-runs of the official repository, of OpenMMLab and of others, and
the listings. Tables 8 to 11 of the paper are recipes: they live in the configs.
"""

from collections.abc import Iterable

from . import classification, dense, listings, pretraining, robustness
from .base import NOT_PUBLISHED, Metric, PublishedNumber, PublishedTable

__all__ = [
    "NOT_PUBLISHED",
    "TABLES",
    "Metric",
    "PublishedNumber",
    "PublishedTable",
    "published",
    "published_table",
]


def by_name(tables: Iterable[PublishedTable]) -> dict[str, PublishedTable]:
    """Tables under their names.

    Raises:
        ValueError: two tables have the same name.
    """
    named: dict[str, PublishedTable] = {}
    for table in tables:
        if table.name in named:
            raise ValueError(f"two published tables are called '{table.name}'")
        named[table.name] = table
    return named


TABLES = by_name(
    table
    for topic in (pretraining, classification, dense, robustness, listings)
    for table in topic.TABLES
)


def published_table(name: str) -> PublishedTable:
    """The table called `name`, e.g. ``"Table 1a"``.

    Raises:
        ValueError: there is no such table.
    """
    if name not in TABLES:
        titles = ", ".join(f"'{title}'" for title in TABLES)
        raise ValueError(f"no published table '{name}'; there are {titles}")
    return TABLES[name]


def published(table: str, row: str, column: str) -> PublishedNumber:
    """The number of `table` at `row` and `column`, by their titles.

    Raises:
        ValueError: there is no such table, row or column; the message lists what there is.
    """
    return published_table(table).number(row, column)
