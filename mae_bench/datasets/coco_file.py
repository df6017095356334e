"""COCO's annotation file: read once, with every mistake named and every repair counted."""

import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from .coco_objects import ObjectChecker, is_whole
from .findings import Findings

TABLES = ("images", "categories")


class _Tables(msgspec.Struct):
    """The tables of a file, its annotations still as text."""

    images: Any = None
    categories: Any = None
    annotations: list[msgspec.Raw] = []


class _Rows(Sequence):
    """Annotations read from their text when they are asked for: together they take gigabytes."""

    def __init__(self, texts: Sequence[msgspec.Raw]) -> None:
        self.texts = texts
        self.read = msgspec.json.Decoder().decode

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: Any) -> Any:
        return self.read(self.texts[index])

    def __iter__(self) -> Iterator[Any]:
        return map(self.read, self.texts)


@dataclass
class CocoFile:
    """Tables of an annotation file, fit to train on and to evaluate with.

    Objects that nothing can be learned from or matched with (no area, a mask of no area) are left
    out here, so that training and evaluation agree on what there is. What has no meaning beyond the
    file is made anew: ids of annotations, since pycocotools takes a match with 0 for none, and
    areas that are missing or not positive.

    Attributes:
        path: the file.
        images, annotations, categories: as in the file, but for what is said above.
        findings: mistakes that make it unusable, and remarks on what was left out or made anew.
        listed: annotations in the file; all of those in ``annotations`` or counted in ``dropped``.
        dropped: reason -> number of annotations.
        rows_of: id of an image -> places of its annotations in ``annotations``.
        images_with: id of a category -> id of an image for each annotation of it.
        objects: category's id -> annotations that are no crowds.
    """

    path: Path
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: Sequence[dict[str, Any]] = ()
    categories: list[dict[str, Any]] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)
    listed: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    rows_of: dict[int, array] = field(default_factory=dict)
    images_with: dict[int, array] = field(default_factory=dict)
    objects: Counter[int] = field(default_factory=Counter)

    @property
    def names(self) -> list[str]:
        """Names of the categories, by id."""
        return [c["name"] for c in sorted(self.categories, key=lambda c: c["id"])]

    def category_ids(self, classes: Sequence[str]) -> list[int]:
        """Ids of the categories of these names, in their order, by which labels are numbered.

        Raises:
            ValueError: a name is in no category, or there twice.
        """
        if twice := [name for name, n in Counter(classes).items() if n > 1]:
            raise ValueError(f"metainfo.classes: {twice[0]!r} is there twice: name each class once")
        ids = {c["name"]: c["id"] for c in self.categories}
        if lacking := [name for name in classes if name not in ids]:
            raise ValueError(f"{self.path}: {self._lacks(lacking, classes)}")
        return [ids[name] for name in classes]

    def _lacks(self, lacking: Sequence[str], classes: Sequence[str]) -> str:
        near = {name.casefold(): name for name in self.names}.get(lacking[0].casefold())
        shown = ", ".join(map(repr, self.names[:5])) + (", ..." if len(self.names) > 5 else "")
        return (
            f"no category {lacking[0]!r}"
            + (f" (is it {near!r}?)" if near else "")
            + f", {len(lacking)} of the {len(classes)} in metainfo.classes are missing; the file "
            f"has {shown or 'none'}: set metainfo.classes to its names, or take the right file"
        )

    def tables(self) -> dict[str, Sequence[dict[str, Any]]]:
        """What pycocotools takes as its ``dataset``."""
        return dict(images=self.images, annotations=self.annotations, categories=self.categories)

    def count_objects(self) -> Counter[str]:
        """Category's name -> objects, crowds aside."""
        names = {c["id"]: c["name"] for c in self.categories}
        return Counter({names[number]: count for number, count in self.objects.items()})

    def indexed(self, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The annotations as they come, entered into the indices of this class."""
        self.rows_of = {image["id"]: array("q") for image in self.images}
        self.images_with = {category["id"]: array("q") for category in self.categories}
        for place, row in enumerate(rows):
            image, category = row["image_id"], row["category_id"]
            self.rows_of[image].append(place)
            self.images_with[category].append(image)
            if not row["iscrowd"]:
                self.objects[category] += 1
            yield row


Store = Callable[[Iterable[dict[str, Any]]], Sequence[dict[str, Any]]]


def read_coco(path: str | Path, masks: bool = True, store: Store = list) -> CocoFile:
    """Read and check an annotation file; its mistakes are collected, not raised.

    Args:
        path: JSON with ``images`` and ``categories``, and ``annotations`` unless it is a list of
            images only, as of a test set.
        masks: whether every object needs a mask.
        store: what holds the annotations, of which it is given one after the other.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it has not COCO's tables.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file: unpack the archive of the annotations, or correct ann_file"
        )
    content = path.read_bytes()
    try:
        tables = msgspec.json.decode(content, type=_Tables)
        data = {key: getattr(tables, key) for key in TABLES}
        return _check(data | {"annotations": _Rows(tables.annotations)}, path, masks, store)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # NaN, say, which Python writes and reads; or a mistake, which is named below
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error}): write or download it again") from None
    return _check(data, path, masks, store)


