"""Odd detection sets: refused in one line by check and training alike, or trained on rightly."""

import copy
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mae_bench.datasets.coco_instances import CocoInstances
from mae_bench.openmmlab.coco_metric import FastCocoMetric

from .conftest import problems_of
from .makers import COLOURS, HEIGHT, IDS, NAMES, SIDE, WIDTH, CocoFolder, box_polygon

Change = Callable[[CocoFolder], Any]


def everywhere(change: Callable[[dict], Any]) -> Change:
    """A change of both files."""

    def both(made: CocoFolder) -> None:
        change(made.train)
        change(made.val)

    return both


def first(**values: Any) -> Change:
    """Set entries of the first training annotation; those of ``...`` are left out."""

    def change(made: CocoFolder) -> None:
        entry = made.train["annotations"][0]
        for key, value in values.items():
            if value is ...:
                del entry[key]
            else:
                entry[key] = value

    return change


def image(**values: Any) -> Change:
    """Set entries of the first training image."""

    def change(made: CocoFolder) -> None:
        entry = made.train["images"][0]
        for key, value in values.items():
            if value is ...:
                del entry[key]
            else:
                entry[key] = value

    return change


def two_corners(made: CocoFolder) -> None:
    for entry in made.train["annotations"]:
        left, top, width, height = entry["bbox"]
        entry["bbox"] = [left, top, left + width, top + height]


def turn(made: CocoFolder, orientation: int) -> None:
    """Store every picture turned, with EXIF saying how to turn it back; annotations stay."""
    exif = Image.Exif()
    exif[274] = orientation
    back = {6: Image.Transpose.ROTATE_90, 3: Image.Transpose.ROTATE_180}[orientation]
    for path in made.root.glob("*/*.png"):
        Image.open(path).transpose(back).save(path, exif=exif)


def stored_annotations(made: CocoFolder) -> None:
    """Pictures with EXIF orientation 6, annotations over the pixels as stored."""
    exif = Image.Exif()
    exif[274] = 6
    for path in made.root.glob("*/*.png"):
        Image.open(path).save(path, exif=exif)


def run_lengths(height: int, width: int) -> str:
    """A mask of the given size, as pycocotools packs it."""
    mask = np.zeros((height, width), np.uint8)
    mask[5:11, 5:11] = 1
    return coco_mask.encode(np.asfortranarray(mask))["counts"].decode()


WRITTEN = object()  # the files are as they are to be
REFUSED_FAST = {
    "no category of the names",
    "image ids as text",
    "upside down by EXIF",
    "a head for more classes",
}


def write(text: str) -> Change:
    def change(made: CocoFolder) -> Any:
        (made.root / "annotations/train.json").write_text(text)
        return WRITTEN

    return change


def second_file(made: CocoFolder) -> None:
    (made.root / "train_2.json").write_text(json.dumps(made.train))


def no_file(made: CocoFolder) -> Any:
    shutil.rmtree(made.root / "annotations")
    return WRITTEN


def no_second_file(made: CocoFolder) -> Any:
    (made.root / "annotations/val.json").unlink()
    return WRITTEN


