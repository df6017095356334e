"""Pictures of what a detector or a segmentation model finds, large enough to be looked at."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

SIDE = 192  # least height of a drawn picture in pixels
MARGIN = 18  # around it, so that a label fits beside an object at the edge
LINE = 16  # height of a label
FONT_SIZE = 11
BACKGROUND = 250
Rectangle = tuple[int, int, int, int]  # left, top, right, bottom


@dataclass(frozen=True)
class Region:
    """An object: label, box (left, top, right, bottom) in pixels, mask (H, W) bool, BGR colour.

    One without a box is a name for the whole picture.
    """

    label: str
    box: tuple[float, float, float, float] | None
    mask: np.ndarray | None
    colour: tuple[int, int, int]


def draw_regions(image: np.ndarray, regions: Sequence[Region]) -> np.ndarray:
    """Draw outlines on an enlarged picture, and each label outside of all objects.

    Args:
        image: (H, W, 3) uint8 BGR.
        regions: in its pixels.

    Returns:
        (H', W', 3) uint8 BGR: enlarged by a whole number to at least `SIDE` rows, with a margin.
        Labels that have no free place beside their object are listed below the picture.
    """
    height, width = image.shape[:2]
    zoom = max(1, -(-SIDE // height))
    large = image.repeat(zoom, axis=0).repeat(zoom, axis=1)
    edges = ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0))
    canvas = np.ascontiguousarray(np.pad(large, edges, constant_values=BACKGROUND))
    boxes: list[Rectangle | None] = []
    for region in regions:
        if region.box is None:
            boxes.append(None)
            continue
        left, top, right, bottom = (round(x * zoom) + MARGIN for x in region.box)
        boxes.append((left, top, right, bottom))
        if region.mask is None:
            cv2.rectangle(canvas, (left, top), (right, bottom), region.colour, 2)
            continue
        mask = region.mask.astype(np.uint8).repeat(zoom, axis=0).repeat(zoom, axis=1)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        for thickness, colour in ((4, (0, 0, 0)), (2, region.colour)):
            offset = (MARGIN, MARGIN)
            cv2.drawContours(canvas, contours, -1, colour, thickness, offset=offset)
    taken = [box for box in boxes if box is not None]
    listed = []
    for region, box in zip(regions, boxes, strict=True):
        place = None if box is None else _free_place(region.label, box, taken, canvas.shape)
        if place is None:
            listed.append(region)
        else:
            taken.append(place)
            _write(canvas, region, place)
    if listed:
        missing = max(_width(region.label) for region in listed) + 4 - canvas.shape[1]
        if missing > 0:
            edges = ((0, 0), (0, missing), (0, 0))
            canvas = np.pad(canvas, edges, constant_values=BACKGROUND)
        strip = np.full((LINE * len(listed), canvas.shape[1], 3), BACKGROUND, np.uint8)
        canvas = np.concatenate([canvas, strip])
        for index, region in enumerate(listed):
            top = canvas.shape[0] - strip.shape[0] + LINE * index
            _write(canvas, region, (2, top, 2 + _width(region.label), top + LINE))
    return canvas


def _free_place(
    label: str, box: Rectangle, taken: Sequence[Rectangle], shape: tuple[int, ...]
) -> Rectangle | None:
    """Where a label touches its object and covers none, or None."""
    left, top, right, bottom = box
    width = _width(label)
    for x in (left, right - width):
        for y in (top - LINE, bottom + 1):
            x = max(0, min(x, shape[1] - width))
            place = (x, y, x + width, y + LINE)
            inside = y >= 0 and y + LINE <= shape[0] and width <= shape[1]
            if inside and not any(_overlap(place, other) for other in taken):
                return place
    return None


def _overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@cache
def _font() -> ImageFont.FreeTypeFont:
    """One that has more than ASCII; OpenCV's writes ``???`` for all else."""
    return ImageFont.truetype(Path(get_data_path(), "fonts/ttf/DejaVuSans.ttf"), FONT_SIZE)


def _width(label: str) -> int:
    return round(_font().getlength(label)) + 12


def _write(canvas: np.ndarray, region: Region, place: Rectangle) -> None:
    """White text on black, with a stripe in the object's colour."""
    left, top, right, bottom = place
    image = Image.new("RGB", (right - left, bottom - top))
    ImageDraw.Draw(image).text((8, LINE - 4), region.label, "white", _font(), anchor="ls")
    canvas[top:bottom, left:right] = np.asarray(image)
    cv2.rectangle(canvas, (left, top), (left + 4, bottom - 1), region.colour, -1)
