"""Pictures of robustness records: accuracy against severity, and Table 13, as one HTML page."""

import argparse
from pathlib import Path

from ..files import write_atomic
from ..results.record import read_record
from ..results.robustness_page import write_pictures


def parse_args() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", nargs="+", metavar="LABEL=RECORD", help="name=record.json")
    parser.add_argument("--out", default="robustness.html", help="page to write")
    return parser.parse_args()


def main() -> None:
    """Read, draw, write."""
    args = parse_args()
    records = {}
    for text in args.records:
        label, separator, path = text.partition("=")
        if not separator or not label:
            raise ValueError(f"{text}: give each record a name, such as MAE={Path(text).name}")
        if label in records:
            raise ValueError(f"{label}: two records of this name")
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"{path}: no such record; a robustness run leaves record.json in its work directory"
            )
        records[label] = read_record(path)
    write_atomic(write_pictures(records).encode(), args.out)
    print(args.out)
