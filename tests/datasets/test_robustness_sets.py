"""Robustness sets on small trees of files: what is read, what is refused, what is named."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mae_bench.datasets.cue_conflict import CATEGORIES, read_cue_conflict
from mae_bench.datasets.imagenet_variants import read_class_folders
from mae_bench.datasets.robustness_sets import RobustnessSets

CLASSES = ("ant", "bee", "cat")


def image(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(path)


@pytest.fixture
def root(tmp_path):
    """A validation set, and a corrupted one of two corruptions in the folders of the archives."""
    for value, name in enumerate(CLASSES):
        image(tmp_path / "val" / name / "a.png", value)
        for severity in range(1, 6):
            image(tmp_path / "c/fog" / str(severity) / name / "a.png", value)
            image(tmp_path / "c/blur/zoom_blur" / str(severity) / name / "a.png", value)
    return tmp_path


def sets(root, **options):
    folders = dict(imagenet_val="val", imagenet_c="c", **options.pop("folders", {}))
    names = options.pop("sets", ["imagenet_val", "imagenet_c"])
    transform = dict(size=8, resize=8)
    return RobustnessSets(root, folders, CLASSES, names, transform, **options)


def labels_by_part(dataset):
    found = {}
    for index in range(len(dataset)):
        sample = dataset[index]
        name = dataset.parts[sample["part"]].name
        # each class has a brightness of its own
        assert int(sample["inputs"][0, 0, 0]) == sample["label"]
        found.setdefault(name, []).append(sample["label"])
    return found


def test_own_classes_through_the_path_of_imagenet(root):
    found = labels_by_part(sets(root))
    assert found.pop("imagenet_val") == [0, 1, 2]
    assert len(found) == 10
    assert set(map(tuple, found.values())) == {(0, 1, 2)}
    assert "imagenet_c/zoom_blur/5" in found


def test_hidden_folders_and_files_beside_the_classes_shift_nothing(root):
    for severity in range(1, 6):
        (root / "c/fog" / str(severity) / ".ipynb_checkpoints").mkdir()
        (root / "c/fog" / str(severity) / "README.txt").touch()
    image(root / "val/.cache/x.png", 9)
    assert set(map(tuple, labels_by_part(sets(root)).values())) == {(0, 1, 2)}


def test_numbered_folders_are_labels_and_no_text(tmp_path):
    for label in range(12):
        image(tmp_path / str(label) / "a.png")
    found = read_class_folders(tmp_path, [f"class {label}" for label in range(12)])
    by_folder = dict(zip(found.names.tolist(), found.labels.tolist(), strict=True))
    assert by_folder == {f"{label}/a.png".encode(): label for label in range(12)}
    image(tmp_path / "12/a.png")
    with pytest.raises(ValueError, match="12: is no class of this set"):
        read_class_folders(tmp_path, [f"class {label}" for label in range(12)])


def test_another_folder_among_the_classes_is_refused(root):
    image(root / "c/fog/3/dog/a.png")
    with pytest.raises(ValueError, match=r"fog/3/dog: is no class of this set; .* as ant"):
        sets(root)


def test_a_corruption_in_two_places_is_refused(root):
    shutil.copytree(root / "c/fog", root / "c/weather/fog")
    with pytest.raises(ValueError, match=r"c/fog/1 and .*weather/fog/1: one corruption in two"):
        sets(root)


def test_what_is_missing_or_partly_unpacked_is_named_and_not_evaluated(root):
    shutil.rmtree(root / "c/blur/zoom_blur/2")
    (root / "c/fog/3/bee/a.png").unlink()
    dataset = sets(root)
    names = {part.name for part in dataset.parts}
    assert "imagenet_c/fog/3" not in names and "imagenet_c/fog/4" in names
    assert any("zoom_blur/2" in line for line in dataset.missing)
    assert f"imagenet_c/fog/3: 2 of 3 images are in {root / 'c/fog/3'}" in dataset.missing


def test_a_set_of_ones_own_has_its_own_name(root):
    for value, name in enumerate(CLASSES[1:], 1):
        image(root / "v2" / name / "b.png", value)
    dataset = sets(root, folders={"imagenet_v2": "v2"}, sets=["imagenet_v2"])
    assert labels_by_part(dataset) == {"imagenet_v2": [1, 2]}
    assert dataset.counts() == {"imagenet_v2": 2}
    with pytest.raises(ValueError, match="no robustness set 'imagenet_v3'; there are imagenet_val"):
        sets(root, sets=["imagenet_v3"])


def test_a_replaced_file_changes_the_digest(root):
    def digests() -> tuple[str, str]:
        return sets(root).parts[0].digests()

    before = digests()
    assert digests() == before
    path = root / "val/ant/a.png"
    os.utime(path, ns=(0, 0))
    touched = digests()
    assert touched[0] == before[0] and touched[1] != before[1]
    path.write_bytes(path.read_bytes() + b"x")
    os.utime(path, ns=(0, 0))
    assert digests()[0] != touched[0] and digests()[1] != touched[1]


def test_each_set_is_identified_whatever_folder_it_lies_in(root, tmp_path):
    def identities(folder: Path) -> dict[str, dict]:
        dataset = sets(folder)
        return dataset.identities({part.name: part.digests()[0] for part in dataset.parts})

    found = identities(root)
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    assert identities(copy) == found
    assert {name: one["samples"] for name, one in found.items()} == sets(root).counts()
    path = next((copy / "c").rglob("*.png"))
    path.write_bytes(path.read_bytes() + b"x")
    changed = identities(copy)
    assert [name for name in found if changed[name] != found[name]] == ["imagenet_c"]


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no robustness set found: imagenet_val: no folder"):
        sets(tmp_path)


def test_shape_and_texture_by_the_name_of_a_file(tmp_path):
    image(tmp_path / "cat/cat12-truck3.png")
    image(tmp_path / "cat/0001_cue_dnn_cat_00_cat1-dog10.png")  # as model-vs-human names them
    images, textures = read_cue_conflict(tmp_path)
    names = list(CATEGORIES)
    found = zip(images.names.tolist(), images.labels.tolist(), textures.tolist(), strict=True)
    assert [(name, names[shape], names[texture]) for name, shape, texture in found] == [
        (b"cat/0001_cue_dnn_cat_00_cat1-dog10.png", "cat", "dog"),
        (b"cat/cat12-truck3.png", "cat", "truck"),
    ]


@pytest.mark.parametrize("name", ["cat/cat1.png", "cat/dog1-cat2.png", "cat/cat1-cow2.png"])
def test_cue_conflicts_of_another_name_are_refused(tmp_path, name):
    image(tmp_path / "cue-conflict/dog/dog1-cat2.png")
    image(tmp_path / "cue-conflict" / name)
    with pytest.raises(ValueError, match=rf"{name}: is not named as airplane/airplane1-bicycle2"):
        RobustnessSets(tmp_path, sets=["cue_conflict"])


def test_cue_conflicts_need_the_classes_of_imagenet(root):
    image(root / "cue-conflict/dog/dog1-cat2.png")
    with pytest.raises(ValueError, match="cue conflicts are of ImageNet's classes"):
        sets(root, sets=["cue_conflict"])


def test_real_labels_are_part_of_what_is_kept_and_not_of_the_identity(tmp_path):
    image(tmp_path / "imagenet/val/n01440764/ILSVRC2012_val_00000002.png")
    (part,) = RobustnessSets(tmp_path, sets=["imagenet_val"]).parts
    assert part.further[0][:3].tolist() == [970, 795, -1]
    other = replace(part, further=None)
    assert other.digests()[0] == part.digests()[0] and other.digests()[1] != part.digests()[1]