REFUSED: dict[str, tuple[Change, list[str], list[str]]] = {
    # name: change of the right set, options, words of the line
    "no category of the names": (
        lambda made: None,
        ["own_data.classes=('Cat','Dog','Bird')"],
        ["train.json", "no category 'Cat'", "is it 'cat'?", "3 of the 3", "metainfo.classes"],
    ),
    "one wrong name": (
        lambda made: None,
        ["own_data.classes=('cat','dogs','bird')"],
        ["no category 'dogs'", "1 of the 3", "'cat', 'dog', 'bird'"],
    ),
    "category in val only": (
        lambda made: made.val["categories"].append(dict(id=1, name="horse")),
        ["own_data.classes=('cat','dog','horse')"],
        ["train.json", "no category 'horse'"],
    ),
    "unknown category": (
        first(category_id=8),
        [],
        ["1 annotations are of no category in the file", "annotation 1 of category 8"],
    ),
    "category id as text": (
        everywhere(lambda data: [c.update(id=str(c["id"])) for c in data["categories"]]),
        [],
        ["categories have no whole number as id", "'cat' has the id '7'"],
    ),
    "category named twice": (
        lambda made: made.train["categories"].append(dict(id=1, name="cat")),
        [],
        ["categories' names occur twice", "cat"],
    ),
    "category without a name": (
        lambda made: made.train["categories"][0].pop("name"),
        [],
        ["categories have no name"],
    ),
    "two images of one id": (
        lambda made: made.train["images"][1].update(id=1),
        [],
        ["images' ids occur twice", "give each image its own"],
    ),
    "image ids as text": (
        everywhere(
            lambda data: [
                entry.update({key: f"img{entry[key]}"})
                for table, key in (("images", "id"), ("annotations", "image_id"))
                for entry in data[table]
            ]
        ),
        [],
        ["images have no whole number as id", "has the id 'img1'"],
    ),
    "image_id as text": (
        first(image_id="1"),
        [],
        ["annotations are of no image", "annotation 1 of image '1'"],
    ),
    "box of five numbers": (first(bbox=[1, 2, 3, 4, 5]), [], ["no bbox of four", "1, 2, 3, 4, 5"]),
    "box of text": (first(bbox=["1", "2", "3", "4"]), [], ["no bbox of four numbers"]),
    "no box": (first(bbox=...), [], ["annotation 1 has None"]),
    "boxes as two corners": (
        two_corners,
        [],
        ["boxes end outside", "width, height], not two corners"],
    ),
    "no width": (image(width=...), [], ["images have no width", "'0.png'"]),
    "height of zero": (image(height=0), [], ["images have no width or height"]),
    "no file name": (image(file_name=...), [], ["images have no file_name", "entry 0"]),
    "some without a mask": (
        first(segmentation=[]),
        [],
        ["annotations have no segmentation", "annotation 1", "docs/own_data.md"],
    ),
    "null as mask": (first(segmentation=None), [], ["annotations have no segmentation"]),
    "flat polygon": (
        first(segmentation=[1, 1, 9, 1, 9, 9]),
        [],
        ["polygon that is not in a list", "[[x, y, ...]]"],
    ),
    "odd polygon": (first(segmentation=[[1, 1, 9, 1, 9, 9, 4]]), [], ["none of COCO's forms"]),
    "mask of another size": (
        first(segmentation=dict(size=[WIDTH, HEIGHT], counts=[0, WIDTH * HEIGHT])),
        [],
        ["masks are of another size", f"mask {HEIGHT}x{WIDTH} in {WIDTH}x{HEIGHT}"],
    ),
    "mask in characters that are none": (
        first(segmentation=dict(size=[HEIGHT, WIDTH], counts="zz~~~")),
        [],
        ["counts that do not fill"],
    ),
    "mask in characters for another size": (
        first(segmentation=dict(size=[HEIGHT, WIDTH], counts=run_lengths(WIDTH, WIDTH))),
        [],
        ["counts that do not fill"],
    ),
    "mask far outside of its image": (
        # with which pycocotools ends the process
        first(segmentation=[[2, 23, 5.4e16, 23, 16, 37, 2, 37]]),
        [],
        ["a segmentation that is none of COCO's forms"],
    ),
    "mask outside by more than the image": (
        first(segmentation=[[2, 23, 5.4e9, 23, 16, 37, 2, 37]]),
        [],
        ["masks end far outside of their images", "to 5400000000.0, 37"],
    ),
    "annotations that are null": (
        lambda made: made.train.update(annotations=None),
        [],
        ["entries of 'annotations' are no objects (it is no list)"],
    ),
    "mask beside its box": (
        first(segmentation=box_polygon(30, 1, SIDE, SIDE)),
        [],
        ["masks lie beside their boxes", "polygons from 30, 1 to 44, 15, bbox [2,"],
    ),
    "class named twice": (
        lambda made: None,
        ["own_data.classes=('cat','dog','dog')"],
        ["two classes are called 'dog'"],
    ),
    "mask that overflows": (
        first(segmentation=dict(size=[HEIGHT, WIDTH], counts=[0, 10**9])),
        [],
        ["counts that do not fill"],
    ),
    "iscrowd of two": (first(iscrowd=2), [], ["another iscrowd than 0 and 1"]),
    "no objects at all": (
        lambda made: made.train.update(annotations=[]),
        [],
        ["none of its 6 images has an object"],
    ),
    "nothing but crowds": (
        lambda made: [entry.update(iscrowd=1) for entry in made.train["annotations"]],
        [],
        ["has an object of the classes", "but crowds"],
    ),
    "nothing but boxes without area": (
        lambda made: [entry.update(bbox=[1, 1, 0, 5]) for entry in made.train["annotations"]],
        [],
        ["none of its 6 images has an object"],
    ),
    "nothing to evaluate": (
        lambda made: made.val.update(annotations=[]),
        [],
        ["nothing to evaluate"],
    ),
    "nothing but crowds to evaluate": (
        lambda made: [entry.update(iscrowd=1) for entry in made.val["annotations"]],
        [],
        ["no object of the classes", "nothing to evaluate"],
    ),
    "a list": (
        write('[{"images": 1}]'),
        [],
        ["train.json", "no annotation file of COCO"],
    ),
    "annotations as a dict": (
        lambda made: made.train.update(annotations={"1": {}}),
        [],
        ["entries of 'annotations'", "write the file again"],
    ),
    "not JSON": (
        write('{"images": ['),
        [],
        ["train.json", "not JSON"],
    ),
    "an image is missing": (
        lambda made: (made.root / "train/3.png").unlink(),
        [],
        ["1 of its images are not on disk", "3.png"],
    ),
    "annotations over stored pixels": (
        stored_annotations,
        [],
        ["images have an EXIF orientation", "as they are stored", "exif_orientation=False"],
    ),
    "upside down by EXIF": (
        lambda made: turn(made, 3),
        [],
        ["EXIF orientation of which sizes tell nothing", "exif_orientation=True"],
    ),
    "images of another size": (
        lambda made: Image.new("RGB", (30, 30)).save(made.root / "train/0.png"),
        [],
        ["images are of another size", "0.png is 30x30, its annotations are for 48x40"],
    ),
    "a head for more classes": (
        lambda made: None,
        ["model.roi_head.bbox_head.num_classes=10"],
        ["model.roi_head.bbox_head.num_classes=10", "metainfo.classes says 3"],
    ),
    "an evaluator of another file": (
        lambda made: None,
        ["val_evaluator.ann_file=own/annotations/train.json"],
        ["val_evaluator.ann_file", "not the file that val_dataloader reads"],
    ),
    "two annotation files": (
        second_file,
        [],
        ["which is it?", "own_data.train=train_2.json"],
    ),
    "no file for the images of val": (
        no_second_file,
        [],
        ["own/val: has images, and what is in them is written nowhere"],
    ),
    "no annotation file": (
        no_file,
        [],
        ["no annotation file of COCO", "own_data.train=FILE"],
    ),
}


