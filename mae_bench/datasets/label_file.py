"""List files of classification: images with their labels, one a line, or a CSV table."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .reading import IMAGE_SUFFIXES, is_image

IMAGE_COLUMNS = ("image", "path", "file", "filename", "file_name", "img", "img_path", "id")
LABEL_COLUMNS = ("label", "class", "category", "target", "y", "class_name", "label_name")
_SUFFIXES = "|".join(sorted(suffix.strip(".") for suffix in IMAGE_SUFFIXES))
NAME_AND_LABEL = re.compile(rf"(.*\.(?:{_SUFFIXES}))[\s,]+(.+)", re.IGNORECASE)
BELOW_ZERO = re.compile(r"-\d+")
FORM = "'IMAGE LABEL', with a label from 0 or a class's name"


@dataclass(frozen=True)
class LabelFile:
    """What a list file says.

    Attributes:
        path: the file.
        names: images, in the order of the lines; repeated ones each time.
        labels: their labels as they are written; empty where the file has none.
        lines: the number of each line.
    """

    path: Path
    names: list[str]
    labels: list[str]
    lines: list[int]

    def numbers(
        self, classes: Sequence[str] | None, ids: Sequence[str] = ()
    ) -> tuple[list[int], tuple[str, ...]]:
        """Labels as numbers, and the names of the classes.

        Args:
            classes: names by label; None: those of the file, sorted, or its numbers.
            ids: what the makers call these classes, by label, such as WordNet ids.

        Raises:
            ValueError: a label that is none, or an image with two; the line is named.
        """
        for label, line in zip(self.labels, self.lines, strict=True):
            if classes is None and BELOW_ZERO.fullmatch(label):
                raise ValueError(
                    f"{self.path}, line {line}: label {label}: labels run from 0; take lines "
                    "without a label out"
                )
        numeric = all(label.isdecimal() for label in self.labels)
        if classes is None:
            if numeric:
                highest = max((int(label) for label in self.labels), default=-1)
                classes = tuple(map(str, range(highest + 1)))
            else:
                classes = tuple(sorted(set(self.labels)))
        known: Mapping[str, int] = {
            name: label for names in (ids, classes) for label, name in enumerate(names)
        }
        found = []
        for label, line in zip(self.labels, self.lines, strict=True):
            # Digits are the number of a class, unless a class is called so.
            number = known.get(label, int(label) if label.isdecimal() else -1)
            if not 0 <= number < len(classes):
                raise ValueError(f"{self.path}, line {line}: {self._stray(label, classes)}")
            found.append(number)
        self._check_contradictions(found)
        return found, tuple(classes)

    def _stray(self, label: str, classes: Sequence[str]) -> str:
        numbers = [int(x) for x in self.labels if x.isdecimal()]
        if numbers and min(numbers) == 1 and max(numbers) == len(classes):
            return f"label {label}: labels run from 1 to {len(classes)}; number them from 0"
        near = {name.casefold(): name for name in classes}.get(label.casefold())
        hint = f" (is it {near!r}?)" if near else ""
        return (
            f"label {label!r}{hint} is none of the {len(classes)} classes, {classes[0]!r} to "
            f"{classes[-1]!r}: correct it, or metainfo.classes"
        )

    def _check_contradictions(self, labels: Sequence[int]) -> None:
        first: dict[str, tuple[int, int]] = {}
        for name, label, line in zip(self.names, labels, self.lines, strict=True):
            before, where = first.setdefault(name, (label, line))
            if before != label:
                raise ValueError(
                    f"{self.path}, line {line}: {name} has another label than in line {where}: "
                    "leave one of the two lines"
                )


def read_label_file(path: str | Path, with_labels: bool = True) -> LabelFile:
    """Read a list.

    Name and label of a line are parted by a blank, tab or comma; a ``.csv`` may have a header, with
    a column ``image`` or ``path`` and one ``label`` or ``class``. Blank lines are passed over.

    Args:
        path: the file.
        with_labels: whether labels are needed; else those that are there are passed over.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line of another form, which is named; no line at all.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file: correct ann_file, or leave it out")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is no text in UTF-8 ({error.reason}): save it as such") from None
    rows = _table(text) if path.suffix.lower() == ".csv" else None
    if rows is None:
        rows = [(n, _split(line)) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    found = LabelFile(path, [], [], [])
    for number, fields in rows:
        if not fields[0] or (with_labels and (len(fields) < 2 or not fields[1])):
            raise ValueError(
                f"{path}, line {number}: {' '.join(fields)!r} is not of the form {FORM}"
            )
        found.names.append(fields[0])
        found.lines.append(number)
        if with_labels:
            found.labels.append(fields[1])
    if not found.names:
        raise ValueError(f"{path}: lists no image")
    return found


def _split(line: str) -> list[str]:
    """Name and label of a line; blanks and commas may stand in either."""
    line = line.strip()
    if found := NAME_AND_LABEL.fullmatch(line):
        return [found[1], found[2]]
    parts = line.replace("\t", " ").replace(",", " ").rsplit(maxsplit=1)
    if not parts:  # nothing but commas
        return [""]
    # A name alone, or one without a suffix that we know.
    return [line] if len(parts) == 1 or is_image(line) else [line[: len(parts[0])], parts[1]]


def _table(text: str) -> list[tuple[int, list[str]]] | None:
    """Rows of a CSV as name and label; None where it is no table with a header."""
    head = text.lstrip().partition("\n")[0]
    if not set(",;") & set(head) and len(head.split()) > 1:  # a list that is only called so
        return None
    # Spreadsheets write semicolons where the comma is in numbers.
    reader = csv.reader(
        io.StringIO(text), delimiter=";" if head.count(";") > head.count(",") else ","
    )
    rows = [(reader.line_num, row) for row in reader if any(field.strip() for field in row)]
    if not rows:
        return None
    header = [field.strip().lower() for field in rows[0][1]]
    image = next((header.index(name) for name in IMAGE_COLUMNS if name in header), None)
    label = next((header.index(name) for name in LABEL_COLUMNS if name in header), None)
    if image is None:
        return [(n, [field.strip() for field in row]) for n, row in rows]
    columns = [image] if label is None else [image, label]
    return [(n, [row[i].strip() if i < len(row) else "" for i in columns]) for n, row in rows[1:]]
