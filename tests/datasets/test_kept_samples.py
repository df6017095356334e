"""Kept lists hold what the host libraries read, and no longer than it is so."""

import json
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from mmpretrain.datasets import CustomDataset
from PIL import Image
from pycocotools import mask as coco_mask
from torch.utils.data import DataLoader

import mae_bench.datasets.coco_instances as coco_module
import mae_bench.datasets.image_folders as folders_module
import mae_bench.datasets.kept_samples as module
from mae_bench.datasets.coco_instances import CocoInstances
from mae_bench.datasets.identity import data_identity
from mae_bench.datasets.image_folders import ImageFolders

NAMES = ("cat", "dog", "bird")
LONG_AGO = 1_500_000_000
MASKS = dict(type="mmdet.LoadAnnotations", with_bbox=True, with_mask=True)


@pytest.fixture(autouse=True)
def everything_is_kept(tmp_path, monkeypatch):
    import mmdet.datasets.transforms  # noqa: F401 (registers the step)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(coco_module, "KEPT_FROM", 1)
    monkeypatch.setattr(folders_module, "KEPT_FROM", 1)


def kept_files(tmp_path):
    return list(tmp_path.glob("cache/mae_bench/lists/*.safetensors"))


def settle(root, when=LONG_AGO):
    """Let all files and folders be as old as those of a data set."""
    for path in [root, *root.rglob("*")]:
        os.utime(path, (when, when))


def thing(number, image, category, left=2, **other):
    box = [left, 3, 9.5, 8]
    corners = [left, 3, left + 9.5, 3, left + 9.5, 11.25, left, 11]
    row = dict(id=number, image_id=image, category_id=category, bbox=box, area=70.5, iscrowd=0)
    return row | dict(segmentation=[corners]) | other


def document(categories=("dog", "cat", "bird")):
    """A crowd, an image without objects, one too small, a class that is not asked for, and so on.

    Annotations are in no order of the images, nor categories in that of their ids.
    """
    runs = coco_mask.encode(np.asfortranarray(np.eye(40, 50, dtype=np.uint8)))
    crowd = dict(size=[40, 50], counts=runs["counts"].decode())
    ids = {"cat": 7, "dog": 3, "bird": 90, "car": 1}
    annotations = [
        thing(11, 5, 7),
        thing(12, 9, 3, left=4),
        thing(13, 5, 90, iscrowd=1, segmentation=crowd),
        thing(14, 2, 7),
        thing(15, 5, 3, left=0, area=3),
        thing(16, 8, 1),
        thing(17, 9, 90, bbox=[4, 3, 0.5, 8]),  # narrower than a pixel
        thing(18, 9, 7, ignore=1),
    ]
    sizes = {5: (50, 40), 9: (50, 40), 4: (50, 40), 2: (50, 20), 8: (50, 40)}
    return dict(
        images=[
            dict(id=i, file_name=f"é{i}.png", width=w, height=h) for i, (w, h) in sizes.items()
        ],
        annotations=annotations,
        categories=[dict(id=ids[name], name=name) for name in (*categories, "car")],
    )


def write(root, data, when=LONG_AGO):
    (root / "images").mkdir(parents=True, exist_ok=True)
    for entry in data["images"]:
        path = root / "images" / entry["file_name"]
        if not path.exists():
            Image.new("RGB", (entry["width"], entry["height"])).save(path)
    (root / "train.json").write_text(json.dumps(data))
    settle(root, when)


def options(root, classes=NAMES, **other):
    where = dict(ann_file="train.json", data_root=str(root), data_prefix=dict(img="images/"))
    given = dict(metainfo=dict(classes=classes), pipeline=[MASKS])
    return where | given | dict(filter_cfg=dict(filter_empty_gt=True, min_size=32)) | other


def samples(dataset):
    return [dataset.get_data_info(i) for i in range(len(dataset))]


CASES = {
    "filtered": {},
    "all": dict(filter_cfg=None),
    "for evaluation": dict(test_mode=True),
    "the first": dict(indices=1),
    "the last": dict(indices=-1),
    "some": dict(indices=[1, 0, 1]),
}


