"""Images in archives are those of the folders that were packed; a damaged archive is refused."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from mae_bench.datasets import archives
from mae_bench.datasets.image_folders import ImageFolders, ImageNet1K
from mae_bench.datasets.imagenet_variants import imagenet_classes
from mae_bench.datasets.loading import LoadImage, LoadImageTensor

CLASSES = ("2", "10", "9")  # sorted as text they would be in another order


@pytest.fixture
def folder(tmp_path) -> Path:
    """Twelve images in three classes."""
    for label, name in enumerate(sorted(CLASSES, key=int)):
        for i in range(4):
            path = tmp_path / f"folders/train/{name}/image {i}.{'png' if i else 'JPEG'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng([label, i]).integers(0, 255, (9, 8, 3), np.uint8)
            Image.fromarray(pixels).save(path)
    return tmp_path / "folders"


def pack(path: Path, files: Iterable[tuple[str, bytes]], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def below(folder: Path) -> list[tuple[str, bytes]]:
    paths = sorted(p for p in folder.rglob("*") if p.is_file())
    return [(str(p.relative_to(folder)), p.read_bytes()) for p in paths]


def as_published(folder: Path, root: Path) -> None:
    """An archive of one for each class, as ImageNet's."""
    inner = []
    for of_class in sorted((folder / "train").iterdir()):
        packed = pack(root / "inner.tar", below(of_class))
        inner.append((f"{of_class.name}.tar", packed.read_bytes()))
        packed.unlink()
    pack(root / "ILSVRC2012_img_train.tar", inner)


def with_folders(folder: Path, root: Path) -> None:
    clutter = [("train/.DS_Store", b"x"), ("README.txt", b"x"), ("train/2/._a.png", b"x")]
    pack(root / "train.tar", [*below(folder), *clutter])


def one_for_each(folder: Path, root: Path) -> None:
    for of_class in (folder / "train").iterdir():
        files = [(f"{of_class.name}/{name}", content) for name, content in below(of_class)]
        pack(root / f"train/{of_class.name}.tar", files)


def shards(folder: Path, root: Path) -> None:
    """WebDataset's, in another order, with labels beside the images."""
    order = sorted(CLASSES, key=int)
    files = below(folder / "train")[::-1]
    for shard in range(3):
        inside = []
        for number, (name, content) in enumerate(files[shard::3]):
            label = order.index(name.split("/")[0])
            key = f"{number:04}"  # the same in each shard
            inside.append((f"{key}.{name.rpartition('.')[2].lower()}", content))
            inside.append(
                (f"{key}.cls", str(label).encode())
                if shard
                else (f"{key}.json", f'{{"label": {label}}}'.encode())
            )
        pack(root / f"set-train-{shard:04}.tar", inside)


def samples(root: Path, **options) -> list[tuple[int | None, bytes]]:
    dataset = ImageFolders(data_root=str(root), data_prefix="train", pipeline=[], **options)
    found = []
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        pixels = LoadImageTensor()(info)["img"]
        assert np.array_equal(LoadImage()(dict(info))["img"][..., ::-1], pixels.permute(1, 2, 0))
        found.append((info.get("gt_label"), pixels.numpy().tobytes()))
    return found


@pytest.mark.parametrize("packed", [as_published, with_folders, one_for_each, shards])
def test_the_samples_of_an_archive_are_those_of_the_folders(folder, tmp_path, packed):
    packed(folder, tmp_path / "packed")
    expected, found = samples(folder), samples(tmp_path / "packed")
    unlabelled = samples(tmp_path / "packed", with_label=False)
    if packed is shards:  # their order is their own
        expected, found = sorted(expected), sorted(found)
    assert found == expected and len(found) == 12
    assert sorted(pixels for _, pixels in unlabelled) == sorted(pixels for _, pixels in expected)


def test_an_unpacked_folder_comes_before_the_archive_beside_it(folder):
    pack(folder / "train.tar", [("train/2/a.png", b"")])
    assert len(samples(folder)) == 12