def make_refused(name: str, root: Path) -> tuple[list[str], list[str]]:
    """Write the set; options and words of the line."""
    change, options, words = REFUSED[name]
    made = CocoFolder(root)
    made.save()
    if change(made) is not WRITTEN:
        made.save()
    return options, words


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_check(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options, words = make_refused(name, Path("own"))
    said = problems_of("det", Path("own"), options)
    assert any(all(word in line for word in words) for line in said), said


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in REFUSED_FAST else pytest.mark.slow) for n in REFUSED]
)
def test_refused(name, commands, tmp_path):
    options, words = make_refused(name, tmp_path / "own")
    commands("det", Path("own"), *options).refused(*words)


def with_extra(**values: Any) -> Change:
    """One more object in every image, which nothing can be learned from."""

    def change(data: dict) -> None:
        for entry in data["images"]:
            right = dict(
                id=1000 + entry["id"],
                image_id=entry["id"],
                category_id=IDS["cat"],
                bbox=[5, 5, 6, 6],
                area=36,
                segmentation=box_polygon(5, 5, 6, 6),
                iscrowd=0,
            )
            data["annotations"].append({**right, **values})

    return everywhere(change)


def crowd(data: dict) -> None:
    """A region of many birds in every image, as run lengths."""
    for entry in data["images"]:
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[:, 20:28] = 1
        runs = np.diff(np.flatnonzero(np.diff(mask.T.ravel(), prepend=0, append=1)), prepend=0)
        data["annotations"].append(
            dict(
                id=2000 + entry["id"],
                image_id=entry["id"],
                category_id=IDS["bird"],
                bbox=[20, 0, 8, HEIGHT],
                area=8 * HEIGHT,
                iscrowd=1,
                segmentation=dict(size=[HEIGHT, WIDTH], counts=runs.tolist()),
            )
        )


