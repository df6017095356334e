"""From a folder to drawn predictions, for each task and each layout that people have."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mae_bench.datasets.own_data import find_own_data

from .makers import CocoFolder, class_folder, mask_folder


def test_from_a_folder_to_drawn_detections(commands, tmp_path):
    """Sixty images and one file, as annotation tools export them."""
    made = CocoFolder(tmp_path / "right", train=60, val=1)
    root = tmp_path / "own"
    (root / "annotations").mkdir(parents=True)
    (made.root / "train").rename(root / "images")
    (root / "annotations/instances_default.json").write_text(json.dumps(made.train))
    done = commands("det", root)
    record = done.accepted()
    assert record["data_counts"] == {"test": 12}
    assert done.predict(root / "images/0.png", root / "images/1.png").code == 0
    assert sorted(p.name for p in Path("out/drawn").iterdir()) == ["0.png", "1.png"]
    assert [i["file_name"] for i in json.loads(Path("out/images.json").read_text())["images"]] == [
        "0.png",
        "1.png",
    ]
    # nothing is overwritten
    assert "out: is there already" in done.predict(root / "images").error


def test_broken_images_do_not_stop_a_prediction(commands, tmp_path):
    made = CocoFolder(tmp_path / "own")
    made.save()
    done = commands("det", made.root)
    assert done.train().code == 0
    (made.root / "val/101.png").write_bytes(b"no image")
    ended = done.predict(made.root / "val")
    assert ended.code == 1
    assert "3 of 4 images" in ended.stdout
    assert "left out: " in ended.stdout and "101.png: cannot be decoded" in ended.stdout
    assert len(list(Path("out/drawn").iterdir())) == 3
    assert "absent: no such file or folder" in done.predict("absent").error


def test_without_the_data_a_model_knows_its_classes(commands, tmp_path):
    root = class_folder(tmp_path / "own")
    done = commands("cls", root)
    assert done.train().code == 0
    (root / "val").rename(tmp_path / "elsewhere")
    shutil.rmtree(root)
    assert done.predict(tmp_path / "elsewhere").code == 0
    lines = Path("out/predictions.csv").read_text().splitlines()
    assert lines[0] == "image,class1,score1,class2,score2,class3,score3"
    assert len(lines) == 7 and {line.split(",")[1] for line in lines[1:]} <= {"cat", "dog", "bird"}


def test_another_set_than_the_models_is_refused(commands, tmp_path):
    root = class_folder(tmp_path / "own")
    done = commands("cls", root)
    assert done.train().code == 0
    for split in ("train", "val"):
        (root / split / "cat").rename(root / split / "zebra")
    assert "trained on the classes bird, cat, dog, where it is 'cat'" in done.test().error


def move(root: Path, **places: str) -> None:
    for old, new in places.items():
        (root / new).parent.mkdir(parents=True, exist_ok=True)
        (root / old.replace("__", "/")).rename(root / new)


DETECTION_LAYOUTS = {
    "ours": ({}, "annotations/train.json", "train", "annotations/val.json", "val"),
    "COCO's": (
        dict(
            train="train2017",
            val="val2017",
            annotations__train_json="annotations/instances_train2017.json",
            annotations__val_json="annotations/instances_val2017.json",
        ),
        "annotations/instances_train2017.json",
        "train2017",
        "annotations/instances_val2017.json",
        "val2017",
    ),
    "Roboflow's": (
        dict(
            annotations__train_json="train/_annotations.coco.json",
            val="valid",
            annotations__val_json="valid/_annotations.coco.json",
        ),
        "train/_annotations.coco.json",
        "train",
        "valid/_annotations.coco.json",
        "valid",
    ),
    "flat files": (
        dict(
            train="images/train",
            val="images/val",
            annotations__train_json="train.json",
            annotations__val_json="val.json",
        ),
        "train.json",
        "images/train",
        "val.json",
        "images/val",
    ),
}


@pytest.mark.parametrize("name", DETECTION_LAYOUTS)
def test_layouts_of_detection(name, tmp_path):
    places, *expected = DETECTION_LAYOUTS[name]
    root = CocoFolder(tmp_path / "own").save()
    for old, new in places.items():
        move(root, **{old.replace("_json", ".json").replace(".", "."): new})
    found = find_own_data("det", root)
    train, val = ("train_dataloader.dataset", "val_dataloader.dataset")
    assert [
        found[f"{train}.ann_file"],
        found[f"{train}.data_prefix"]["img"],
        found[f"{val}.ann_file"],
        found[f"{val}.data_prefix"]["img"],
    ] == expected
    assert found["val_evaluator.ann_file"] == str(root / expected[2])
    assert found[f"{train}.metainfo.classes"] == ("cat", "dog", "bird")


SEGMENTATION_LAYOUTS = {
    "ours": ({}, "images/train", "masks/train", "images/val"),
    "ADE20K's": (
        dict(
            images__train="images/training",
            images__val="images/validation",
            masks__train="annotations/training",
            masks__val="annotations/validation",
        ),
        "images/training",
        "annotations/training",
        "images/validation",
    ),
    "split first": (
        dict(
            images__train="train/images",
            images__val="val/images",
            masks__train="train/masks",
            masks__val="val/masks",
        ),
        "train/images",
        "train/masks",
        "val/images",
    ),
    "mmsegmentation's": (
        dict(
            images__train="img_dir/train",
            images__val="img_dir/val",
            masks__train="ann_dir/train",
            masks__val="ann_dir/val",
        ),
        "img_dir/train",
        "ann_dir/train",
        "img_dir/val",
    ),
}


@pytest.mark.parametrize("name", SEGMENTATION_LAYOUTS)
def test_layouts_of_segmentation(name, tmp_path):
    places, images, masks, val = SEGMENTATION_LAYOUTS[name]
    root = mask_folder(tmp_path / "own")
    for old, new in places.items():
        move(root, **{old: new})
    for empty in ("images", "masks"):
        if (root / empty).is_dir() and not any((root / empty).iterdir()):
            (root / empty).rmdir()
    found = find_own_data("seg", root)
    assert found["train_dataloader.dataset.data_prefix"] == dict(
        img_path=images, seg_map_path=masks
    )
    assert found["val_dataloader.dataset.data_prefix"]["img_path"] == val
    assert found["train_dataloader.dataset.metainfo.classes"][0] == "background"


def test_one_folder_of_images_and_masks(tmp_path):
    for i in range(10):
        for kind, mode in (("JPEGImages", "RGB"), ("SegmentationClass", "L")):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.new(mode, (8, 8), 1 if mode == "L" else 0).save(tmp_path / kind / f"{i}.png")
    found = find_own_data("seg", tmp_path)
    assert found["val_dataloader.dataset.hold_out"] == dict(every=5, validate=True)
    assert found["train_dataloader.dataset.metainfo.classes"] == ("class 0", "class 1")
    lists = tmp_path / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("0\n1\n")
    (lists / "val.txt").write_text("2\n")
    found = find_own_data("seg", tmp_path, classes=("a", "b"))
    assert found["val_dataloader.dataset.ann_file"] == "ImageSets/Segmentation/val.txt"
    (tmp_path / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nsky:0,0,1::\nsea:1,1,1::\n"
    )
    found = find_own_data("seg", tmp_path)
    assert found["train_dataloader.dataset.metainfo.classes"] == ("sky", "sea")


def test_the_parts_of_one_set_are_all_of_it(tmp_path):
    from .test_classification_cases import built, one_folder

    root = class_folder(tmp_path / "own", train=7, val=4)
    one_folder(root)
    sets = built(root)
    paths = [
        [dataset.get_data_info(i)["img_path"] for i in range(len(dataset))]
        for dataset in sets.values()
    ]
    assert len({*paths[0], *paths[1]}) == len(paths[0]) + len(paths[1]) == 33
    # two of the eleven images of each class
    labels = [sets["val"].get_data_info(i)["gt_label"] for i in range(len(sets["val"]))]
    assert np.bincount(labels).tolist() == [2, 2, 2]
