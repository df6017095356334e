"""The look over all data of a config: counts of published sets, memory, samples, no crash."""

import os
from pathlib import Path

import numpy as np
import pytest
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES
from PIL import Image

from mae_bench.config.load import load_config
from mae_bench.datasets import check
from mae_bench.datasets.check import check_data
from mae_bench.datasets.coco_instances import CocoInstances
from mae_bench.datasets.file_checks import Memory, default_memory, look_at_all
from mae_bench.datasets.findings import Findings
from mae_bench.datasets.image_folders import ImageNet1K
from mae_bench.datasets.imagenet_variants import imagenet_classes
from mae_bench.datasets.images_and_masks import ADE20K
from mae_bench.datasets.published_counts import COUNTS, published_split

ROOT = Path(__file__).parents[2]
PRETRAIN = ROOT / "configs/pretrain/mae_vit_base_p16.py"
CLASSIFICATION = ROOT / "configs/cls/vit_base_finetune_in1k.py"
DETECTION = ROOT / "configs/det/mask_rcnn_vit_base_coco.py"
SEGMENTATION = ROOT / "configs/seg/upernet_vit_base_ade20k.py"
ROBUSTNESS = ROOT / "configs/cls/vit_base_robustness_in1k.py"


def of(kind, **attributes):
    """An instance as far as its count is asked for."""
    dataset = kind.__new__(kind)
    dataset._indices = None
    dataset._fully_initialized = True
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset


def test_which_sets_are_published():
    coco = dict(_metainfo=CocoInstances.METAINFO, ann_file="x/instances_train2017.json")
    assert published_split(of(CocoInstances, **coco)) == ("COCO", "train2017")
    own = dict(coco, _metainfo=dict(classes=("cat", "dog")))
    assert published_split(of(CocoInstances, **own)) is None
    assert published_split(of(CocoInstances, **dict(coco, _indices=5))) is None
    ade = dict(_metainfo=ADE20K.METAINFO, data_prefix=dict(img_path="x/images/validation"))
    ade["_metainfo"] = {**ADE20K.METAINFO, "classes": tuple(ADE20K.METAINFO["classes"])}
    assert published_split(of(ADE20K, **ade)) == ("ADE20K", "validation")
    imagenet = dict(
        _metainfo=dict(classes=tuple(IMAGENET_CATEGORIES)),
        ann_file="",
        with_label=True,
        data_prefix=dict(img_path="data/imagenet/train"),
    )
    assert published_split(of(ImageNet1K, **imagenet)) == ("ImageNet", "train")
    assert published_split(of(ImageNet1K, **dict(imagenet, ann_file="x/mine.txt"))) is None


class Listed(list):
    """A data set of which a filter has left out some."""

    def __init__(self, root: Path, count: int) -> None:
        self.data_root, self.listed_images = str(root), count


def test_count_of_a_published_set(monkeypatch, tmp_path):
    monkeypatch.setattr(check, "published_split", lambda dataset: ("COCO", "val2017"))
    for count, problems in ((5_000, 0), (4_999, 1)):
        found = Findings()
        check._check_count(Listed(tmp_path, count), found)
        assert len(found.problems) == problems
    assert "4,999 images, the published COCO has 5,000: unpack" in found.problems[0]
    assert COUNTS["ImageNet", "train"] == 1_281_167


def broken_files(folder: Path) -> None:
    folder.mkdir(parents=True)
    for i in range(10):
        Image.fromarray(np.full((20, 24, 3), i, np.uint8)).save(folder / f"{i}.jpg")
    (folder / "1.jpg").write_bytes(b"")
    (folder / "2.jpg").write_bytes((folder / "3.jpg").read_bytes()[:-30])
    (folder / "4.jpg").write_text("<html>not found</html>")


