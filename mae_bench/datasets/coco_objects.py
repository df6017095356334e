"""The objects of a COCO file: which can be used, which are left out, which are mistakes."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
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


def is_number(value: Any) -> bool:
    """Whether something is a number that can be a coordinate; no infinity, NaN or truth value."""
    whole_or_not = isinstance(value, (int, float)) and not isinstance(value, bool)
    return whole_or_not and -LARGEST <= value <= LARGEST


def are_numbers(values: list[Any]) -> bool:
    """Whether each of some values :func:`is_number`, as of a polygon's many, at C's speed."""
    return not values or (
        {*map(type, values)} <= {int, float}
        and min(values) >= -LARGEST
        and max(values) <= LARGEST
        and math.isfinite(sum(values))  # NaN is neither the least nor the greatest
    )


def is_whole(value: Any) -> bool:
    """Whether an id or size is a whole number; some files have 7.0."""
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

    def keep(self, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The annotations that can be used, with ids from 1."""
        by_id: dict[int, dict[str, Any]] = {}
        for i, row in enumerate(rows):
            self.what = f"annotation {row['id']!r}" if "id" in row else f"annotations[{i}]"
            given: Any = row.get("id")
            if is_whole(given) and by_id.get(given) == row:  # or each object would be two
                self._drop("annotations are the same as one before", f"of image {row['image_id']}")
                continue
            if not is_whole(given) or given == 0 or given in by_id:
                self.repaired["ids that are missing, 0, no whole number or there twice"] += 1
            else:
                by_id[given] = row
            new = self._one(row)
            if new is not None:
                self.kept += 1
                yield {**row, **new, "id": self.kept}

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
        numbers = isinstance(box, list) and {*map(type, box)} <= {int, float}
        if not numbers or len(box) != 4:
            self._wrong("annotations have no bbox of four numbers", CORRECT, f" has {box!r}")
            return None
        left, top, width, height = box
        if not are_numbers(box) or width <= 0 or height <= 0:
            self._drop("boxes have no area", f"bbox {box}")
            return None
        if (
            left >= image["width"]
            or top >= image["height"]
            or left + width <= 0
            or top + height <= 0
        ):
            self._drop("boxes lie outside of their image", f"bbox {box} in {_size(image)}")
            return None
        if (
            min(left, top) < -TOLERANCE
            or left + width > image["width"] + TOLERANCE
            or top + height > image["height"] + TOLERANCE
        ):
            self.outside.append(f"{self.what}, bbox {box} in {_size(image)}")
        new = {"image_id": int(image_id), "category_id": int(category), "iscrowd": int(crowd)}
        mask = self._mask(row.get("segmentation"), image)
        if mask is None:
            return None
        if isinstance(mask, list) and mask and not self._in_place(mask, box, image):
            return None
        if mask:
            new["segmentation"] = mask
        return new | self._area(row.get("area"), mask, image, width * height)

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
        if isinstance(mask, list) and all(isinstance(x, (int, float)) for x in mask):
            self._wrong(
                "annotations have a polygon that is not in a list of polygons",
                "write [[x, y, ...]] for [x, y, ...]",
            )
            return None
        if not isinstance(mask, list) or not all(
            isinstance(polygon, list) and len(polygon) % 2 == 0 and are_numbers(polygon)
            for polygon in mask
        ):
            self._wrong("annotations have a segmentation that is none of COCO's forms", CORRECT)
            return None
        # pycocotools reads four numbers as a box, and so would the whole list if they stood first.
        polygons = [polygon for polygon in mask if _has_area(polygon)]
        if not polygons:
            self._drop("polygons have no area", f"segmentation {mask}")
            return None
        return polygons

    def _in_place(self, polygons: list[list[float]], box: list[float], image: Any) -> bool:
        """Whether polygons lie in the image, and where the box does."""
        x0, x1 = min(min(p[::2]) for p in polygons), max(max(p[::2]) for p in polygons)
        y0, y1 = min(min(p[1::2]) for p in polygons), max(max(p[1::2]) for p in polygons)
        extent = f"polygons from {x0}, {y0} to {x1}, {y1}"
        if x0 >= image["width"] or y0 >= image["height"] or x1 <= 0 or y1 <= 0:
            self._drop("masks lie outside of their image", f"{extent} in {_size(image)}")
            return False
        # pycocotools takes memory by the length of their sides, and crashes.
        if max(-x0, x1 - image["width"]) > image["width"] or (
            max(-y0, y1 - image["height"]) > image["height"]
        ):
            self._wrong("masks end far outside of their images", CORRECT, f", {extent}")
            return False
        left, top, width, height = box
        if x0 > left + width or y0 > top + height or x1 < left or y1 < top:
            self._wrong("masks lie beside their boxes", CORRECT, f", {extent}, bbox {box}")
            return False
        return True

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

    def _area(self, area: Any, mask: Any, image: dict[str, Any], of_box: float) -> dict[str, Any]:
        if is_number(area) and area > 0:
            return {}
        self.repaired["areas that are missing or not positive"] += 1
        if not mask:
            return {"area": float(of_box)}
        rle = mask
        if isinstance(mask, list):
            rle = coco_mask.merge(coco_mask.frPyObjects(mask, image["height"], image["width"]))
        elif isinstance(mask["counts"], list):
            rle = coco_mask.frPyObjects(mask, image["height"], image["width"])
        return {"area": float(coco_mask.area(rle))}

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


def _has_area(polygon: list[float]) -> bool:
    if len(polygon) > 8:  # of many points it would be a strange accident to have none
        return True
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
