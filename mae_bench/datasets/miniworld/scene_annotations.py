"""MiniWorld's masks as COCO annotations and as ADE20K label maps."""

from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from mae_bench.datasets.miniworld.scenes import SceneObject

Ring = list[tuple[int, int]]
BACKGROUND_LABEL = 1
"""Value of the background in a label map; 0 means "other" in ADE20K and does not occur."""


def outlines(mask: np.ndarray) -> list[Ring]:
    """Rings that run along the pixel edges of a mask.

    Pixels that touch only at a corner count as apart.

    Args:
        mask: (H, W) bool.

    Returns:
        For each ring its corners (x, y), where x = 0 is the left edge of the first column. With x
        to the right and y down, outer rings run clockwise and those around holes the other way.
    """
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    # For each side of a pixel: the neighbour across it, where the edge starts from the pixel's
    # upper left corner, and its direction, with the pixel on the right-hand side.
    sides = (
        (padded[:-2, 1:-1], (0, 0), (1, 0)),
        (padded[1:-1, 2:], (1, 0), (0, 1)),
        (padded[2:, 1:-1], (1, 1), (-1, 0)),
        (padded[1:-1, :-2], (0, 1), (0, -1)),
    )
    edges = [
        ((x + dx, y + dy), step)
        for neighbour, (dx, dy), step in sides
        for y, x in np.argwhere(inside & ~neighbour).tolist()
    ]
    known, left = set(edges), set(edges)
    rings = []
    for edge in edges:
        ring: Ring = []
        while edge in left:
            left.remove(edge)
            (x, y), (dx, dy) = edge
            corner = (x + dx, y + dy)
            # Right comes first: it stays on the same pixel where two touch at a corner.
            turns = ((-dy, dx), (dx, dy), (dy, -dx))
            step = next(turn for turn in turns if (corner, turn) in known)
            if step != (dx, dy):
                ring.append(corner)
            edge = (corner, step)
        if ring:
            rings.append(ring)
    return rings


def segmentation(mask: np.ndarray) -> list[list[int]] | dict[str, Any]:
    """COCO's ``segmentation`` of a mask (H, W) bool, exact to the pixel.

    Returns:
        Polygons ``[x1, y1, x2, y2, ...]`` where the mask has no hole; compressed RLE, with ``size``
        (height, width) and ``counts`` as a string, where it has one, which polygons cannot say.
    """
    rings = outlines(mask)
    if all(_signed_area(ring) > 0 for ring in rings):
        return [[value for corner in ring for value in corner] for ring in rings]
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")}


def coco_annotation(thing: SceneObject) -> dict[str, Any]:
    """COCO annotation of one object, without ``id`` and ``image_id``.

    ``bbox`` is (x, y, width, height) in pixels along pixel edges, ``area`` the mask's pixels,
    ``category_id`` the label plus one.
    """
    rows, columns = np.flatnonzero(thing.mask.any(axis=1)), np.flatnonzero(thing.mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return {
        "category_id": thing.label + 1,
        "segmentation": segmentation(thing.mask),
        "bbox": [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y],
        "area": int(thing.mask.sum()),
        "iscrowd": 0,
    }


def label_map(size: int, objects: list[SceneObject]) -> np.ndarray:
    """Label map (size, size) uint8 of a scene: background 1, digit d is d + 2."""
    labels = np.full((size, size), BACKGROUND_LABEL, np.uint8)
    for thing in objects:
        labels[thing.mask] = BACKGROUND_LABEL + 1 + thing.label
    return labels


def _signed_area(ring: Ring) -> float:
    """Area inside a ring in pixels, negative around a hole (shoelace formula)."""
    x, y = np.array(ring).T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