def _check(data: Any, path: Path, masks: bool, store: Store) -> CocoFile:
    found = CocoFile(path)
    if not isinstance(data, dict) or not all(isinstance(data.get(key), list) for key in TABLES):
        raise ValueError(
            f"{path}: no annotation file of COCO: it needs the lists 'images', 'categories' and "
            "'annotations'"
        )
    tables = {key: data.get(key, []) for key in (*TABLES, "annotations")}
    for key, rows in tables.items():
        if not isinstance(rows, (list, _Rows)):
            bad = ["it is no list"]
        elif key in TABLES:  # annotations are looked at one by one below
            bad = [f"entry {i}" for i, row in enumerate(rows) if not isinstance(row, dict)]
        else:
            bad = []
        found.findings.wrong(bad, f"entries of {key!r} are no objects", "write the file again")
        if bad:
            return found
    found.categories = list(_categories(tables["categories"], found.findings))
    found.images = list(_images(tables["images"], found.findings))
    found.listed = len(tables["annotations"])
    images = {image["id"]: image for image in found.images}
    known = {category["id"] for category in found.categories}
    if not found.findings.problems:
        checker = ObjectChecker(images, known, masks)
        found.annotations = store(found.indexed(checker.keep(tables["annotations"])))
        found.dropped = checker.tell(found.findings)
    return found


def _categories(rows: list[dict[str, Any]], findings: Findings) -> Iterator[dict[str, Any]]:
    no_id = [
        f"{row.get('name')!r} has the id {row.get('id')!r}"
        for row in rows
        if not is_whole(row.get("id"))
    ]
    no_name = [f"id {row.get('id')!r}" for row in rows if not isinstance(row.get("name"), str)]
    findings.wrong(no_id, "categories have no whole number as id", "give them numbers")
    findings.wrong(no_name, "categories have no name", "name them")
    for key in ("id", "name"):
        twice = [repr(v) for v, n in Counter(repr(row.get(key)) for row in rows).items() if n > 1]
        findings.wrong(
            [text.strip("'\"") for text in twice],
            f"categories' {key}s occur twice",
            "give each category its own",
        )
    if not findings.problems:
        yield from ({**row, "id": int(row["id"])} for row in rows)


def _images(rows: list[dict[str, Any]], findings: Findings) -> Iterator[dict[str, Any]]:
    no_id, no_name, no_size = [], [], []
    for i, row in enumerate(rows):
        name = row.get("file_name")
        what = repr(name) if name else f"entry {i}"
        if not is_whole(row.get("id")):
            no_id.append(f"{what} has the id {row.get('id')!r}")
        if not isinstance(name, str) or not name:
            no_name.append(f"entry {i}, id {row.get('id')!r}")
        sides: tuple[Any, Any] = (row.get("width"), row.get("height"))
        if not all(is_whole(side) and side > 0 for side in sides):
            no_size.append(f"{what} has width {sides[0]!r} and height {sides[1]!r}")
    findings.wrong(no_id, "images have no whole number as id", "give them numbers")
    findings.wrong(no_name, "images have no file_name", "add it")
    findings.wrong(no_size, "images have no width or height", "add them, in pixels")
    if findings.problems:
        return
    twice = [repr(value) for value, n in Counter(row["id"] for row in rows).items() if n > 1]
    findings.wrong(twice, "images' ids occur twice", "give each image its own")
    twice = [value for value, n in Counter(row["file_name"] for row in rows).items() if n > 1]
    findings.note(twice, "files are listed twice", "each time is an image of its own")
    yield from (
        {**row, "id": int(row["id"]), "width": int(row["width"]), "height": int(row["height"])}
        for row in rows
    )
