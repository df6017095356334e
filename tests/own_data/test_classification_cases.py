"""Odd classification sets: refused in one line by check and training, or trained on rightly."""

import csv
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mae_bench.config.load import load_config
from mae_bench.config.locate import find_config
from mae_bench.datasets.image_folders import ImageFolders, ImageNet1K
from mae_bench.datasets.imagenet_variants import imagenet_classes
from mae_bench.datasets.loading import LoadImageTensor

from .conftest import problems_of
from .makers import COLOURS, NAMES, class_folder, class_image

Change = Callable[[Path], Any]
SPLITS = ("train", "val")
SORTED = tuple(sorted(NAMES))


def lists(root: Path, separator: str = " ", labels: tuple[str, ...] | None = None) -> None:
    """The same images in one folder, with lists of their labels."""
    (root / "images").mkdir()
    for split in ("train", "val"):
        lines = []
        for path in sorted(root.glob(f"{split}/*/*")):
            label = SORTED.index(path.parent.name)
            path.rename(root / "images" / path.name)
            lines.append(f"{path.name}{separator}{labels[label] if labels else label}\n")
        shutil.rmtree(root / split)
        (root / f"{split}.txt").write_text("".join(lines))


def edit(split: str, change: Callable[[list[str]], Any]) -> Change:
    def both(root: Path) -> None:
        lists(root)
        lines = (root / f"{split}.txt").read_text().splitlines()
        changed = change(lines)
        (root / f"{split}.txt").write_text("\n".join(changed or lines) + "\n")

    return both


def animated(root: Path) -> None:
    for path in root.glob("train/cat/*.png"):
        frames = [Image.open(path), Image.new("RGB", (40, 36))]
        path.unlink()
        frames[0].save(path.with_suffix(".JPEG"), "GIF", save_all=True, append_images=frames[1:])


def deep(root: Path) -> None:
    for path in root.glob("*/*/*.png"):
        pixels = np.asarray(Image.open(path))[..., ::-1]
        cv2.imwrite(str(path), pixels.astype(np.uint16) * 257)


def clutter(root: Path) -> None:
    for split in ("train", "val"):
        (root / split / ".ipynb_checkpoints").mkdir()
        Image.new("RGB", (4, 4)).save(root / split / ".ipynb_checkpoints/x.png")
        (root / split / "README.txt").write_text("hello")
        (root / split / "cat/.ipynb_checkpoints").mkdir()
        Image.new("RGB", (4, 4)).save(root / split / "cat/.ipynb_checkpoints/x.png")
        (root / split / "cat/._cat0.png").write_bytes(b"macOS")


def number(train: tuple[str, ...], val: tuple[str, ...]) -> Change:
    """Class folders are numbers."""

    def change(root: Path) -> None:
        for split, names in (("train", train), ("val", val)):
            for old, new in zip(SORTED, names, strict=True):
                (root / split / old).rename(root / split / new)

    return change


