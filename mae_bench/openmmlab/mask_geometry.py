"""Instance masks under scaling and cropping: polygons stay polygons, bitmaps are sampled."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import shapely
from mmdet.datasets.transforms import LoadAnnotations
from mmdet.structures.mask import BaseInstanceMasks, BitmapMasks, PolygonMasks

from ..registry import TRANSFORMS


class Crop(NamedTuple):
    """A window into an image that is thought of as resized from ``source`` to ``resized``.

    Sizes are (height, width). Only the window is ever made: ``height`` x ``width`` pixels from
    (``top``, ``left``) of the resized image.
    """

    source: tuple[int, int]
    resized: tuple[int, int]
    top: int
    left: int
    height: int
    width: int

    @property
    def scale(self) -> tuple[float, float]:
        """Resized over source, (x, y)."""
        return self.resized[1] / self.source[1], self.resized[0] / self.source[0]


@TRANSFORMS.register_module()
class LoadPolygons(LoadAnnotations):
    """mmdet's ``LoadAnnotations`` that keeps polygons, as detectron2 does.

    mmdet either makes every mask a bitmap of the image's size or drops the instances whose mask is
    run-length encoded. Here an image that has such an instance (which is not a crowd) gets bitmaps,
    any other one polygons.
    """

    def _load_masks(self, results: dict) -> None:
        kept = [item["mask"] for item in results["instances"] if not item["ignore_flag"]]
        self.poly2mask = not all(isinstance(mask, list) for mask in kept)
        super()._load_masks(results)


def crop_masks(
    masks: BaseInstanceMasks, crop: Crop, side: int
) -> tuple[BaseInstanceMasks, np.ndarray]:
    """Scale masks and cut them to a crop, polygons to ``side`` x ``side`` pixels from its corner.

    Returns:
        the masks of which something is left, and for each one given whether it is among them.
    """
    size = (crop.height, crop.width)
    if isinstance(masks, PolygonMasks):
        instances = _crop_polygons(masks.masks, crop, side)
        left = np.array([len(polygons) > 0 for polygons in instances], bool)
        return PolygonMasks([polygons for polygons in instances if polygons], *size), left
    # The pixel that holds the centre, as Pillow's nearest neighbour.
    rows, columns = (
        ((np.arange(start, start + length) + 0.5) * (source / resized)).astype(int)
        for start, length, source, resized in zip(
            (crop.top, crop.left), size, crop.source, crop.resized, strict=True
        )
    )
    bitmaps = masks.masks[:, rows[:, None], columns]
    left = bitmaps.any(axis=(1, 2))
    return BitmapMasks(bitmaps[left], *size), left


def _crop_polygons(
    instances: Sequence[Sequence[np.ndarray]], crop: Crop, side: int
) -> list[list[np.ndarray]]:
    """Polygons of each instance, intersected with the square, as detectron2's CropTransform."""
    rings = [ring.reshape(-1, 2) for polygons in instances for ring in polygons]
    cut: list[list[np.ndarray]] = [[] for _ in instances]
    if not rings:
        return cut
    owner = np.repeat(np.arange(len(instances)), [len(polygons) for polygons in instances])
    points = np.concatenate(rings) * crop.scale - (crop.left, crop.top)
    ring_of_point = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    shapes = shapely.polygons(shapely.linearrings(points, indices=ring_of_point))
    # buffer(0) makes a polygon that crosses itself valid.
    shapes = shapely.intersection(shapely.buffer(shapes, 0.0), shapely.box(0, 0, side, side))
    parts, origin = shapely.get_parts(shapes, return_index=True)
    areas = shapely.get_type_id(parts) == shapely.GeometryType.POLYGON
    areas &= ~shapely.is_empty(parts)
    for part, index in zip(parts[areas], origin[areas], strict=True):
        outline = shapely.get_coordinates(shapely.get_exterior_ring(part))
        cut[owner[index]].append(outline[:-1].reshape(-1))  # the last point is the first again
    return cut
