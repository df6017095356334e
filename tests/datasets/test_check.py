"""Each mistake in the data is named, with its fix."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mae_bench.config.load import load_config
from mae_bench.datasets.check import COUNTS, check_data

ROOT = Path(__file__).parents[2]
DETECTION = ROOT / "configs/det/mask_rcnn_vit_base_coco.py"
SEGMENTATION = ROOT / "configs/seg/upernet_vit_base_ade20k.py"
CLASSIFICATION = ROOT / "configs/cls/vit_base_finetune_in1k.py"


@pytest.fixture(autouse=True)
def small_releases(monkeypatch):
    """Two pictures are what the published sets have."""
    monkeypatch.setattr("mae_bench.datasets.check.COUNTS", dict.fromkeys(COUNTS, 2))


def coco(root: Path, **changes: Any) -> Config:
    """A right COCO in which the first annotation of the validation set is changed."""
    cfg = load_config(DETECTION)
    names = cfg.val_dataloader.dataset.type
    from mmengine.config.lazy import LazyObject

    dataset = names.build() if isinstance(names, LazyObject) else names
    for split in ("train2017", "val2017"):
        (root / split).mkdir(parents=True)
        images, annotations = [], []
        for i in (1, 2):
            Image.new("RGB", (40, 30)).save(root / split / f"{i}.jpg")
            images.append(dict(id=i, width=40, height=30, file_name=f"{i}.jpg"))
            annotations.append(
                dict(
                    id=i,
                    image_id=i,
                    category_id=1,
                    bbox=[1, 1, 39, 29],
                    segmentation=dict(size=[30, 40], counts=[0, 1200]),
                    area=1200,
                    iscrowd=0,
                )
            )
        if split == "val2017":
            annotations[0].update(changes)
        data = dict(
            images=images,
            annotations=annotations,
            categories=[
                dict(id=i + 1, name=name) for i, name in enumerate(dataset.METAINFO["classes"])
            ],
        )
        (root / "annotations").mkdir(exist_ok=True)
        (root / f"annotations/instances_{split}.json").write_text(json.dumps(data))
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(root)
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        evaluator.ann_file = str(root / "annotations/instances_val2017.json")
    return cfg


def the_problem(cfg: Config) -> str:
    _, problems = check_data(cfg)
    assert len(problems) == 1, problems
    return problems[0]


def test_right_data_passes(tmp_path):
    summary, problems = check_data(coco(tmp_path))
    assert problems == []
    assert [line.split(":")[0] for line in summary] == [
        "train_dataloader.dataset",
        "val_dataloader.dataset",
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            dict(bbox=[30, 1, 20, 5]),
            "1 annotations lie outside of their picture (annotation 1, box",
        ),
        (dict(bbox=[-3, 1, 20, 5]), "outside of their picture"),
        (dict(segmentation=dict(size=[40, 30], counts=[0, 1200])), "mask 30x40 in 40x30"),
        (dict(image_id=77), "annotation 1 of picture 77"),
    ],
)
def test_annotations(changes, words, tmp_path):
    problem = the_problem(coco(tmp_path, **changes))
    assert words in problem
    assert "correct or remove them" in problem and problem.startswith("val_dataloader")


def test_missing_folders_and_files(tmp_path):
    cfg = coco(tmp_path)
    (tmp_path / "annotations/instances_val2017.json").unlink()
    assert "instances_val2017.json: no such file: unpack" in the_problem(cfg)
    (tmp_path / "annotations/instances_val2017.json").write_text("[]")
    assert "no annotation file of COCO" in the_problem(cfg)
    shutil.rmtree(tmp_path)
    _, problems = check_data(cfg)
    assert all("no such folder: put or link the data there" in problem for problem in problems)


def test_evaluator_of_another_file(tmp_path):
    cfg = coco(tmp_path)
    cfg.test_evaluator = None
    cfg.val_evaluator.ann_file = "data/coco/annotations/instances_val2017.json"
    problem = the_problem(cfg)
    assert problem.startswith(
        "val_evaluator.ann_file: data/coco/annotations/instances_val2017.json"
    )
    assert f"reads, {tmp_path}/annotations/instances_val2017.json: set it to" in problem


def test_pictures(tmp_path):
    cfg = coco(tmp_path)
    picture = tmp_path / "val2017/1.jpg"
    Image.new("RGB", (30, 40)).save(picture)
    assert "1.jpg is 30x40, the annotation file says 40x30" in the_problem(cfg)
    picture.write_text("no picture")
    assert "1 pictures cannot be decoded" in the_problem(cfg)
    picture.unlink()
    assert "1 pictures are listed and not on disk" in the_problem(cfg)


def test_categories_and_counts(tmp_path, monkeypatch):
    cfg = coco(tmp_path)
    cfg.val_dataloader.dataset.metainfo = dict(classes=("person", "unicorn"))
    cfg.test_dataloader = None
    assert "lacks 1 of the config's 2 categories, first 'unicorn'" in the_problem(cfg)
    del cfg.val_dataloader.dataset["metainfo"]
    monkeypatch.setitem(COUNTS, ("CocoDataset", "val2017"), 5_000)
    monkeypatch.setattr(
        "mae_bench.datasets.check.COUNTS", {**COUNTS, ("CocoDataset", "train2017"): 2}
    )
    assert "2 pictures, the published data set has 5,000" in the_problem(cfg)


def ade20k(root: Path) -> Config:
    cfg = load_config(SEGMENTATION)
    for split in ("training", "validation"):
        for folder in ("images", "annotations"):
            (root / folder / split).mkdir(parents=True)
        for i in (1, 2):
            Image.new("RGB", (40, 30)).save(root / f"images/{split}/{i}.jpg")
            Image.new("L", (40, 30), 150).save(root / f"annotations/{split}/{i}.png")
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(root)
    return cfg


def test_masks(tmp_path):
    cfg = ade20k(tmp_path)
    assert check_data(cfg)[1] == []
    mask = tmp_path / "annotations/validation/2.png"
    Image.new("L", (30, 40)).save(mask)
    assert "2.png is 30x40, its picture 40x30" in the_problem(cfg)
    Image.fromarray(np.full((30, 40), 151, np.uint8)).save(mask)
    assert "labels beyond the 150 classes" in the_problem(cfg)
    mask.unlink()
    assert "1 pictures have no mask" in the_problem(cfg)
    shutil.rmtree(tmp_path / "annotations/validation")
    assert "annotations/validation: no such folder" in the_problem(cfg)


def test_classification(tmp_path):
    cfg = load_config(CLASSIFICATION)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.update(data_root=str(tmp_path), metainfo=dict(classes=["a", "b"]))
    cfg.model.head.num_classes = 2
    for split in ("train", "val"):
        for name in ("n01440764", "n01443537"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (40, 30)).save(tmp_path / split / name / "0.JPEG")
    assert check_data(cfg)[1] == []
    cfg.model.head.num_classes = 1
    assert all("labels reach 1, model.head.num_classes is 1" in x for x in check_data(cfg)[1])
    cfg.model.head.num_classes = 3
    assert all("2 classes have pictures" in problem for problem in check_data(cfg)[1])
    cfg.model.head.num_classes = 2
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        del loader.dataset["metainfo"]
    assert all(
        "2) doesn't match the number of specified classes (1000)" in x for x in check_data(cfg)[1]
    )
    shutil.rmtree(tmp_path)
    assert all("no such folder" in problem for problem in check_data(cfg)[1])