def test_labels_from_a_list(folder, tmp_path):
    files = [(name.replace("/", "_"), content) for name, content in below(folder / "train")]
    pack(tmp_path / "flat/train.tar", files)
    with pytest.raises(ValueError, match=r"has no folder of its class, and no list says its label"):
        samples(tmp_path / "flat")
    lines = [f"{name} {name.partition('_')[0]}" for name, _ in files]
    (tmp_path / "flat/train.txt").write_text("\n".join(lines))
    options = dict(ann_file="train.txt", metainfo=dict(classes=sorted(CLASSES, key=int)))
    assert sorted(samples(tmp_path / "flat", **options)) == sorted(samples(folder))
    (tmp_path / "flat/train.txt").write_text("\n".join([*lines, "absent.png 2"]))
    with pytest.raises(FileNotFoundError, match=r"train.txt: 1 of its images .* first absent.png"):
        samples(tmp_path / "flat", **options)


def test_imagenet_val_as_published_with_its_development_kit(folder, tmp_path):
    """The kit numbers classes in an order of its own."""
    ids = imagenet_classes()
    own = [ids[7], ids[0], ids[999]]  # by the kit's number, from 1
    table = np.array(
        [(number, wnid) for number, wnid in enumerate(own, 1)],
        dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O")],
    )
    matlab = io.BytesIO()
    scipy.io.savemat(matlab, {"synsets": table})
    kit = [
        ("ILSVRC2012_devkit_t12/data/meta.mat", matlab.getvalue()),
        ("ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", b"2\n3\n1\n2\n"),
    ]
    images = [content for _, content in below(folder / "train")][:4]
    names = [f"ILSVRC2012_val_{i:08}.JPEG" for i in range(1, 5)]
    root = tmp_path / "imagenet"
    pack(root / "ILSVRC2012_img_val.tar", zip(names, images, strict=True))
    pack(root / archives.DEVKIT, kit, "w:gz")
    dataset = ImageNet1K(data_root=str(root), split="val", pipeline=[])
    infos = [dataset.get_data_info(i) for i in range(4)]
    assert [info["gt_label"] for info in infos] == [0, 999, 7, 0]
    assert [info["img_path"].rpartition(":")[2] for info in infos] == names


def test_a_damaged_archive_never_has_fewer_images(folder, tmp_path):
    with_folders(folder, tmp_path / "packed")
    path = tmp_path / "packed/train.tar"
    whole = path.read_bytes()
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    for cut in range(512, end + 1, 512):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match="train.tar"):
            samples(tmp_path / "packed")
    for place in range(0, end - 512, 1024):  # a header, or an image, which the list does not read
        path.write_bytes(whole[:place] + b"\xff" * 512 + whole[place + 512 :])
        try:
            assert len(archives.list_members([path])) >= 12
        except ValueError as error:
            assert "train.tar" in str(error)
    path.write_bytes(whole + whole)
    with pytest.raises(ValueError, match="cut off or damaged after"):
        samples(tmp_path / "packed")
    path.write_bytes(b"<html>")
    with pytest.raises(ValueError, match=r"train.tar: is no tar, or damaged"):
        samples(tmp_path / "packed")
    pack(path, below(folder), "w:gz")
    with pytest.raises(ValueError, match=r"train.tar: is compressed.* gunzip"):
        samples(tmp_path / "packed")


def test_the_list_of_a_large_archive_is_kept_until_it_changes(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(archives, "KEPT_FROM", 0)
    with_folders(folder, tmp_path / "packed")
    shards(folder, tmp_path / "shards")
    for root in ("packed", "shards"):
        paths = archives.find_archives(tmp_path / root / "train")
        first = archives.list_members(paths)
        with monkeypatch.context() as patch:
            patch.setattr(archives, "_scan", None)
            assert archives.list_members(paths) == first
    pack(tmp_path / "packed/train.tar", below(folder)[:2])
    assert len(archives.list_members([tmp_path / "packed/train.tar"])) == 2
    for kept in (tmp_path / "cache").rglob("*.npz"):
        kept.write_bytes(b"damaged")
    assert len(archives.list_members([tmp_path / "packed/train.tar"])) == 2