def test_pretraining_images_are_looked_at(tmp_path):
    broken_files(tmp_path / "train/a")
    cfg = load_config(
        PRETRAIN,
        {"train_dataloader.dataset.data_root": str(tmp_path), "total_batch_size": 2},
    )
    lines, findings = check_data(cfg)
    assert lines == [f"train_dataloader.dataset: {tmp_path}, 10 images"]
    assert len(findings.problems) == 1
    line = findings.problems[0]
    assert "3 images cannot be used" in line
    assert all(f"{name}.jpg: cannot be decoded" in line for name in (1, 2, 4))
    # a sample of two looks at the first and the sixth
    assert not check_data(cfg, sample=2)[1].problems


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (PRETRAIN, "no images"),
        (CLASSIFICATION, "no such folder"),
        (DETECTION, "no such file: unpack the archive of the annotations"),
        (SEGMENTATION, "no such folder"),
        (ROBUSTNESS, "no robustness set found"),
    ],
)
def test_an_empty_folder(config, words, tmp_path):
    (tmp_path / "train").mkdir()
    cfg = load_config(config)
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        if "dataset" in (cfg.get(loader) or {}):
            cfg[loader].dataset.data_root = str(tmp_path)
    lines, findings = check_data(cfg)
    assert findings.problems and all("Traceback" not in line for line in findings.problems)
    assert any(words in line for line in findings.problems), findings


def test_an_incomplete_robustness_set(tmp_path):
    folder = tmp_path / "imagenet-a" / imagenet_classes()[6]  # of the 200
    folder.mkdir(parents=True)
    Image.new("RGB", (30, 30)).save(folder / "a.jpg")
    Image.new("RGB", (30, 30)).save(folder / "b.jpg")
    (folder / "b.jpg").write_bytes((folder / "b.jpg").read_bytes()[:100])
    cfg = load_config(ROBUSTNESS, {"test_dataloader.dataset.data_root": str(tmp_path)})
    cfg.train_dataloader = cfg.val_dataloader = None
    _, findings = check_data(cfg)
    assert any("2 images, the published set has 7,500" in line for line in findings.problems)
    assert any("b.jpg: cannot be decoded" in line for line in findings.problems)
    assert any("imagenet_sketch: no folder" in line for line in findings.remarks)


def test_verdicts_are_remembered_until_a_file_changes(tmp_path, monkeypatch):
    broken_files(tmp_path / "a")
    wanted = [(str(path), "tensor") for path in sorted((tmp_path / "a").iterdir())]
    memory = Memory(tmp_path / "cache/seen.sqlite")
    fresh = list(look_at_all(wanted, memory, {}))
    assert [("error" in verdict) for verdict in fresh] == [i in (1, 2, 4) for i in range(10)]
    looked = []
    from mae_bench.datasets import file_checks

    look = file_checks.look
    monkeypatch.setattr(file_checks, "look", lambda *a: looked.append(a) or look(*a))
    again = list(look_at_all(wanted, Memory(tmp_path / "cache/seen.sqlite"), {}))
    assert [v.keys() for v in again] == [v.keys() for v in fresh]
    assert sorted(Path(path).stem for path, *_ in looked) == ["1", "2", "4"]  # never the broken
    looked.clear()
    target = tmp_path / "a/7.jpg"
    status = target.stat()
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    list(look_at_all(wanted, Memory(tmp_path / "cache/seen.sqlite"), {}))
    assert "7" in {Path(path).stem for path, *_ in looked}
    # another way of reading is another question
    looked.clear()
    list(look_at_all([(str(target), "array")], Memory(tmp_path / "cache/seen.sqlite"), {}))
    assert len(looked) == 1


def test_a_memory_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_memory() == tmp_path / "mae_bench/seen_files.sqlite"
    (tmp_path / "file").write_text("no folder")
    memory = Memory(tmp_path / "file/seen.sqlite")
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    assert list(look_at_all([(str(tmp_path / "a.png"), "array")], memory, {}))[0]["size"] == (4, 4)
