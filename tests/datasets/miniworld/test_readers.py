"""MiniWorld read by the loaders of the real datasets."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from mmpretrain.datasets import CustomDataset, ImageNet
from mmseg.datasets import ADE20KDataset, BaseSegDataset
from PIL import Image
from pycocotools.coco import COCO

from mae_bench.datasets.miniworld.scene_corruptions import CORRUPTIONS
from mae_bench.datasets.miniworld.world import (
    CLASS_NAMES,
    SEGMENTATION_CLASSES,
    MiniWorldSize,
    build,
)
from mae_bench.datasets.robustness_sets import RobustnessSets

SCENES = {"train": ("training", 12), "val": ("validation", 8)}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("miniworld") / "world"
    build(root, processes=1, size=MiniWorldSize(30, 20, 10, (10, 20), 12, 8))
    return root


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def label_maps(world, split):
    folder = world / "ade20k" / "annotations" / SCENES[split][0]
    return [np.asarray(Image.open(file)) for file in sorted(folder.iterdir())]


@pytest.mark.parametrize(("split", "count"), [("train", 30), ("val", 20)])
def test_imagenet(world, split, count):
    dataset = ImageNet(
        data_root=str(world / "imagenet"), split=split, metainfo={"classes": CLASS_NAMES}
    )
    assert len(dataset) == count
    for i in range(count):
        sample = dataset.get_data_info(i)
        assert Path(sample["img_path"]).is_file()
        assert Path(sample["img_path"]).parent.name == f"digit_{sample['gt_label']}"


def test_few_label_list(world):
    dataset = ImageNet(
        data_root=str(world / "imagenet"),
        split="train",
        ann_file="meta/train_20.txt",
        metainfo={"classes": CLASS_NAMES},
    )
    assert np.bincount(dataset.get_gt_labels()).tolist() == [2] * 10


def test_class_folders_without_lists_and_without_labels(world):
    folder = str(world / "imagenet" / "train")
    labelled = CustomDataset(data_prefix=folder)
    assert list(labelled.CLASSES) == [f"digit_{digit}" for digit in range(10)]
    assert np.bincount(labelled.get_gt_labels()).tolist() == [3] * 10
    unlabelled = CustomDataset(data_prefix=folder, with_label=False)
    assert len(unlabelled) == 30
    assert "gt_label" not in unlabelled.get_data_info(0)


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_corrupted_copies(world, corruption):
    root = world / "imagenet-c" / corruption
    clean = world / "imagenet" / "val"
    damage = []
    for severity in range(1, 6):
        names = [p.relative_to(root / str(severity)) for p in root.glob(f"{severity}/*/*")]
        assert len(names) == 10
        pairs = [(root / str(severity) / name, clean / name) for name in names]
        differences = [
            np.abs(np.asarray(Image.open(copy), float) - np.asarray(Image.open(original))).mean()
            for copy, original in pairs
        ]
        damage.append(np.mean(differences))
    assert all(low < high for low, high in zip(damage, damage[1:], strict=False)), damage


def test_one_folder_of_corrupted_copies_as_class_folders(world):
    assert sorted(p.name for p in (world / "imagenet-c").iterdir()) == sorted(CORRUPTIONS)
    copies = CustomDataset(data_prefix=str(world / "imagenet-c" / "contrast" / "3"))
    assert copies.get_gt_labels().tolist() == list(range(10))


def test_corrupted_copies_through_the_robustness_sets(world):
    dataset = RobustnessSets(
        world,
        classes=[f"digit_{digit}" for digit in range(10)],
        sets=["imagenet_c"],
        transform=dict(size=32, resize=32),
    )
    assert {part.name for part in dataset.parts} == {
        f"imagenet_c/{corruption}/{severity}"
        for corruption in CORRUPTIONS
        for severity in range(1, 6)
    }
    assert not [line for line in dataset.missing if "/" in line.partition(":")[0]]
    for part in dataset.parts:
        names = part.images.names.tolist()
        assert part.images.labels.tolist() == list(range(10))
        assert [name.decode().split("/")[0] for name in names] == [f"digit_{d}" for d in range(10)]


@pytest.mark.parametrize("split", SCENES)
def test_coco_through_pycocotools(world, split):
    """The masks that pycocotools reads are those of the label maps, which are exact."""
    coco = COCO(world / "coco" / "annotations" / f"instances_{split}2017.json")
    ids = sorted(coco.getImgIds())
    assert len(ids) == SCENES[split][1]
    assert [c["name"] for c in coco.loadCats(range(1, 11))] == list(CLASS_NAMES)
    kinds = set()
    for image_id, labels in zip(ids, label_maps(world, split), strict=True):
        found = np.ones_like(labels)
        objects = coco.loadAnns(coco.getAnnIds(image_id))
        assert 1 <= len(objects) <= 4
        for thing in objects:
            kinds.add(type(thing["segmentation"]))
            mask = coco.annToMask(thing).astype(bool)
            assert (found[mask] == 1).all(), "masks overlap"
            found[mask] = thing["category_id"] + 1
            y, x = np.nonzero(mask)
            box = [x.min(), y.min(), x.max() - x.min() + 1, y.max() - y.min() + 1]
            assert thing["bbox"] == box
            assert thing["area"] == mask.sum()
        np.testing.assert_array_equal(found, labels)
    assert kinds == {list, dict}


def test_coco_ids_do_not_repeat(world):
    contents = [
        json.loads((world / f"coco/annotations/instances_{split}2017.json").read_text())
        for split in SCENES
    ]
    images = [image["id"] for content in contents for image in content["images"]]
    assert len(set(images)) == len(images) == 20
    for content in contents:
        assert min(annotation["id"] for annotation in content["annotations"]) == 1


@pytest.mark.parametrize("split", SCENES)
def test_coco_through_mmdet(world, split):
    dataset = CocoDataset(
        data_root=str(world / "coco"),
        ann_file=f"annotations/instances_{split}2017.json",
        data_prefix={"img": f"{split}2017/"},
        metainfo={"classes": CLASS_NAMES},
        pipeline=[
            {"type": "LoadImageFromFile"},
            {"type": "mmdet.LoadAnnotations", "with_bbox": True, "with_mask": True},
        ],
    )
    maps = label_maps(world, split)
    assert len(dataset) == len(maps)
    for sample, labels in zip(dataset, maps, strict=True):
        assert sample["img"].shape == (*labels.shape, 3)
        assert not sample["gt_ignore_flags"].any()
        found = np.ones_like(labels)
        for mask, label in zip(sample["gt_masks"].masks, sample["gt_bboxes_labels"], strict=True):
            found[mask.astype(bool)] = label + 2
        np.testing.assert_array_equal(found, labels)


@pytest.mark.parametrize(
    ("reader", "arguments"),
    [
        # It fixes the suffixes, drops label 0, and insists on its own 150 classes.
        (ADE20KDataset, {}),
        (
            BaseSegDataset,
            {
                "img_suffix": ".jpg",
                "seg_map_suffix": ".png",
                "reduce_zero_label": True,
                "metainfo": {"classes": SEGMENTATION_CLASSES},
            },
        ),
    ],
)
@pytest.mark.parametrize("split", SCENES)
def test_ade20k_through_mmseg(world, split, reader, arguments):
    folder = SCENES[split][0]
    dataset = reader(
        data_root=str(world / "ade20k"),
        data_prefix={"img_path": f"images/{folder}", "seg_map_path": f"annotations/{folder}"},
        pipeline=[{"type": "LoadImageFromFile"}, {"type": "mmseg.LoadAnnotations"}],
        **arguments,
    )
    samples = sorted(dataset, key=lambda sample: sample["img_path"])
    maps = label_maps(world, split)
    assert len(samples) == len(maps)
    seen = set()
    for sample, labels in zip(samples, maps, strict=True):
        np.testing.assert_array_equal(sample["gt_seg_map"], labels.astype(int) - 1)
        seen |= set(np.unique(labels))
    assert seen >= {1}
    assert seen <= set(range(1, 12))


def test_scenes_are_the_same_pictures_in_both_layouts(world):
    for split, (folder, _) in SCENES.items():
        coco = sorted((world / "coco" / f"{split}2017").iterdir())
        ade20k = sorted((world / "ade20k" / "images" / folder).iterdir())
        assert [p.read_bytes() for p in coco] == [p.read_bytes() for p in ade20k]
