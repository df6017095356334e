"""Drawn predictions: outlines where the objects are, labels where they are not."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
from PIL import Image

from mae_bench.training.hooks import DrawPredictions
from mae_bench.visualize.regions import LINE, MARGIN, Region, draw_regions

RED = (0, 0, 255)
META = {"classes": ("background", "one", "two"), "palette": [[0, 0, 0], [255, 0, 0], [0, 255, 0]]}


def test_small_picture_is_enlarged_without_blur():
    image = np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8)
    drawn = draw_regions(image, ())
    assert drawn.shape == (192 + 2 * MARGIN, 240 + 2 * MARGIN, 3)
    inner = drawn[MARGIN:-MARGIN, MARGIN:-MARGIN]
    assert np.array_equal(inner[::6, ::6], image)
    assert np.array_equal(inner[5::6, 5::6], image)


@pytest.mark.parametrize(
    "box",
    [(10, 10, 20, 20), (0, 0, 8, 8), (24, 24, 32, 32), (0, 0, 32, 32), (0, 24, 6, 32)],
)
def test_label_never_covers_its_object(box):
    image = np.full((32, 32, 3), 128, np.uint8)
    drawn = draw_regions(image, [Region("three 98%", box, None, RED)])
    left, top, right, bottom = (6 * x + MARGIN for x in box)
    inside = drawn[top + 2 : bottom - 1, left + 2 : right - 1]
    assert (inside == 128).all()
    # and it is there: black around white letters
    assert (drawn == 0).all(axis=2).sum() > 300
    assert (drawn[top : bottom + 1, left] == RED).all()


def test_labels_without_a_place_are_listed_below():
    image = np.full((32, 32, 3), 128, np.uint8)
    whole = Region("four", (0, 0, 32, 32), None, RED)
    drawn = draw_regions(image, [whole] * 6)
    strip = drawn.shape[0] - (192 + 2 * MARGIN)
    assert strip > 0 and strip % LINE == 0


def test_mask_is_outlined_where_it_is():
    mask = np.zeros((32, 32), bool)
    mask[8:16, 4:20] = True
    image = np.full((32, 32, 3), 128, np.uint8)
    drawn = draw_regions(image, [Region("x", (4, 8, 20, 16), mask, RED)])
    rows, columns = np.nonzero((drawn[:, : 21 * 6 + MARGIN] == RED).all(axis=2))
    region = drawn[MARGIN + 8 * 6 : MARGIN + 16 * 6, MARGIN + 4 * 6 : MARGIN + 20 * 6]
    assert (region[10:-10, 10:-10] == 128).all()  # the object itself stays to be seen
    assert (region[0, 10:-10] == RED).all()
    assert (region[-1, 10:-10] == RED).all()
    assert len(rows) and columns.min() >= MARGIN + 4 * 6 - 8


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), np.full((32, 32, 3), 90, np.uint8))
    return str(path)


def make_runner(tmp_path, done=10, total=10):
    loader = SimpleNamespace(dataset=SimpleNamespace(metainfo=META))
    return SimpleNamespace(
        work_dir=str(tmp_path),
        iter=done,
        max_iters=total,
        val_dataloader=loader,
        test_dataloader=loader,
        visualizer=SimpleNamespace(_vis_backends={}),
        logger=None,  # a drawing that fails would be logged
    )


def detection(picture):
    sample = DetDataSample(metainfo={"img_path": picture})
    masks = np.zeros((1, 32, 32), np.uint8)
    masks[0, 4:12, 4:12] = 1
    box = torch.tensor([[4.0, 4, 12, 12]])
    sample.gt_instances = InstanceData(
        labels=torch.tensor([1]), bboxes=box, masks=BitmapMasks(masks, 32, 32)
    )
    sample.pred_instances = InstanceData(
        labels=torch.tensor([2, 1]),
        bboxes=torch.cat([box, box + 9]),
        scores=torch.tensor([0.914, 0.1]),
        masks=torch.from_numpy(np.concatenate([masks, masks])).bool(),
    )
    return sample


def segmentation(picture):
    sample = SegDataSample(metainfo={"img_path": picture})
    truth = torch.zeros(1, 32, 32, dtype=torch.long)
    truth[0, 4:12, 4:12] = 1
    sample.gt_sem_seg = PixelData(data=truth)
    sample.pred_sem_seg = PixelData(data=torch.where(truth == 1, 2, 0))
    return sample


@pytest.mark.parametrize(
    ("make", "text"),
    [(detection, "truth: one; predicted: two 91%"), (segmentation, "truth: one; predicted: two")],
)
def test_hook_writes_picture_and_text(tmp_path, picture, make, text):
    hook = DrawPredictions(interval=2)
    for index in range(3):
        hook.after_val_iter(make_runner(tmp_path), index, outputs=[make(picture)])
    folder = tmp_path / "predictions"
    names = sorted(path.name for path in folder.iterdir())
    stems = ("sample_0000", "sample_0002")
    assert names == sorted(f"{stem}.{kind}" for stem in stems for kind in ("png", "txt"))
    drawn = cv2.imread(str(folder / "sample_0000.png"))
    assert drawn.shape[1] == 3 * (192 + 2 * MARGIN)
    assert (folder / "sample_0000.txt").read_text().strip().endswith(text)


def test_validation_in_the_middle_is_not_drawn(tmp_path, picture):
    hook = DrawPredictions(interval=1)
    hook.after_val_iter(make_runner(tmp_path, done=5), 0, outputs=[detection(picture)])
    assert not (tmp_path / "predictions").exists()
    hook.after_test_iter(make_runner(tmp_path, done=0), 0, outputs=[detection(picture)])
    assert (tmp_path / "predictions/sample_0000.png").is_file()


def test_a_drawing_that_fails_is_named_once_and_ends_no_evaluation(tmp_path):
    runner, hook, warnings = make_runner(tmp_path), DrawPredictions(interval=1), []
    runner.logger = SimpleNamespace(warning=warnings.append)
    for index in range(2):
        hook.after_test_iter(runner, index, outputs=[detection("nowhere.png")])
    assert len(warnings) == 1
    assert "predictions are drawn no more" in warnings[0] and "nowhere.png" in warnings[0]


def test_without_annotations(tmp_path, picture):
    sample = DetDataSample(metainfo={"img_path": picture})
    sample.pred_instances = detection(picture).pred_instances
    DrawPredictions(interval=1).after_test_iter(make_runner(tmp_path), 0, outputs=[sample])
    drawn = cv2.imread(str(tmp_path / "predictions/sample_0000.png"))
    assert drawn.shape[1] == 2 * (192 + 2 * MARGIN)
    text = (tmp_path / "predictions/sample_0000.txt").read_text()
    assert text == "predicted: two 91%\n"


def test_names_outside_ascii_and_wide_ones():
    image = np.full((32, 32, 3), 128, np.uint8)
    for name in ("Kätzchen", "собака", "x" * 80):
        wide = Region(name, (0, 0, 32, 32), None, RED)
        drawn = draw_regions(image, [wide, wide])
        other = draw_regions(image, [Region("?" * len(name), wide.box, None, RED)] * 2)
        assert drawn.shape != other.shape or not np.array_equal(drawn, other)
    assert drawn.shape[1] > 192 + 2 * MARGIN  # not cut off


def test_oriented_image_is_drawn_as_it_was_read(tmp_path):
    path = tmp_path / "phone.jpg"
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (40, 20)).save(path, exif=exif)
    shapes = []
    for said in (None, True, False):
        runner = make_runner(tmp_path)
        runner.test_dataloader.dataset.exif_orientation = said
        DrawPredictions(interval=1).after_test_iter(runner, 0, outputs=[detection(str(path))])
        drawn = cv2.imread(str(tmp_path / "predictions/sample_0000.png"))
        shapes.append(drawn.shape[1] // 3 > drawn.shape[0])
    assert shapes == [False, False, True]
