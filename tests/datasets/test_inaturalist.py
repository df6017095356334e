"""The reader of iNaturalist's files, and everything that can be wrong in one."""

import json
import random
from pathlib import Path

import pytest

from mae_bench.datasets.inaturalist import INaturalist

from .official_lists import CLASSES, inaturalist_tables, write_inaturalist


def read(root: Path, **options) -> INaturalist:
    return INaturalist("train2018.json", data_root=str(root), **options)


def labels(dataset: INaturalist, root: Path) -> dict[str, int]:
    found = [dataset.get_data_info(i) for i in range(len(dataset))]
    return {str(Path(s["img_path"]).relative_to(root)): s["gt_label"] for s in found}


def test_reads_what_the_file_says(tmp_path):
    expected = write_inaturalist(tmp_path)
    dataset = read(tmp_path, num_classes=CLASSES)
    assert labels(dataset, tmp_path) == expected
    assert len(dataset) == 12
    assert dataset.metainfo["classes"] == tuple(f"{i:04}" for i in range(CLASSES))


def test_order_in_the_file_plays_no_part(tmp_path):
    write_inaturalist(tmp_path)
    first = read(tmp_path)
    file = tmp_path / "train2018.json"
    tables = json.loads(file.read_text())
    for rows in tables.values():
        random.Random(11).shuffle(rows)
    file.write_text(json.dumps(tables))
    second = read(tmp_path)
    assert first.metainfo == second.metainfo
    assert [first.get_data_info(i) for i in range(12)] == [
        second.get_data_info(i) for i in range(12)
    ]


def image(tables: dict) -> dict:
    return tables["images"][4]


def break_unknown_category(tables):
    tables["annotations"][2]["category_id"] = 77


def break_unknown_image(tables):
    tables["annotations"][2]["image_id"] = 77


def break_duplicate_image(tables):
    tables["images"][1]["id"] = tables["images"][0]["id"]


def break_duplicate_category(tables):
    tables["categories"][1]["id"] = tables["categories"][0]["id"]


def break_two_labels(tables):
    tables["annotations"].append(dict(tables["annotations"][0], id=1234))


def break_unlabelled(tables):
    del tables["annotations"][3]


def break_test_file(tables):
    del tables["annotations"]


def break_unnamed(tables):
    del tables["categories"][1]["name"]


def break_dict(tables):
    tables["annotations"] = {str(i): row for i, row in enumerate(tables["annotations"])}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_unnamed, "entry 1 of 'categories' has no 'name'"),
        (break_dict, "of 'annotations' has no 'image_id'"),
        (break_unknown_category, r"image \d+ has the unknown category 77"),
        (break_unknown_image, r"annotation of image 77, which it does not list"),
        (break_duplicate_image, r"image id \d+ occurs twice"),
        (break_duplicate_category, r"category id \d occurs twice"),
        (break_two_labels, r"annotation of image \d+ occurs twice"),
        (break_unlabelled, r"1 images have no annotation, first \d+.*test file"),
        (break_test_file, "lacks 'annotations'"),
    ],
)
def test_a_wrong_file_is_named(damage, message, tmp_path):
    write_inaturalist(tmp_path)
    tables, _ = inaturalist_tables("train")
    damage(tables)
    (tmp_path / "train2018.json").write_text(json.dumps(tables))
    with pytest.raises(ValueError, match=rf"train2018.json: .*{message}"):
        read(tmp_path)


def test_numbers_written_as_text_are_ranked_as_numbers(tmp_path):
    write_inaturalist(tmp_path)
    tables, _ = inaturalist_tables("train")
    expected = labels(read(tmp_path), tmp_path)
    for row in tables["categories"]:
        row["id"] = str(row["id"] + 8)  # 8, 9, 10, ...
    for row in tables["annotations"]:
        row["category_id"] = str(row["category_id"] + 8)
    (tmp_path / "train2018.json").write_text(json.dumps(tables))
    assert labels(read(tmp_path), tmp_path) == expected


def test_missing_image(tmp_path):
    name = sorted(write_inaturalist(tmp_path))[2]
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"train2018.json: 1 of its images .*{name}"):
        read(tmp_path)


def test_images_are_somewhere_else(tmp_path):
    write_inaturalist(tmp_path)
    with pytest.raises(FileNotFoundError, match="12 of its images .*data_root and data_prefix"):
        read(tmp_path, data_prefix="elsewhere")


def test_another_number_of_classes(tmp_path):
    write_inaturalist(tmp_path)
    with pytest.raises(ValueError, match="has 6 classes and the config says num_classes=8142"):
        read(tmp_path, num_classes=8142)


def test_missing_or_broken_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="train2018.json: no such annotation file"):
        read(tmp_path)
    (tmp_path / "train2018.json").write_text('{"images": [')
    with pytest.raises(ValueError, match="train2018.json: not JSON"):
        read(tmp_path)
