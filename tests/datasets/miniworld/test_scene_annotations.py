"""Masks as rings, polygons and run lengths, against pycocotools and SciPy."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from scipy import ndimage

from mae_bench.datasets.miniworld.scene_annotations import (
    coco_annotation,
    label_map,
    outlines,
    segmentation,
)
from mae_bench.datasets.miniworld.scenes import SceneObject


def decode(found, shape):
    """The mask that pycocotools reads."""
    rle = (
        coco_mask.merge(coco_mask.frPyObjects(found, *shape)) if isinstance(found, list) else found
    )
    return coco_mask.decode(rle).astype(bool)


def random_masks(count):
    rng = np.random.default_rng(0)
    for _ in range(count):
        shape = rng.integers(1, 12, size=2)
        mask = rng.random(shape) < rng.choice([0.2, 0.5, 0.8])
        if mask.any():
            yield mask


def test_outline_of_one_pixel():
    mask = np.zeros((3, 4), bool)
    mask[1, 2] = True
    (ring,) = outlines(mask)
    start = ring.index((2, 1))
    assert ring[start:] + ring[:start] == [(2, 1), (3, 1), (3, 2), (2, 2)]


def test_outline_of_a_frame_is_an_outer_ring_and_a_hole():
    mask = np.ones((3, 3), bool)
    mask[1, 1] = False
    assert [sorted(ring) for ring in outlines(mask)] == [
        [(0, 0), (0, 3), (3, 0), (3, 3)],
        [(1, 1), (1, 2), (2, 1), (2, 2)],
    ]


def test_pixels_that_touch_at_a_corner_are_apart():
    assert len(outlines(np.eye(3, dtype=bool))) == 3


def test_segmentation_is_exact_and_run_lengths_are_for_holes():
    kinds = set()
    for mask in random_masks(400):
        found = segmentation(mask)
        kinds.add(type(found))
        np.testing.assert_array_equal(decode(found, mask.shape), mask)
        # A hole is background that does not reach the border, by steps to all eight neighbours.
        _, regions = ndimage.label(~np.pad(mask, 1), structure=np.ones((3, 3)))
        assert isinstance(found, list) == (regions == 1)
        if isinstance(found, list):
            assert len(found) == ndimage.label(mask)[1]
            # mmdet takes polygons of at least three points.
            assert all(len(polygon) >= 8 and len(polygon) % 2 == 0 for polygon in found)
    assert kinds == {list, dict}


def test_coco_annotation():
    for mask in random_masks(100):
        annotation = coco_annotation(SceneObject(7, mask))
        rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert annotation["category_id"] == 8
        assert annotation["iscrowd"] == 0
        assert annotation["bbox"] == coco_mask.toBbox(rle).tolist()
        assert annotation["area"] == coco_mask.area(rle)


def test_label_map():
    first, second = np.zeros((2, 3, 3), bool)
    first[0, 0], second[1:, 2] = True, True
    found = label_map(3, [SceneObject(0, first), SceneObject(9, second)])
    assert found.dtype == np.uint8
    assert found.tolist() == [[2, 1, 1], [1, 1, 11], [1, 1, 11]]


@pytest.mark.parametrize("value", [True, False])
def test_full_and_empty_masks(value):
    mask = np.full((4, 5), value)
    assert len(outlines(mask)) == int(value)
