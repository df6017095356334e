"""Another data set is told from the same one in another place."""

import hashlib
import json
import shutil
import tarfile

import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, RepeatDataset
from mmpretrain.datasets import CustomDataset
from mmseg.datasets import BaseSegDataset
from PIL import Image

from mae_bench.datasets import identity as module
from mae_bench.datasets.identity import (
    changed_since,
    data_identity,
    differences,
    files_digest,
)
from mae_bench.datasets.image_folders import ImageFolders
from mae_bench.training.seeded import SeededDataset

NAMES = ["cat/0.png", "cat/1.png", "dog/0.png"]


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for side, name in enumerate(NAMES, 8):
        path = tmp_path / "a" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)
    return tmp_path / "a"


def of(folder, **kwargs):
    return data_identity(CustomDataset(data_root=str(folder), pipeline=[], **kwargs))


def test_by_hand(folder):
    lines = [f"{name}\0{(folder / name).stat().st_size}\n" for name in NAMES]
    files = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert files_digest([str(folder / name) for name in NAMES]) == files
    expected = hashlib.sha256(f"0\n0\n1\n\nimg_path\n{files}".encode()).hexdigest()
    assert of(folder) == {"samples": 3, "digest": expected, "classes": ["cat", "dog"]}


def test_a_copy_elsewhere_is_the_same_and_so_is_a_wrapped_one(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "deep/er/b")
    before = of(folder)
    assert of(tmp_path / "deep/er/b") == before
    dataset = CustomDataset(data_root=str(folder), pipeline=[])
    assert data_identity(SeededDataset(dataset)) == before
    assert differences(before, data_identity(SeededDataset(dataset))) == ""


def rewrite(folder):
    Image.new("RGB", (40, 40)).save(folder / "cat/1.png")


def rename(folder):
    (folder / "cat/1.png").rename(folder / "cat/2.png")


def move(folder):
    (folder / "cat/1.png").rename(folder / "dog/1.png")


def rename_class(folder):
    (folder / "cat").rename(folder / "bird")


def swap_sizes(folder):
    first, second = (folder / name for name in ("cat/0.png", "cat/1.png"))
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (rewrite, "as many samples (3) but other files, sizes or labels"),
        (rename, "as many samples (3) but other files"),
        (move, "as many samples (3) but other files"),
        (swap_sizes, "as many samples (3) but other files"),
        (rename_class, "class 0 is 'bird', and was 'cat' then"),
        (lambda f: shutil.rmtree(f / "dog"), "2 samples, and 3 then"),
        (lambda f: shutil.copytree(f / "dog", f / "emu"), "4 samples, and 3 then"),
    ],
)
def test_every_change_is_seen_and_named(folder, change, words):
    before = of(folder)
    change(folder)
    assert words in differences(before, of(folder))


def test_order_of_samples_and_labels_of_a_list_count(folder, tmp_path):
    found = set()
    for number, lines in enumerate(
        (
            ["cat/0.png 0", "dog/0.png 1"],
            ["dog/0.png 1", "cat/0.png 0"],
            ["cat/0.png 1", "dog/0.png 0"],
        )
    ):
        path = tmp_path / f"{number}.txt"
        path.write_text("\n".join(lines))
        classes = {"metainfo": {"classes": ["cat", "dog"]}}
        found.add(of(folder, data_prefix="", ann_file=str(path), **classes)["digest"])
    assert len(found) == 3


def test_boxes_count(tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "0.png")
    digests = []
    for box in ([1, 1, 5, 5], [1, 1, 5, 6]):
        content = {
            "images": [{"id": 1, "file_name": "0.png", "width": 20, "height": 20}],
            "categories": [{"id": 1, "name": "a"}],
            "annotations": [
                {"id": 1, "image_id": 1, "category_id": 1, "bbox": box, "area": 25, "iscrowd": 0}
            ],
        }
        (tmp_path / "a.json").write_text(json.dumps(content))
        dataset = CocoDataset(
            data_root=str(tmp_path),
            ann_file="a.json",
            data_prefix=dict(img=""),
            metainfo=dict(classes=("a",), palette=[(0, 0, 0)]),
            pipeline=[],
            test_mode=True,
        )
        digests.append(data_identity(dataset)["digest"])
    assert None not in digests and digests[0] != digests[1]


def test_masks_count(tmp_path):
    for part in ("img", "map"):
        (tmp_path / part).mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "img/0.jpg")
    rng = np.random.default_rng(0)
    digests = []
    for classes in (2, 200):
        labels = rng.integers(0, classes, (20, 20), dtype=np.uint8)
        Image.fromarray(labels).save(tmp_path / "map/0.png")
        dataset = BaseSegDataset(
            data_root=str(tmp_path),
            data_prefix=dict(img_path="img", seg_map_path="map"),
            metainfo=dict(classes=("a", "b"), palette=[(0, 0, 0), (1, 1, 1)]),
            pipeline=[],
        )
        digests.append(data_identity(dataset)["digest"])
    assert None not in digests and digests[0] != digests[1]


def test_repeated_concatenated_and_balanced(folder):
    one = CustomDataset(data_root=str(folder), pipeline=[])
    other = CustomDataset(data_root=str(folder), data_prefix="", pipeline=[], indices=[0, 2])
    assert data_identity(other)["samples"] == 2
    wrapped = [
        one,
        RepeatDataset(one, 2),
        ConcatDataset([one, other]),
        ConcatDataset([other, one]),
        ClassBalancedDataset(one, 0.5),
    ]
    found = [data_identity(dataset) for dataset in wrapped]
    assert [entry["samples"] for entry in found] == [len(dataset) for dataset in wrapped]
    assert [entry["classes"] for entry in found] == [["cat", "dog"]] * 5
    assert len({entry["digest"] for entry in found}) >= 4
    assert None not in {entry["digest"] for entry in found}


class Plain:
    """A data set that does not say what its samples are."""

    def __len__(self):
        return 5


def test_a_data_set_that_says_nothing_of_its_samples_is_known_by_their_number():
    found = data_identity(Plain())
    assert found == {"samples": 5, "digest": None, "classes": []}
    assert differences(found, {**found, "digest": "0" * 64}) == ""
    assert differences(found, {**found, "samples": 4}) == "4 samples, and 5 then"


def test_sizes_are_asked_once_for_each_file(folder, monkeypatch):
    asked = []
    stat = module.os.stat

    def counting(path, **kwargs):
        asked.append(str(path))
        return stat(path, **kwargs)

    monkeypatch.setattr(module.os, "stat", counting)
    monkeypatch.setattr("builtins.open", None)  # no picture is read
    paths = [str(folder / name) for name in NAMES]
    files_digest(paths)
    assert asked == paths


def test_an_image_in_an_archive_is_known_by_its_size(folder, tmp_path):
    def pack(to):
        (tmp_path / to).mkdir(exist_ok=True)
        with tarfile.open(tmp_path / to / "noise-train.tar", "w") as tar:
            for name in ("cat", "dog"):
                tar.add(folder / name, name)
        return ImageFolders(data_root=str(tmp_path / to), data_prefix="train", pipeline=[])

    first, copy = pack("first"), pack("copy")
    assert data_identity(first) == data_identity(copy)
    rewrite(folder)  # of the same number of blocks: the archive is as large as it was
    other = pack("other")
    words = "as many samples (3) but other files, sizes or labels"
    assert differences(data_identity(first), data_identity(other)) == words
    assert changed_since(first) == ""
    with (tmp_path / "first/noise-train.tar").open("ab") as tar:
        tar.write(bytes(512))
    assert changed_since(first) == words