REFUSED: dict[str, tuple[Change, list[str], list[str]]] = {
    "a class folder renamed in val": (
        lambda root: (root / "val/cat").rename(root / "val/cats"),
        [],
        ["'cats' is not among them", "3 class folders"],
    ),
    "a class that is in val only": (
        lambda root: shutil.copytree(root / "val/cat", root / "val/horse"),
        [],
        ["'horse' is not among them"],
    ),
    "an animal without images in training": (
        lambda root: [p.unlink() for n in ("cat", "dog") for p in root.glob(f"train/{n}/*")],
        [],
        ["of 3 classes 1 occur", "'cat', 'dog'"],
    ),
    "no images at all": (
        lambda root: [p.unlink() for p in root.glob("train/*/*")],
        [],
        ["train: no images"],
    ),
    "no class folders": (
        lambda root: (
            [p.rename(root / p.name) for p in root.glob("*/*/*.png")]
            and [shutil.rmtree(root / split) for split in ("train", "val")]
        ),
        [],
        ["no class folders and no list"],
    ),
    "a truncated image": (
        lambda root: (root / "train/cat/cat0.png").write_bytes(
            (root / "train/cat/cat0.png").read_bytes()[:-30]
        ),
        ["train_dataloader.batch_size=32"],
        ["cat0.png: cannot be decoded"],
    ),
    "a page in place of an image": (
        lambda root: (root / "val/cat/cat100.png").write_text("<html>not found</html>"),
        [],
        ["cat100.png: cannot be decoded"],
    ),
    "a line without a label": (
        edit("train", lambda lines: lines.__setitem__(2, "bird2.png")),
        [],
        ["train.txt, line 3", "'bird2.png' is not of the form 'IMAGE LABEL'"],
    ),
    "labels from 1": (
        edit("train", lambda lines: [f"{x[:-1]}{int(x[-1]) + 1}" for x in lines]),
        ["own_data.classes=('bird','cat','dog')"],
        ["train.txt, line", "labels run from 1 to 3; number them from 0"],
    ),
    "a label that is no class": (
        edit("val", lambda lines: lines.__setitem__(0, "bird100.png bat")),
        [],
        ["val.txt, line 1", "label 'bat' is none of the 3 classes"],
    ),
    "a label below 0": (
        edit("val", lambda lines: lines.__setitem__(0, "bird100.png -1")),
        [],
        ["val.txt, line 1", "label '-1' is none of the 3 classes"],
    ),
    "a label below 0 in training": (
        edit("train", lambda lines: lines.__setitem__(0, "bird0.png -1")),
        [],
        ["train.txt, line 1: label -1: labels run from 0"],
    ),
    "one class": (
        lambda root: [shutil.rmtree(root / f"{s}/{n}") for s in SPLITS for n in ("cat", "dog")],
        [],
        ["there is one class, ('bird',)"],
    ),
    "two classes of one name": (
        lambda root: None,
        ["own_data.classes=('bird','cat','cat')"],
        ["two classes are called 'cat'"],
    ),
    "a label in capitals": (
        lambda root: lists(root, labels=("Bird", "cat", "dog")),
        ["own_data.classes=('bird','cat','dog')"],
        ["label 'Bird' (is it 'bird'?)"],
    ),
    "an image with two labels": (
        edit("train", lambda lines: lines.append("bird0.png 2")),
        [],
        ["train.txt, line 13", "bird0.png has another label than in line 1"],
    ),
    "a listed image is missing": (
        edit("train", lambda lines: lines.append("bird77.png 0")),
        [],
        ["train.txt", "1 of its images are not on disk", "bird77.png"],
    ),
    "an empty list": (
        lambda root: (lists(root), (root / "train.txt").write_text("\n\n")),
        [],
        ["train.txt: lists no image"],
    ),
    "a head for more classes": (
        lambda root: None,
        ["model.head.num_classes=10"],
        ["model.head.num_classes=10", "metainfo.classes says 3"],
    ),
    "no such folder": (
        lambda root: shutil.rmtree(root),
        [],
        ["own: no such folder", "put or link the data there"],
    ),
    "two lists to train with": (
        lambda root: (lists(root), shutil.copy(root / "train.txt", root / "train_2.txt")),
        [],
        ["which is it?", "own_data.train=train"],
    ),
}
REFUSED_FAST = {"a class folder renamed in val", "a line without a label", "no such folder"}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_check(name, tmp_path, monkeypatch):
    change, options, words = REFUSED[name]
    monkeypatch.chdir(tmp_path)
    change(class_folder(Path("own")))
    said = problems_of("cls", Path("own"), options)
    assert any(all(word in line for word in words) for line in said), said


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in REFUSED_FAST else pytest.mark.slow) for n in REFUSED]
)
def test_refused(name, commands, tmp_path):
    change, options, words = REFUSED[name]
    change(class_folder(tmp_path / "own"))
    commands("cls", Path("own"), *options).refused(*words)


def suffix(new: str, mode: str = "RGB") -> Change:
    def change(root: Path) -> None:
        for path in sorted(root.glob("*/*/*.png")):
            pixels = Image.open(path).convert(mode)
            path.unlink()
            pixels.save(path.with_suffix(new), **(dict(lossless=True) if "webp" in new else {}))

    return change


def as_csv(root: Path) -> None:
    lists(root)
    for split in ("train", "val"):
        lines = [line.split() for line in (root / f"{split}.txt").read_text().splitlines()]
        with (root / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "label", "image"])
            writer.writerows([i, SORTED[int(n)], name] for i, (name, n) in enumerate(lines))
        (root / f"{split}.txt").unlink()


def as_archives(root: Path) -> None:
    for split in SPLITS:
        with tarfile.open(root / f"own-{split}.tar", "w") as tar:
            tar.add(root / split, split)
        shutil.rmtree(root / split)


def as_shards(root: Path) -> None:
    """WebDataset's: each image followed by its label."""
    for split in SPLITS:
        for i, path in enumerate(sorted(root.glob(f"{split}/*/*.png"))):
            label = root / "label"
            label.write_text(str(SORTED.index(path.parent.name)))
            with tarfile.open(root / f"own-{split}-{i % 2}.tar", "a") as tar:
                tar.add(path, f"{i // 2:05}.png")
                tar.add(label, f"{i // 2:05}.cls")
        shutil.rmtree(root / split)
    label.unlink()


