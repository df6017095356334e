"""ImageNet-C on a small tree of empty files: the reader looks at names only."""

from pathlib import Path

import pytest

from mae_bench.datasets.robustness_sets import ImageNetC

CLASSES = ("n01440764", "n01443537", "n01484850")


def make_tree(root: Path, corruptions=("fog", "snow"), severities=(1, 2, 3, 4, 5)) -> Path:
    for corruption in corruptions:
        for severity in severities:
            for name in CLASSES:
                folder = root / corruption / str(severity) / name
                folder.mkdir(parents=True)
                (folder / "b.JPEG").touch()
                (folder / "a.JPEG").touch()
                (folder / "notes.txt").touch()
    return root


def read(root: Path, **options) -> list[dict]:
    dataset = ImageNetC(str(root), pipeline=[], **options)
    return [dataset.get_data_info(i) for i in range(len(dataset))]


def test_every_image_with_its_label_corruption_and_severity(tmp_path):
    samples = read(make_tree(tmp_path))
    assert len(samples) == 2 * 5 * 3 * 2
    for sample in samples:
        corruption, severity, folder, name = Path(sample["img_path"]).relative_to(tmp_path).parts
        assert sample["corruption"] == corruption
        assert sample["severity"] == int(severity)
        assert sample["gt_label"] == CLASSES.index(folder)
        assert name in ("a.JPEG", "b.JPEG")
    assert len({sample["img_path"] for sample in samples}) == len(samples)


def test_order_does_not_depend_on_the_file_system(tmp_path):
    paths = [sample["img_path"] for sample in read(make_tree(tmp_path))]
    assert paths == sorted(paths)


def test_chosen_corruptions(tmp_path):
    samples = read(make_tree(tmp_path), corruptions=["snow"])
    assert {sample["corruption"] for sample in samples} == {"snow"}
    assert len(samples) == 5 * 3 * 2


def test_missing_severity(tmp_path):
    make_tree(tmp_path, severities=(1, 2, 4, 5))
    with pytest.raises(FileNotFoundError, match=r"fog/3: no such folder.*<severity 1-5>"):
        read(tmp_path)


def test_missing_corruption(tmp_path):
    make_tree(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"frost/1: no such folder"):
        read(tmp_path, corruptions=["fog", "frost"])


def test_missing_root(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere: no such folder; .*ImageNet-C"):
        read(tmp_path / "nowhere")


def test_classes_of_imagenet_unless_told():
    assert len(ImageNetC.METAINFO["classes"]) == 1000