@pytest.mark.parametrize("classes", [NAMES, ("cat",)])
@pytest.mark.parametrize("case", CASES)
def test_objects_are_mmdetections(case, classes, tmp_path, monkeypatch, capsys):
    root, theirs = tmp_path / "set", tmp_path / "theirs"
    write(root, document())
    # mmdetection numbers by the order in the file
    rest = [name for name in ("dog", "cat", "bird") if name not in classes]
    write(theirs, document((*classes, *rest)))
    host = samples(CocoDataset(**options(theirs, classes, **CASES[case])))
    expected = json.loads(json.dumps(host).replace(str(theirs), str(root)))

    first = CocoInstances(**options(root, classes, **CASES[case]))
    assert first.is_packed and len(kept_files(tmp_path)) == 1
    monkeypatch.setattr(coco_module, "read_coco", None)  # nobody reads again
    second = CocoInstances(**options(root, classes, **CASES[case]))
    assert samples(first) == samples(second) == expected
    assert first.get_data_info(-1) == expected[-1]

    monkeypatch.undo()
    monkeypatch.setattr(coco_module, "KEPT_FROM", 10**9)
    plain = CocoInstances(**options(root, classes, **CASES[case]))
    assert not plain.is_packed and samples(plain) == expected
    for kept in (first, second):
        for name in CocoInstances.FACTS:
            assert getattr(kept, name) == getattr(plain, name)
        assert kept.metainfo == plain.metainfo
        assert data_identity(kept) == data_identity(plain)


def test_other_options_are_other_lists(tmp_path):
    write(tmp_path / "set", document())
    variants = [
        {},
        dict(classes=("dog", "cat", "bird")),
        dict(filter_cfg=dict(min_size=10)),
        dict(test_mode=True),
        dict(exif_orientation=False),
        dict(hold_out=dict(every=2)),
        dict(pipeline=[]),
        dict(data_root=f"{tmp_path}/set/../set"),
    ]
    found = [CocoInstances(**options(tmp_path / "set", **other)) for other in variants]
    assert len(kept_files(tmp_path)) == len(variants)
    for other, before in zip(variants, found, strict=True):
        again = CocoInstances(**options(tmp_path / "set", **other))
        assert samples(again) == samples(before) and again.class_counts == before.class_counts
    assert len(kept_files(tmp_path)) == len(variants)


def test_a_changed_file_is_read_again(tmp_path):
    root, data = tmp_path / "set", document()
    write(root, data)
    before = CocoInstances(**options(root))
    assert before.get_data_info(0)["instances"][0]["bbox"][0] == 2
    size, identity = (root / "train.json").stat().st_size, data_identity(before)
    data["annotations"][0]["bbox"][0] = 1
    write(root, data, LONG_AGO + 1)
    assert (root / "train.json").stat().st_size == size
    after = CocoInstances(**options(root))
    assert after.get_data_info(0)["instances"][0]["bbox"][0] == 1
    assert data_identity(after)["digest"] != identity["digest"]
    assert before.get_data_info(0)["instances"][0]["bbox"][0] == 2  # a run goes on with its list
    assert len(kept_files(tmp_path)) == 1


def test_an_image_that_is_gone_is_missed(tmp_path):
    write(tmp_path / "set", document())
    CocoInstances(**options(tmp_path / "set"))
    (tmp_path / "set/images/é8.png").unlink()
    with pytest.raises(FileNotFoundError, match="1 of its images are not on disk.*é8.png"):
        CocoInstances(**options(tmp_path / "set"))


def test_changed_code_reads_again(tmp_path, monkeypatch):
    write(tmp_path / "set", document())
    CocoInstances(**options(tmp_path / "set"))
    monkeypatch.setattr(module, "_code", lambda kind: "another version")
    with monkeypatch.context() as patch, pytest.raises(TypeError):
        patch.setattr(coco_module, "read_coco", None)
        CocoInstances(**options(tmp_path / "set"))
    CocoInstances(**options(tmp_path / "set"))
    assert len(kept_files(tmp_path)) == 1  # in the place of the old one


def test_workers_read_the_list(tmp_path):
    write(tmp_path / "set", document())
    for _ in range(2):
        found = CocoInstances(**options(tmp_path / "set", pipeline=[]))
        loader = DataLoader(found, batch_size=None, num_workers=2, shuffle=False)
        assert list(loader) == samples(found) and len(found) == 2


def test_a_class_of_somebody_else_is_not_kept(tmp_path):
    class Mine(CocoInstances):
        def parse_data_info(self, raw_data_info):
            return super().parse_data_info(raw_data_info) | {"mine": (1, 2)}

    write(tmp_path / "set", document())
    assert Mine(**options(tmp_path / "set")).get_data_info(0)["mine"] == (1, 2)
    assert not kept_files(tmp_path)


def test_what_was_just_changed_is_not_kept(tmp_path):
    write(tmp_path / "set", document(), time.time())
    found = CocoInstances(**options(tmp_path / "set"))
    assert found.is_packed and len(found) == 2 and not kept_files(tmp_path)


