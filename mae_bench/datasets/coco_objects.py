"""The objects of a COCO file: which can be used, which are left out, which are mistakes."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from pycocotools import mask as coco_mask

from .findings import Findings

# A box may end half a pixel outside: COCO rounds some to hundredths.
TOLERANCE = 0.5
# With so large a share of boxes outside, they are of another form.
OUTSIDE_SHARE = 0.2
CORRECT = "correct or remove them in the annotation file"


# What is larger is no coordinate, id or area; it would overflow a C integer further on.
LARGEST = 2**53
NUMBERS = frozenset((int, float))
MANY_NUMBERS = 8  # of a polygon: it would be a strange accident if it had no area


def is_number(value: Any) -> bool:
    """Whether something is a number that can be a coordinate; no infinity, NaN or truth value."""
    return type(value) in NUMBERS and -LARGEST <= value <= LARGEST


def are_numbers(values: list[Any]) -> bool:
    """Whether each of some values :func:`is_number`, as of a polygon's many, at C's speed."""
    return {*map(type, values)} <= NUMBERS and _in_range(values)


def _in_range(numbers: list[float]) -> bool:
    """Whether numbers can be coordinates."""
    try:
        if math.hypot(*numbers) < LARGEST:  # none is larger than their hypotenuse
            return True
    except OverflowError:  # a whole number that is larger than any float
        return False
    return all(map(is_number, numbers))


def is_whole(value: Any) -> bool:
    """Whether an id or size is a whole number; some files have 7.0."""
    if type(value) is int:  # nearly always
        return -LARGEST <= value <= LARGEST
    return is_number(value) and value == int(value)


class ObjectChecker:
    """One pass over the annotations of a file; what is wrong is gathered by kind.

    Args:
        images: id -> entry.
        known: ids of the categories.
        masks: whether every object needs a mask.
    """

    def __init__(self, images: Mapping[int, dict[str, Any]], known: set[int], masks: bool) -> None:
        self.images, self.known, self.masks = images, known, masks
        self.bad: dict[tuple[str, str], list[str]] = {}
        self.repaired: Counter[str] = Counter()
        self.dropped: dict[str, list[str]] = {}
        self.outside: list[str] = []
        self.kept = 0

    def keep(self, rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The annotations that can be used, with ids from 1."""
        place_of: dict[int, int] = {}
        for place, row in enumerate(rows):
            self.place, self.row = place, row
            if not isinstance(row, dict):
                kind = ("entries of 'annotations' are no objects", "write the file again")
                self.bad.setdefault(kind, []).append(f"entry {place}")
                continue
            given: Any = row.get("id")
            whole = is_whole(given)
            if whole and given in place_of and rows[place_of[given]] == row:  # or it would be two
                self._drop("annotations are the same as one before", f"of image {row['image_id']}")
                continue
            if not whole or given == 0 or given in place_of:
                self.repaired["ids that are missing, 0, no whole number or there twice"] += 1
            else:
                place_of[given] = place
            new = self._one(row)
            if new is not None:
                self.kept += 1
                yield {**row, **new, "id": self.kept}

    @property
    def what(self) -> str:
        """The annotation that is looked at, as messages call it."""
        has_id = "id" in self.row
        return f"annotation {self.row['id']!r}" if has_id else f"annotations[{self.place}]"

    def _wrong(self, kind: str, fix: str, detail: str = "") -> None:
        self.bad.setdefault((kind, fix), []).append(f"{self.what}{detail}")

    def _drop(self, reason: str, detail: str) -> None:
        self.dropped.setdefault(reason, []).append(f"{self.what}, {detail}")

    def _one(self, row: dict[str, Any]) -> dict[str, Any] | None:
        """What replaces the row's entries; None where it is wrong or left out."""
        image_id: Any = row.get("image_id")
        category: Any = row.get("category_id")
        image = self.images.get(image_id) if is_whole(image_id) else None
        if image is None:
            self._wrong(
                "annotations are of no image in the file", CORRECT, f" of image {image_id!r}"
            )
            return None
        if not is_whole(category) or category not in self.known:
            self._wrong(
                "annotations are of no category in the file", CORRECT, f" of category {category!r}"
            )
            return None
        crowd = row.get("iscrowd", 0)
        if crowd not in (0, 1):
            self._wrong("annotations have another iscrowd than 0 and 1", CORRECT, f" has {crowd!r}")
            return None
        box: Any = row.get("bbox")
        numbers = isinstance(box, list) and len(box) == 4 and {*map(type, box)} <= NUMBERS
        if not numbers:
            self._wrong("annotations have no bbox of four numbers", CORRECT, f" has {box!r}")
            return None
        left, top, width, height = box
        if width <= 0 or height <= 0 or not _in_range(box):
            self._drop("boxes have no area", f"bbox {box}")
            return None
        right, bottom = left + width, top + height
        columns, lines = image["width"], image["height"]
        if left >= columns or top >= lines or right <= 0 or bottom <= 0:
            self._drop("boxes lie outside of their image", f"bbox {box} in {_size(image)}")
            return None
        if (
            left < -TOLERANCE
            or top < -TOLERANCE
            or right > columns + TOLERANCE
            or bottom > lines + TOLERANCE
        ):
            self.outside.append(f"{self.what}, bbox {box} in {_size(image)}")
        mask = self._mask(row.get("segmentation"), image)
        if mask is None:
            return None
        if isinstance(mask, list) and mask and not self._in_place(mask, box, image):
            return None
        new: dict[str, Any] = {
            "image_id": int(image_id),
            "category_id": int(category),
            "iscrowd": int(crowd),
        }
        if mask:
            new["segmentation"] = mask
        area: Any = row.get("area")
        if not is_number(area) or area <= 0:
            new["area"] = self._area(mask, image, width * height)
        return new

    def _mask(self, mask: Any, image: dict[str, Any]) -> Any:
        """The mask, ``[]`` where there is none and none is needed; None where it is wrong."""
        if not mask:
            if self.masks:
                self._wrong(
                    "annotations have no segmentation, which the masks are trained with",
                    "add them, or train boxes only (docs/own_data.md)",
                )
                return None
            return []
        if isinstance(mask, dict):
            return self._rle(mask, image)
        if not isinstance(mask, list) or not all(map(_is_polygon, mask)):
            if isinstance(mask, list) and all(isinstance(x, (int, float)) for x in mask):
                kind = "annotations have a polygon that is not in a list of polygons"
                self._wrong(kind, "write [[x, y, ...]] for [x, y, ...]")
            else:
                kind = "annotations have a segmentation that is none of COCO's forms"
                self._wrong(kind, CORRECT)
            return None
        # pycocotools reads four numbers as a box, and so would the whole list if they stood first.
        polygons = [p for p in mask if len(p) > MANY_NUMBERS or _has_area(p)]
        if not polygons:
            self._drop("polygons have no area", f"segmentation {mask}")
            return None
        return polygons

    def _in_place(self, polygons: list[list[float]], box: list[float], image: Any) -> bool:
        """Whether polygons lie in the image, and where the box does."""
        points = polygons[0] if len(polygons) == 1 else [*chain.from_iterable(polygons)]
        xs, ys = points[::2], points[1::2]
        x0, x1, y0, y1 = min(xs), max(xs), min(ys), max(ys)
        columns, lines = image["width"], image["height"]
        left, top, width, height = box
        inside = x0 < columns and y0 < lines and x1 > 0 and y1 > 0
        # pycocotools takes memory by the length of their sides, and crashes.
        near = -x0 <= columns and x1 <= 2 * columns and -y0 <= lines and y1 <= 2 * lines
        at_box = x0 <= left + width and y0 <= top + height and x1 >= left and y1 >= top
        if inside and near and at_box:
            return True
        extent = f"polygons from {x0}, {y0} to {x1}, {y1}"
        if not inside:
            self._drop("masks lie outside of their image", f"{extent} in {_size(image)}")
        elif not near:
            self._wrong("masks end far outside of their images", CORRECT, f", {extent}")
        else:
            self._wrong("masks lie beside their boxes", CORRECT, f", {extent}, bbox {box}")
        return False

    def _rle(self, mask: dict[str, Any], image: dict[str, Any]) -> Any:
        size, counts = mask.get("size"), mask.get("counts")
        if size != [image["height"], image["width"]]:
            shown = f"{size[1]}x{size[0]}" if isinstance(size, list) and len(size) == 2 else size
            self._wrong(
                "masks are of another size than their images",
                CORRECT,
                f", mask {shown} in {_size(image)}",
            )
            return None
        runs = read_runs(counts) if isinstance(counts, str) else counts
        # pycocotools writes beyond its memory where they are more.
        if (
            not isinstance(runs, list)
            or not all(isinstance(n, int) and n >= 0 for n in runs)
            or sum(runs) != size[0] * size[1]
        ):
            self._wrong("masks have counts that do not fill their size", CORRECT)
            return None
        if not any(runs[1::2]):
            self._drop("masks are empty", f"counts {counts}")
            return None
        return mask

    def _area(self, mask: Any, image: dict[str, Any], of_box: float) -> float:
        self.repaired["areas that are missing or not positive"] += 1
        if not mask:
            return float(of_box)
        rle = mask
        if isinstance(mask, list):
            rle = coco_mask.merge(coco_mask.frPyObjects(mask, image["height"], image["width"]))
        elif isinstance(mask["counts"], list):
            rle = coco_mask.frPyObjects(mask, image["height"], image["width"])
        return float(coco_mask.area(rle))

    def tell(self, findings: Findings) -> Counter[str]:
        """Add what was found; reason -> objects left out."""
        for (kind, fix), cases in self.bad.items():
            findings.wrong(cases, kind, fix)
        share = len(self.outside) / max(1, self.kept)
        form = "write [x, y, width, height], not two corners" if share > OUTSIDE_SHARE else CORRECT
        tell = findings.wrong if share > OUTSIDE_SHARE else findings.note
        tell(self.outside, "boxes end outside of their images", form)
        for reason, cases in self.dropped.items():
            findings.note(cases, reason, "left out, in training and evaluation alike")
        for what, count in self.repaired.items():
            findings.note([""] * count, what, "made anew")
        return Counter({reason: len(cases) for reason, cases in self.dropped.items()})


def _is_polygon(value: Any) -> bool:
    return isinstance(value, list) and len(value) % 2 == 0 and are_numbers(value)


def _has_area(polygon: list[float]) -> bool:
    points = list(zip(polygon[::2], polygon[1::2], strict=True))
    after = [*points[1:], *points[:1]]
    return sum(x * v - u * y for (x, y), (u, v) in zip(points, after, strict=True)) != 0


def read_runs(text: str) -> list[int] | None:
    """Run lengths of COCO's compressed form, or None where it is none.

    Each number is in groups of five bits, the lowest first, in characters from "0" on, whose sixth
    bit says that more follow; from the fourth number on it is the difference to the last but one.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - 48
        if not 0 <= group < 64:
            return None
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:  # negative
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return None if shift else runs


def _size(image: Mapping[str, Any]) -> str:
    return f"{image['width']}x{image['height']}"