def rewrite(suffix: str, mode: str = "RGB", deep: bool = False) -> Change:
    """Every picture in another format."""

    def change(made: CocoFolder) -> None:
        for path in sorted(made.root.glob("*/*.png")):
            pixels = Image.open(path).convert(mode)
            new = path.with_suffix(suffix)
            path.unlink()
            if deep:
                cv2.imwrite(str(new), np.asarray(pixels)[..., ::-1].astype(np.uint16) * 257)
            else:
                pixels.save(new, **(dict(lossless=True) if suffix == ".webp" else {}))
        for data in (made.train, made.val):
            for entry in data["images"]:
                entry["file_name"] = str(Path(entry["file_name"]).with_suffix(suffix))

    return change


def rename(template: str) -> Change:
    def change(made: CocoFolder) -> None:
        for split in ("train", "val"):
            for entry in getattr(made, split)["images"]:
                old = made.root / split / entry["file_name"]
                entry["file_name"] = template.format(entry["file_name"])
                new = made.root / split / entry["file_name"]
                new.parent.mkdir(exist_ok=True)
                old.rename(new)

    return change


def other_ids(made: CocoFolder) -> None:
    """Other ids for the same names in the validation file."""
    new = {7: 1, 30: 2, 90: 3}
    for entry in made.val["categories"]:
        entry["id"] = new[entry["id"]]
    for entry in made.val["annotations"]:
        entry["category_id"] = new[entry["category_id"]]


def unused_category(data: dict) -> None:
    data["categories"].insert(0, dict(id=0, name="animals"))


EMPTY = coco_mask.encode(np.zeros((HEIGHT, WIDTH), np.uint8, order="F"))["counts"].decode()


def in_characters(data: dict) -> None:
    """Masks as pycocotools packs them."""
    for entry in data["annotations"]:
        packed = coco_mask.frPyObjects(entry["segmentation"], HEIGHT, WIDTH)[0]
        entry["segmentation"] = dict(size=[HEIGHT, WIDTH], counts=packed["counts"].decode())


def without(key: str) -> Change:
    return everywhere(lambda data: [entry.pop(key) for entry in data["annotations"]])