def as_parquet(root: Path) -> None:
    """A data set of Hugging Face, whose classes have an order of their own."""
    import datasets

    names = ["dog", "bird", "cat"]
    for split, called in zip(SPLITS, ("train", "validation"), strict=True):
        paths = sorted(root.glob(f"{split}/*/*.png"))
        rows = {
            "image": [{"bytes": path.read_bytes(), "path": path.name} for path in paths],
            "label": [names.index(path.parent.name) for path in paths],
        }
        features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=names)}
        packed = datasets.Dataset.from_dict(rows, datasets.Features(features))
        (root / "data").mkdir(exist_ok=True)
        packed.to_parquet(root / f"data/{called}-00000-of-00001.parquet")
        shutil.rmtree(root / split)


def as_csv_of_a_spreadsheet(root: Path) -> None:
    as_csv(root)
    for path in root.glob("*.csv"):
        path.write_text(path.read_text().replace(",", ";"))


def one_folder(root: Path) -> None:
    """No split: twelve and six images in one folder for each class."""
    for path in sorted(root.glob("*/*/*.png")):
        new = root / path.parent.name / path.name
        new.parent.mkdir(exist_ok=True)
        path.rename(new)
    for split in ("train", "val"):
        shutil.rmtree(root / split)


ACCEPTED: dict[str, tuple[Change, list[str]]] = {
    "as it is": (lambda root: None, []),
    "clutter": (clutter, []),
    "16 bits": (deep, []),
    "animated GIFs named JPEG": (animated, []),
    "WebP": (suffix(".webp"), []),
    "bitmaps in capitals": (suffix(".BMP"), []),
    "TIFF": (suffix(".tif"), []),
    "with an alpha channel": (suffix(".png", "RGBA"), []),
    "numbers": (number(("8", "9", "10"), ("8", "9", "10")), []),
    "numbers with zeros": (number(("08", "09", "10"), ("8", "9", "10")), []),
    "a class missing in val": (lambda root: shutil.rmtree(root / "val/dog"), ["'dog' is missing"]),
    "lists": (lists, []),
    "lists with tabs": (lambda root: lists(root, "\t"), []),
    "lists with commas": (lambda root: lists(root, ","), []),
    "lists of names": (lambda root: lists(root, labels=SORTED), []),
    "names with blanks": (
        lambda root: lists(root, " ", ("a bird", "big cat", "wet dog")),
        [],
    ),
    "blank lines": (edit("train", lambda lines: ["", *lines, "  ", ""]), []),
    "leading slashes": (edit("train", lambda lines: [f"/{line}" for line in lines]), []),
    "Windows line ends": (edit("train", lambda lines: [f"{line}\r" for line in lines]), []),
    "a table": (as_csv, []),
    "archives": (as_archives, []),
    "shards": (as_shards, []),
    "Parquet files": (as_parquet, []),
    "a list called a table": (
        lambda root: (
            lists(root),
            [(root / f"{s}.txt").rename(root / f"{s}.csv") for s in SPLITS],
        ),
        [],
    ),
    "a table with semicolons": (as_csv_of_a_spreadsheet, []),
    "one folder": (one_folder, []),
    "folders in folders": (
        lambda root: [
            (p.parent / "lot 1").mkdir(exist_ok=True) or p.rename(p.parent / "lot 1" / p.name)
            for p in sorted(root.glob("*/*/*.png"))
        ],
        [],
    ),
}


def built(root: Path) -> dict[str, ImageFolders]:
    """The data sets of the recipe."""
    from mmengine.registry import DATASETS, init_default_scope

    from mae_bench.config.load import load_config

    from .conftest import RECIPES

    cfg = load_config(RECIPES["cls"], {"own_data.root": str(root)})
    init_default_scope("mmpretrain")
    return {
        part: DATASETS.build({**cfg[f"{part}_dataloader"]["dataset"], "pipeline": []})
        for part in ("train", "val")
    }


