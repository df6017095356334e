"""Large-scale jitter and the resize of test images, judged by Pillow and by mmdet's own masks."""

import numpy as np
import pytest
import torch
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from PIL import Image
from pycocotools import mask as coco_mask

from mae_bench.openmmlab.large_scale_jitter import FitToSquare, LargeScaleJitter
from mae_bench.openmmlab.mask_geometry import LoadPolygons

SIZE = 64
SHAPES = [(48, 64), (90, 37), (200, 160)]


def picture(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    small = np.random.default_rng(seed).integers(
        0, 256, (shape[0] // 4, shape[1] // 4, 3), np.uint8
    )
    return np.asarray(Image.fromarray(small).resize(shape[::-1], Image.Resampling.BICUBIC))


def polygons(shape: tuple[int, int]) -> list[list[np.ndarray]]:
    """A triangle, an object in two parts, one that crosses itself, and a speck in a corner."""
    height, width = shape
    unit = [
        [[0.1, 0.1, 0.9, 0.2, 0.4, 0.9]],
        [[0.0, 0.5, 0.2, 0.5, 0.2, 0.9, 0.0, 0.9], [0.6, 0.6, 1.0, 0.6, 1.0, 1.0]],
        [[0.3, 0.3, 0.7, 0.7, 0.7, 0.3, 0.3, 0.7]],
        [[0.0, 0.0, 0.02, 0.0, 0.02, 0.02]],
    ]
    sides = np.array([width, height])
    return [[(np.reshape(p, (-1, 2)) * sides).ravel() for p in parts] for parts in unit]


def sample(shape: tuple[int, int], masks: PolygonMasks | BitmapMasks | None = None) -> dict:
    if masks is None:
        masks = PolygonMasks(polygons(shape), *shape)
    return dict(
        img=picture(shape),
        gt_masks=masks,
        gt_bboxes=masks.get_bboxes("hbox"),
        gt_bboxes_labels=np.arange(len(masks)),
        gt_ignore_flags=np.zeros(len(masks), bool),
    )


def expected_window(shape: tuple[int, int], seed: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Resized size and corner, as detectron2's two transforms draw and round them."""
    np.random.seed(seed)
    factor = np.random.uniform(0.1, 2.0)
    scale = min(SIZE * factor / shape[0], SIZE * factor / shape[1])
    resized = np.round(np.multiply(shape, scale)).astype(int)
    offset = np.maximum(resized - SIZE, 0) * np.random.uniform(0.0, 1.0)
    return tuple(resized), tuple(np.round(offset).astype(int))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(8))
def test_pixels_are_those_of_resizing_all_and_cropping(shape, seed):
    resized, (top, left) = expected_window(shape, seed)
    whole = Image.fromarray(picture(shape)).resize(resized[::-1], Image.Resampling.BILINEAR)
    expected = np.asarray(whole)[top : top + SIZE, left : left + SIZE].astype(int)
    np.random.seed(seed)
    results = LargeScaleJitter(SIZE).transform(sample(shape))
    assert results["img"].shape == expected.shape == (*results["img_shape"], 3)
    difference = abs(results["img"] - expected)
    # Pillow rounds the place of the window to 32 bits, so what falls on a half may round otherwise.
    assert difference.max() <= 2 and difference.mean() < 0.3
    assert results["scale_factor"] == (resized[1] / shape[1], resized[0] / shape[0])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(8))
def test_polygons_and_boxes_are_those_of_mmdet(shape, seed):
    resized, (top, left) = expected_window(shape, seed)
    whole = PolygonMasks(polygons(shape), *shape).resize(resized)
    whole.height, whole.width = 4 * SIZE, 4 * SIZE  # detectron2's window may end beyond the image
    expected = whole.crop(np.array([left, top, left + SIZE, top + SIZE], float))
    kept = [i for i, mask in enumerate(expected.masks) if len(mask) > 1 or np.any(mask[0])]
    np.random.seed(seed)
    results = LargeScaleJitter(SIZE, pad=128).transform(sample(shape))
    assert results["gt_bboxes_labels"].tolist() == kept
    for found, mask in zip(results["gt_masks"], expected[kept], strict=True):
        assert len(found) == len(mask)
        for one, other in zip(found, mask, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-9)
    boxes = [
        [*np.concatenate(m).reshape(-1, 2).min(0), *np.concatenate(m).reshape(-1, 2).max(0)]
        for m in expected[kept]
    ]
    np.testing.assert_allclose(results["gt_bboxes"].tensor, boxes, atol=1e-4)


@pytest.mark.parametrize("seed", range(8))
def test_bitmaps_are_pillows_nearest_neighbours(seed):
    shape = SHAPES[2]
    bitmaps = PolygonMasks(polygons(shape), *shape).to_ndarray().astype(np.uint8)
    masks = BitmapMasks(bitmaps, *shape)
    resized, (top, left) = expected_window(shape, seed)
    np.random.seed(seed)
    results = LargeScaleJitter(SIZE, pad=128).transform(sample(shape, masks))
    for mask, index in zip(results["gt_masks"], results["gt_bboxes_labels"], strict=True):
        whole = Image.fromarray(bitmaps[index]).resize(resized[::-1], Image.Resampling.NEAREST)
        expected = np.zeros((SIZE, SIZE), np.uint8)
        window = np.asarray(whole)[top : top + SIZE, left : left + SIZE]
        expected[: window.shape[0], : window.shape[1]] = window
        # Pillow adds step to step: where a centre falls between two pixels it may take the other.
        assert (mask != expected).mean() < 0.03
        rows, columns = np.nonzero(mask)
        box = results["gt_bboxes"].tensor[list(results["gt_bboxes_labels"]).index(index)]
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_one_number_places_the_window_along_both_axes():
    crops = [LargeScaleJitter(SIZE, (2.0, 2.0))._draw((100, 100)) for _ in range(20)]
    assert len({crop.left for crop in crops}) > 5
    assert all(crop.top == crop.left for crop in crops)


def test_what_is_missing_to_the_square_is_grey():
    results = LargeScaleJitter(SIZE, (0.5, 0.5), pad=128).transform(sample((100, 50)))
    assert results["img"].shape == (SIZE, SIZE, 3) and results["img_shape"] == (SIZE, SIZE)
    assert (results["img"][32:] == 128).all() and (results["img"][:, 16:] == 128).all()
    assert (results["gt_masks"].height, results["gt_masks"].width) == (SIZE, SIZE)


def test_boxes_without_masks_are_clipped():
    results = sample((100, 100))
    del results["gt_masks"]
    results["gt_bboxes"] = HorizontalBoxes(torch.tensor([[10.0, 20, 100, 100], [0, 0, 0.0, 10]]))
    for key in ("gt_bboxes_labels", "gt_ignore_flags"):
        results[key] = results[key][:2]
    results = LargeScaleJitter(SIZE, (0.5, 0.5)).transform(results)
    np.testing.assert_allclose(results["gt_bboxes"].tensor, [[3.2, 6.4, 32, 32]], rtol=1e-6)
    assert results["gt_bboxes_labels"].tolist() == [0]


def test_an_image_without_objects_stays():
    results = LargeScaleJitter(SIZE).transform(sample((48, 64), PolygonMasks([], 48, 64)))
    assert len(results["gt_bboxes"]) == len(results["gt_masks"]) == 0


def test_annotations_that_it_cannot_change_are_refused():
    with pytest.raises(ValueError, match="gt_seg_map"):
        LargeScaleJitter(SIZE).transform({**sample((48, 64)), "gt_seg_map": np.zeros((48, 64))})


@pytest.mark.parametrize(
    "shape, expected", [((48, 64), (48, 64)), ((480, 640), (48, 64)), ((333, 500), (43, 64))]
)
def test_test_images_fit_into_the_square(shape, expected):
    """43: 333 x 64 / 500 = 42.6."""
    image = picture(shape)
    results = FitToSquare(SIZE, pad=128).transform(dict(img=image))
    resized = Image.fromarray(image).resize(expected[::-1], Image.Resampling.BILINEAR)
    height, width = results["img_shape"]
    assert (height, width) == expected and results["img"].shape == (SIZE, SIZE, 3)
    assert (results["img"][:height, :width] == np.asarray(resized)).all()
    assert (results["img"][height:] == 128).all()
    assert FitToSquare(SIZE).transform(dict(img=image))["img"].shape == (*expected, 3)


def test_polygons_stay_polygons_and_run_lengths_become_bitmaps():
    run_lengths = coco_mask.encode(np.asfortranarray(np.eye(20, dtype=np.uint8)))
    run_lengths["counts"] = run_lengths["counts"].decode()

    def load(*instances: tuple) -> PolygonMasks | BitmapMasks:
        described = [
            dict(bbox=[0, 0, 10, 10], bbox_label=0, mask=mask, ignore_flag=crowd)
            for mask, crowd in instances
        ]
        results = dict(instances=described, ori_shape=(20, 20))
        return LoadPolygons(with_bbox=True, with_mask=True)(results)["gt_masks"]

    triangle = [[0, 0, 10, 0, 0, 10]]
    masks = load((triangle, 0), (run_lengths, 1))
    assert isinstance(masks, PolygonMasks) and masks.masks[0][0].tolist() == triangle[0]
    masks = load((triangle, 0), (run_lengths, 0))
    assert isinstance(masks, BitmapMasks) and (masks.masks[1] == np.eye(20)).all()