ACCEPTED: dict[str, tuple[Change, list[str]]] = {
    # name: change of the right set, words in the log
    "as it is": (lambda made: None, []),
    "categories of val in another order": (lambda made: made.val["categories"].reverse(), []),
    "categories of both in another order": (
        everywhere(lambda data: data["categories"].reverse()),
        [],
    ),
    "other category ids in val": (other_ids, []),
    "a category without objects": (everywhere(unused_category), []),
    "annotation ids from 0": (
        everywhere(
            lambda data: [entry.update(id=entry["id"] - 1) for entry in data["annotations"]]
        ),
        ["ids that are missing, 0"],
    ),
    "no annotation ids": (without("id"), ["ids that are missing"]),
    "every annotation twice": (
        everywhere(lambda data: data["annotations"].extend(copy.deepcopy(data["annotations"]))),
        ["annotations are the same as one before"],
    ),
    "one annotation id for all": (
        everywhere(lambda data: [entry.update(id=5) for entry in data["annotations"]]),
        ["there twice"],
    ),
    "no areas": (without("area"), ["areas that are missing"]),
    "areas of 0": (
        everywhere(lambda data: [entry.update(area=0) for entry in data["annotations"]]),
        ["areas that are missing or not positive"],
    ),
    "no iscrowd": (without("iscrowd"), []),
    "boxes without width": (with_extra(bbox=[5, 5, 0, 6]), ["boxes have no area"]),
    "negative boxes": (with_extra(bbox=[9, 9, -4, -4]), ["boxes have no area"]),
    "NaN in a box": (with_extra(bbox=[math.nan, 5, 6, 6]), ["boxes have no area"]),
    "a number of 400 digits in a box": (
        with_extra(bbox=[10**400, 5, 6, 6]),
        ["boxes have no area"],
    ),
    "boxes far outside": (with_extra(bbox=[500, 5, 6, 6]), ["boxes lie outside of their image"]),
    "polygons of two points": (
        with_extra(segmentation=[[5, 5, 11, 11]]),
        ["polygons have no area"],
    ),
    "polygons outside": (
        with_extra(segmentation=box_polygon(500, 5, 6, 6)),
        ["masks lie outside of their image"],
    ),
    "empty masks in characters": (
        with_extra(segmentation=dict(size=[HEIGHT, WIDTH], counts=EMPTY)),
        ["masks are empty"],
    ),
    "masks in characters": (everywhere(in_characters), []),
    "a two-point polygon before the mask": (
        everywhere(
            lambda data: [e["segmentation"].insert(0, [1, 1, 2, 2]) for e in data["annotations"]]
        ),
        [],
    ),
    "floats as ids": (
        everywhere(lambda data: [e.update(id=float(e["id"])) for e in data["annotations"]]),
        [],
    ),
    "crowds": (everywhere(crowd), []),
    "upright over pictures on their side": (lambda made: turn(made, 6), []),
    "names with folders, blanks and umlauts": (rename("deep er/bild_ü {}"), []),
    "suffixes in capitals": (rename("{}.PNG"), []),
    "grey": (rewrite(".png", "L"), []),
    "with an alpha channel": (rewrite(".png", "RGBA"), []),
    "16 bits": (rewrite(".png", deep=True), []),
    "WebP": (rewrite(".webp"), []),
    "bitmaps": (rewrite(".bmp"), []),
    "TIFF": (rewrite(".tiff"), []),
    "GIF": (rewrite(".gif"), []),
}
KEYS = ("bboxes", "labels", "scores", "masks")
GREY = {"grey"}  # the squares' colours cannot tell the names


def build(root: Path, split: str, classes: tuple[str, ...] = NAMES) -> CocoInstances:
    from mmdet.datasets.transforms import LoadAnnotations, PackDetInputs

    from mae_bench.datasets.loading import LoadImage

    return CocoInstances(
        data_root=str(root),
        ann_file=f"annotations/{split}.json",
        data_prefix=dict(img=split),
        metainfo=dict(classes=classes),
        test_mode=split == "val",
        pipeline=[LoadImage(), LoadAnnotations(with_bbox=True, with_mask=True), PackDetInputs()],
    )


def nearest_name(colour: np.ndarray) -> str:
    return min(COLOURS, key=lambda name: np.abs(np.array(COLOURS[name]) - colour).sum())


