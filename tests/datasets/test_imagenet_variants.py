"""Readers of ImageNet val, A, R, Sketch and C, on trees of empty files: only names count."""

from pathlib import Path

import pytest

from mae_bench.datasets.imagenet_variants import (
    CORRUPTIONS,
    EXTRA_CORRUPTIONS,
    find_corruptions,
    imagenet_classes,
    read_class_folders,
    read_validation,
    subset_indices,
)

TENCH, GOLDFISH, STINGRAY = "n01440764", "n01443537", "n01498041"  # 0, 1, 6


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def test_class_lists():
    classes = imagenet_classes()
    assert len(classes) == 1000 and list(classes) == sorted(classes) and classes[0] == TENCH
    a, r = subset_indices("imagenet_a"), subset_indices("imagenet_r")
    # As printed in the evaluation code of the sets' authors.
    assert len(a) == len(r) == 200 and a[:5] == (6, 11, 13, 15, 17) and r[:5] == (1, 2, 4, 6, 8)
    assert list(a) == sorted(a) and list(r) == sorted(r)
    assert len(set(a) & set(r)) == 86


def test_class_folders_have_labels_of_all_1000_classes(tmp_path):
    touch(tmp_path, f"{STINGRAY}/b.jpg", f"{STINGRAY}/a.JPEG", f"{GOLDFISH}/c.png", "README.txt")
    touch(tmp_path, f"{GOLDFISH}/notes.txt")
    images = read_class_folders(tmp_path)
    found = [(str(images.path(i).relative_to(tmp_path)), images.labels[i]) for i in range(3)]
    assert found == [
        (f"{GOLDFISH}/c.png", 1),
        (f"{STINGRAY}/a.JPEG", 6),
        (f"{STINGRAY}/b.jpg", 6),
    ]
    assert len(images) == 3


def test_class_that_the_set_does_not_have(tmp_path):
    touch(tmp_path, f"{TENCH}/a.jpg")
    with pytest.raises(ValueError, match=f"{TENCH}: is no class of this set"):
        read_class_folders(tmp_path, subset_indices("imagenet_a"))


def test_folder_that_is_no_class(tmp_path):
    touch(tmp_path, "tench/a.jpg")
    with pytest.raises(ValueError, match="tench: is no class"):
        read_class_folders(tmp_path)


def test_folder_without_pictures(tmp_path):
    touch(tmp_path, f"{TENCH}/a.txt")
    with pytest.raises(FileNotFoundError, match="holds no images in class folders"):
        read_class_folders(tmp_path)


def test_validation_in_class_folders(tmp_path):
    touch(tmp_path, f"{GOLDFISH}/ILSVRC2012_val_00000003.JPEG")
    assert read_validation(tmp_path).labels.tolist() == [1]


@pytest.mark.parametrize("place", ["val/val.txt", "val.txt", "meta/val.txt", "val/meta/val.txt"])
@pytest.mark.parametrize("labels", [("6", "1"), (STINGRAY, GOLDFISH)], ids=["numbers", "ids"])
def test_flat_validation_with_a_list_in_any_order(tmp_path, place, labels):
    touch(tmp_path, "val/x_1.JPEG", "val/x_2.JPEG", place)
    (tmp_path / place).write_text(f"x_2.JPEG {labels[0]}\nx_1.JPEG {labels[1]}\n\n")
    images = read_validation(tmp_path / "val")
    assert images.names.tolist() == [b"x_1.JPEG", b"x_2.JPEG"]
    assert images.labels.tolist() == [1, 6]


@pytest.mark.parametrize(
    ("lines", "error", "message"),
    [
        ("a.JPEG 0\n", ValueError, "b.JPEG: has no label"),
        ("a.JPEG 0\nb.JPEG 1\nc.JPEG 2\n", FileNotFoundError, "c.JPEG: no such file"),
        ("a.JPEG 0\nb.JPEG 1000\n", ValueError, "line 2: label '1000' is none of the 1000"),
        ("a.JPEG 0\nb.JPEG n00000000\n", ValueError, "line 2"),
        ("a.JPEG\n", ValueError, "line 1"),
        ("a.JPEG 0\na.JPEG 1\n", ValueError, "line 2: a.JPEG has another label"),
    ],
)
def test_wrong_list(tmp_path, lines, error, message):
    touch(tmp_path, "val/a.JPEG", "val/b.JPEG")
    (tmp_path / "val.txt").write_text(lines)
    with pytest.raises(error, match=message):
        read_validation(tmp_path / "val")


def test_flat_validation_without_a_list(tmp_path):
    with pytest.raises(FileNotFoundError, match="need a list of their labels"):
        read_validation(touch(tmp_path, "a.JPEG"))


def test_corruptions_in_the_root_and_in_the_folders_of_the_archives(tmp_path):
    touch(tmp_path, f"fog/3/{TENCH}/a.JPEG", f"extra/spatter/1/{TENCH}/a.JPEG")
    (tmp_path / "blur/defocus_blur/5").mkdir(parents=True)
    assert find_corruptions(tmp_path) == {
        ("fog", 3): tmp_path / "fog/3",
        ("spatter", 1): tmp_path / "extra/spatter/1",
        ("defocus_blur", 5): tmp_path / "blur/defocus_blur/5",
    }


def test_names_of_corruptions():
    assert len(CORRUPTIONS) == 15 and len(EXTRA_CORRUPTIONS) == 4
    assert not set(CORRUPTIONS) & set(EXTRA_CORRUPTIONS)
