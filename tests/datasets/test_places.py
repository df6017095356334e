"""The readers of the lists of Places205 and Places365, and what can be wrong in one."""

from pathlib import Path

import pytest
from mmpretrain.datasets.categories import PLACES205_CATEGORIES

from mae_bench.datasets.places import Places205, Places365

from .official_lists import write_places205, write_places365

IMAGES_205 = "data/vision/torralba/deeplearning/images256"


def read_205(root: Path, **options) -> Places205:
    return Places205(
        "trainvalsplit_places205/train_places205.csv",
        data_root=str(root),
        data_prefix=IMAGES_205,
        **options,
    )


def read_365(root: Path, **options) -> Places365:
    return Places365(
        "places365_train_standard.txt", data_root=str(root), data_prefix="data_256", **options
    )


def labels(dataset, root: Path) -> dict[str, int]:
    found = [dataset.get_data_info(i) for i in range(len(dataset))]
    return {str(Path(s["img_path"]).relative_to(root)): s["gt_label"] for s in found}


def test_places205(tmp_path):
    expected = write_places205(tmp_path)
    dataset = read_205(tmp_path, num_classes=205)
    assert labels(dataset, tmp_path / IMAGES_205) == expected
    assert dataset.metainfo["classes"] == PLACES205_CATEGORIES


def test_places365(tmp_path):
    expected = write_places365(tmp_path)
    dataset = read_365(tmp_path, num_classes=6)
    # Names start with a slash in the list; shuffled lines of the categories play no part.
    assert labels(dataset, tmp_path / "data_256") == {n[1:]: v for n, v in expected.items()}
    assert dataset.metainfo["classes"][:2] == ("/b/bar", "/a/attic")
    val = Places365("places365_val.txt", data_root=str(tmp_path), data_prefix="val_256")
    assert len(val) == 6
    assert {Path(val.get_data_info(i)["img_path"]).parent.name for i in range(6)} == {"val_256"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/b/bar/00000000.jpg 0", "image '/b/bar/00000000.jpg' occurs twice"),
        ("/b/bar/new.jpg 6", "image '/b/bar/new.jpg' has the unknown category 6; there are 6"),
        ("/b/bar/new.jpg", "line 13: '/b/bar/new.jpg' is not of the form 'IMAGE LABEL'"),
        ("/b/bar/new.jpg -1", "line 13: label '-1' is not a number from 0"),
    ],
)
def test_wrong_line(line, message, tmp_path):
    write_places365(tmp_path)
    with (tmp_path / "places365_train_standard.txt").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=rf"places365_train_standard.txt.*{message}"):
        read_365(tmp_path)


def test_unknown_category_of_places205(tmp_path):
    write_places205(tmp_path)
    with (tmp_path / "trainvalsplit_places205/train_places205.csv").open("a") as file:
        file.write("a/abbey/new.jpg 205\n")
    with pytest.raises(ValueError, match="unknown category 205; there are 205"):
        read_205(tmp_path)


def test_labels_of_the_categories(tmp_path):
    write_places365(tmp_path)
    file = tmp_path / "categories_places365.txt"
    text = file.read_text()
    file.write_text(text.replace("/g/gym 5", "/g/gym 4"))
    with pytest.raises(ValueError, match="categories_places365.txt: label 4 occurs twice"):
        read_365(tmp_path)
    file.write_text(text.replace("/g/gym 5", "/g/gym 8"))
    with pytest.raises(ValueError, match="categories_places365.txt: its labels are not 0 to 5"):
        read_365(tmp_path)


def test_missing_image_and_file(tmp_path):
    write_places365(tmp_path)
    (tmp_path / "data_256/b/bar/00000000.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of its images .*b/bar/00000000.jpg"):
        read_365(tmp_path)
    (tmp_path / "categories_places365.txt").unlink()
    with pytest.raises(FileNotFoundError, match="categories_places365.txt: no such file"):
        read_365(tmp_path)


def test_another_number_of_classes(tmp_path):
    write_places365(tmp_path)
    with pytest.raises(ValueError, match="has 6 classes and the config says num_classes=365"):
        read_365(tmp_path, num_classes=365)