@pytest.mark.parametrize("name", ACCEPTED)
def test_labels_are_the_squares_that_one_sees(name, tmp_path):
    """Of every image: a label's name is the colour under its box; nothing is missing or added.

    And so the average precision of a perfect model is 1, as pycocotools says of the right set.
    """
    made = CocoFolder(tmp_path / "own")
    ACCEPTED[name][0](made)
    made.save()
    for classes in (NAMES, NAMES[::-1]):
        for split, count in (("train", 6), ("val", 4)):
            check_squares(build(made.root, split, classes), count, name not in GREY)
    dataset = build(made.root, "val")
    metric = FastCocoMetric(str(made.root / "annotations/val.json"))
    metric.dataset_meta = dataset.metainfo
    metric.process({}, perfect(dataset))
    metrics = metric.evaluate(len(dataset))
    reference = reference_of(CocoFolder(tmp_path / "right").val, perfect(dataset))
    for kind in ("bbox", "segm"):
        assert reference[kind] == pytest.approx(1.0)
        assert metrics[f"coco/{kind}_mAP"] == pytest.approx(1.0)


def check_squares(dataset: CocoInstances, count: int, coloured: bool) -> None:
    assert len(dataset) == count
    for i in range(count):
        sample = dataset[i]
        truth = sample["data_samples"].gt_instances
        pixels = sample["inputs"].numpy()[::-1].transpose(1, 2, 0)  # RGB
        assert pixels.shape == (HEIGHT, WIDTH, 3)
        assert len(truth) == 2
        for box, label, mask in zip(
            truth.bboxes.tensor, truth.labels, truth.masks.masks, strict=True
        ):
            left, top, right, bottom = map(int, box)
            assert (right - left, bottom - top) == (SIDE, SIDE)
            assert mask[top:bottom, left:right].all() and mask.sum() == SIDE * SIDE
            inside = pixels[top + 3 : bottom - 3, left + 3 : right - 3].mean((0, 1))
            if coloured:
                assert nearest_name(inside) == dataset.metainfo["classes"][label]


def perfect(dataset: CocoInstances) -> list[dict[str, Any]]:
    """Predictions that find every object of a data set where it is."""
    import torch

    found = []
    for i in range(len(dataset)):
        sample = dataset[i]["data_samples"]
        truth = sample.gt_instances
        found.append(
            dict(
                img_id=sample.img_id,
                ori_shape=sample.ori_shape,
                pred_instances=dict(
                    bboxes=truth.bboxes.tensor,
                    labels=truth.labels,
                    scores=torch.linspace(0.9, 0.8, len(truth)),
                    masks=torch.from_numpy(truth.masks.masks).bool(),
                ),
            )
        )
    return found


def reference_of(data: dict, predictions: list[dict[str, Any]]) -> dict[str, float]:
    """pycocotools' AP of predictions, whose labels are places in NAMES, on a right set."""

    truth = COCO()
    truth.dataset = data
    truth.createIndex()
    found = []
    for image, prediction in zip(data["images"], predictions, strict=True):
        objects = prediction["pred_instances"]
        for box, label, score, mask in zip(*map(objects.get, KEYS), strict=True):
            left, top, right, bottom = box.tolist()
            encoded = coco_mask.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))
            found.append(
                dict(
                    image_id=image["id"],
                    category_id=IDS[NAMES[label]],
                    bbox=[left, top, right - left, bottom - top],
                    score=float(score),
                    segmentation=encoded,
                )
            )
    values = {}
    for kind in ("bbox", "segm"):
        counts = COCOeval(truth, truth.loadRes([dict(entry) for entry in found]), kind)
        counts.evaluate()
        counts.accumulate()
        counts.summarize()
        values[kind] = counts.stats[0]
    return values