@pytest.mark.parametrize("data", [b"", b"x" * 100, None])
def test_a_damaged_list_is_made_anew(data, tmp_path):
    write(tmp_path / "set", document())
    expected = samples(CocoInstances(**options(tmp_path / "set")))
    file = kept_files(tmp_path)[0]
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] if data is None else data)
    assert samples(CocoInstances(**options(tmp_path / "set"))) == expected
    assert file.read_bytes() == whole


def test_without_a_place_to_keep_it_every_process_reads(tmp_path, caplog):
    write(tmp_path / "set", document())
    (tmp_path / "cache").write_text("no folder")
    for _ in range(2):
        found = CocoInstances(**options(tmp_path / "set"))
        assert [len(sample["instances"]) for sample in samples(found)] == [3, 1]


@pytest.mark.parametrize("value", [2**70, float("nan"), "\ud800"])
def test_what_messagepack_cannot_hold_is_read_as_the_host_does(value, tmp_path):
    data = document()
    data["annotations"][0]["note"] = value
    write(tmp_path / "set", data)
    host = CocoDataset(**options(tmp_path / "set", ("dog", "cat", "bird")))
    for _ in range(2):
        found = CocoInstances(**options(tmp_path / "set", ("dog", "cat", "bird")))
        assert samples(found) == samples(host)
        assert found.class_counts == {"dog": 2, "cat": 2}


def _read(root, log):
    read = coco_module.read_coco

    def slowly(*args):
        with log.open("a") as file:
            file.write("read\n")
        time.sleep(0.5)
        return read(*args)

    coco_module.read_coco = slowly
    dataset = CocoInstances(**options(root))
    assert len(dataset) == 2
    mapped = Path("/proc/self/maps").read_text()
    assert str(kept_files(root.parent)[0]) in mapped


def test_one_process_reads_and_all_map(tmp_path):
    write(tmp_path / "set", document())
    context, log = multiprocessing.get_context("fork"), tmp_path / "log"
    several = [context.Process(target=_read, args=(tmp_path / "set", log)) for _ in range(3)]
    for process in several:
        process.start()
    for process in several:
        process.join()
    assert [process.exitcode for process in several] == [0, 0, 0]
    assert log.read_text() == "read\n"


def pictures(root, names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    settle(root)


IMAGES = ["cat/1.png", "cat/deep/2.png", "dog/1.png", "dog/3.png"]


@pytest.mark.parametrize("labelled", [True, False])
def test_image_lists_are_mmpretrains(labelled, tmp_path, monkeypatch):
    root = tmp_path / "set"
    pictures(root, IMAGES)
    (root / "dog/notes").mkdir()
    settle(root)
    how = dict(data_root=str(root), with_label=labelled, pipeline=[])
    host = CustomDataset(**how)
    first = ImageFolders(**how)
    assert len(kept_files(tmp_path)) == 1
    with monkeypatch.context() as patch:
        patch.setattr(folders_module, "list_images", None)
        second = ImageFolders(**how)
    assert samples(first) == samples(second) and first.is_packed
    labels = [
        {os.path.normpath(info["img_path"]): info.get("gt_label") for info in samples(dataset)}
        for dataset in (first, host)
    ]
    assert len(labels[0]) == len(IMAGES) and labels[0] == labels[1]
    for name in ("folder_to_idx", "class_counts", "findings", "CLASSES"):
        assert getattr(first, name) == getattr(second, name)
    assert data_identity(first) == data_identity(second)

    for number, change in enumerate(["cat/4.png", "dog/notes/5.png", "cat/deep/6.png"]):
        Image.new("RGB", (8, 8)).save(root / change)
        assert len(ImageFolders(**how)) == len(IMAGES) + number + 1
    (root / "dog/1.png").unlink()
    assert len(ImageFolders(**how)) == len(IMAGES) + 2


def test_a_list_file_is_kept_with_its_images(tmp_path):
    root = tmp_path / "set"
    pictures(root, IMAGES)
    how = dict(data_root=str(root), ann_file="list.txt", pipeline=[])
    (root / "list.txt").write_text("cat/1.png cat\ndog/1.png dog\n")
    settle(root)
    found = [ImageFolders(**how) for _ in range(2)]
    assert samples(found[0]) == samples(found[1]) and len(kept_files(tmp_path)) == 1
    assert found[1].CLASSES == ("cat", "dog") and found[1].class_counts == {"cat": 1, "dog": 1}
    (root / "list.txt").write_text("cat/1.png cat\ndog/3.png dog\n")
    settle(root, LONG_AGO + 1)
    assert samples(ImageFolders(**how))[1]["img_path"].endswith("dog/3.png")
    (root / "cat/1.png").unlink()
    with pytest.raises(FileNotFoundError, match="1 of its images are not on disk"):
        ImageFolders(**how)