@pytest.mark.parametrize("name", ACCEPTED)
def test_labels_are_the_colours_that_one_sees(name, tmp_path):
    root = class_folder(tmp_path / "own")
    ACCEPTED[name][0](root)
    sets = built(root)
    # The one layout that has an order of its own.
    names = sets["train"].metainfo["classes"] if name == "Parquet files" else SORTED
    assert sets["train"].metainfo["classes"] == sets["val"].metainfo["classes"]
    counts = {part: len(dataset) for part, dataset in sets.items()}
    missing = 2 if name == "a class missing in val" else 0
    # without a validation set every fifth of the six images of a class is held out
    assert counts == (
        {"train": 15, "val": 3} if name == "one folder" else {"train": 12, "val": 6 - missing}
    )
    for dataset in sets.values():
        for i in range(len(dataset)):
            sample = dataset.get_data_info(i)
            pixels = LoadImageTensor(exif_orientation=True)(sample)["img"].float().mean((1, 2))
            seen = min(COLOURS, key=lambda n: (pixels - torch.tensor(COLOURS[n])).abs().sum())
            assert names[sample["gt_label"]] == seen


FAST = {"as it is", "16 bits"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in FAST else pytest.mark.slow) for n in ACCEPTED]
)
def test_accepted(name, commands, tmp_path):
    change, remarks = ACCEPTED[name]
    root = class_folder(tmp_path / "own")
    change(root)
    done = commands("cls", root)
    assert "accuracy/top1" in done.accepted(*remarks)["metrics"]
    Image.fromarray(class_image("cat", 0)).save(tmp_path / "cat.png")
    suffixes = (".png", ".webp", ".BMP", ".tif")
    found = (path.parent for path in root.rglob("*") if path.suffix in suffixes)
    assert done.predict(next(found, tmp_path / "cat.png")).code == 0
    assert list(Path("out/drawn").rglob("*.png"))


def test_a_colour_is_learned(commands, tmp_path):
    """The labels of training, test and prediction mean the same, also in another bit depth."""
    root = class_folder(tmp_path / "own", train=8, val=4)
    done = commands("cls", root, "auto_scale_lr.enable=False", "optim_wrapper.optimizer.lr=0.01")
    done.settings.update(iterations=60)
    assert done.accepted()["metrics"]["accuracy/top1"] == 100.0
    deep(root)
    assert done.predict(root / "val").code == 0
    with Path("out/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert all(row["image"].startswith(row["class1"]) for row in rows)


def test_training_and_test_folders_are_compared_by_test_too(commands, tmp_path):
    root = class_folder(tmp_path / "own")
    done = commands("cls", root)
    assert done.train().code == 0
    (root / "val/cat").rename(root / "val/zebra")
    assert "'zebra' is not among them" in done.test().error


@pytest.fixture
def thousand(tmp_path) -> Path:
    """A picture of each of five of ImageNet's classes, below train."""
    for label in (0, 1, 2, 10, 999):
        folder = tmp_path / "train" / imagenet_classes()[label]
        folder.mkdir(parents=True)
        Image.fromarray(class_image("cat", label)).save(folder / "a.png")
    return tmp_path


def test_imagenet_is_labelled_by_wordnet_id(thousand):
    dataset = ImageNet1K(data_root=str(thousand), split="train")
    assert [dataset.get_data_info(i)["gt_label"] for i in range(5)] == [0, 1, 2, 10, 999]
    (thousand / "val").mkdir()
    for label in (0, 1, 2, 10, 999):  # as ImageNet-V2's folders
        (thousand / "val" / str(label)).mkdir()
        Image.fromarray(class_image("cat", label)).save(thousand / f"val/{label}/a.png")
    dataset = ImageNet1K(data_root=str(thousand), split="val")
    found = [dataset.get_data_info(i) for i in range(5)]
    assert [(s["img_path"].split("/")[-2], s["gt_label"]) for s in found] == [
        (str(label), label) for label in (0, 1, 2, 10, 999)
    ]
    (thousand / "meta").mkdir()
    (thousand / "meta/train.txt").write_text(
        f"{imagenet_classes()[10]}/a.png n02002556\n".replace("n02002556", imagenet_classes()[10])
    )
    dataset = ImageNet1K(data_root=str(thousand), split="train")
    assert [dataset.get_data_info(i)["gt_label"] for i in range(len(dataset))] == [10]
    with pytest.raises(ValueError, match="split='test2'"):
        ImageNet1K(data_root=str(thousand), split="test2")


def test_a_recipe_that_never_validates_gets_no_loader_for_it(tmp_path):
    config = find_config("configs/cls/vit_base_frozen_own.py")
    class_folder(tmp_path)
    given = {"own_data.root": str(tmp_path)}, {"own_data.classes": tuple(NAMES)}
    for own, classes in zip(given, (sorted(NAMES), NAMES), strict=True):
        cfg = load_config(config, own)
        assert "val_dataloader" not in cfg
        for loader in (cfg.train_dataloader, cfg.test_dataloader):
            assert loader.dataset.metainfo["classes"] == tuple(classes)