FAST = {"as it is"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in FAST else pytest.mark.slow) for n in ACCEPTED]
)
def test_accepted(name, commands, tmp_path):
    change, remarks = ACCEPTED[name]
    made = CocoFolder(tmp_path / "own")
    change(made)
    made.save()
    record = commands("det", tmp_path / "own").accepted(*remarks)
    assert record["data_counts"] == {"test": 4}
    assert record["metrics"].keys() >= {"coco/bbox_mAP", "coco/segm_mAP"}


def test_images_that_are_trained_on_and_evaluated_are_named(commands, tmp_path):
    made = CocoFolder(tmp_path / "own")
    made.save()
    for split in ("train", "val"):
        (made.root / split).rename(made.root / f"{split}_images")
    (made.root / "val_images").rename(made.root / "images")
    known = made.train["images"][:2]
    for path in (made.root / "train_images").iterdir():
        path.rename(made.root / "images" / path.name)
    known_ids = {entry["id"] for entry in known}
    made.val["images"] += known
    made.val["annotations"] += [a for a in made.train["annotations"] if a["image_id"] in known_ids]
    for split, data in (("train", made.train), ("val", made.val)):
        (made.root / f"annotations/{split}.json").write_text(json.dumps(data))
    remark = "2 images of val_dataloader.dataset are trained on too (0.png; 1.png): "
    commands("det", tmp_path / "own").accepted(remark)


@pytest.mark.slow
def test_stored_pixels_when_said(commands, tmp_path):
    made = CocoFolder(tmp_path / "own")
    stored_annotations(made)
    made.save()
    options = [f"{part}_dataloader.dataset.exif_orientation=False" for part in ("train", "val")]
    commands("det", tmp_path / "own", *options).accepted()
    dataset = CocoInstances(
        data_root=str(made.root),
        ann_file="annotations/val.json",
        data_prefix=dict(img="val"),
        metainfo=dict(classes=NAMES),
        exif_orientation=False,
    )
    assert not dataset.get_data_info(0)["exif_orientation"]


def test_boxes_without_masks(commands, tmp_path):
    made = CocoFolder(tmp_path / "own")
    without("segmentation")(made)
    made.save()
    done = commands("det", tmp_path / "own")
    record = done.accepted()
    assert "coco/bbox_mAP" in record["metrics"] and "coco/segm_mAP" not in record["metrics"]
    assert done.predict(made.root / "val").code == 0
    found = json.loads(Path("out/detections.json").read_text())
    assert found and all("segmentation" not in entry for entry in found)
    # as pycocotools reads it, with the ids of the file beside it
    COCO("out/images.json").loadRes("out/detections.json")


def test_a_part_of_the_images_is_evaluated_by_itself(tmp_path):
    made = CocoFolder(tmp_path / "own")
    made.save()
    dataset = build(made.root, "val")
    metric = FastCocoMetric(str(made.root / "annotations/val.json"))
    metric.dataset_meta = dataset.metainfo
    metric.process({}, perfect(dataset)[:2])
    assert metric.evaluate(2)["coco/bbox_mAP"] == pytest.approx(1.0)
    metric.process({}, [{**perfect(dataset)[0], "img_id": 777}])
    with pytest.raises(ValueError, match="has no image 777, which was run"):
        metric.evaluate(1)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-60])


def test_a_truncated_image(commands, tmp_path):
    made = CocoFolder(tmp_path / "own")
    made.save()
    truncate(made.root / "train/0.png")
    commands("det", tmp_path / "own").refused("0.png", "cannot be decoded")


def test_a_truncated_image_among_many(commands, tmp_path):
    made = CocoFolder(tmp_path / "own")
    made.save()
    truncate(made.root / "train/0.png")
    done = commands("det", tmp_path / "own", "train_cfg.max_broken_share=0.5")
    assert done.train().code == 0
    assert "0.png: cannot be decoded" in " ".join(p.read_text() for p in Path("run").rglob("*.log"))
