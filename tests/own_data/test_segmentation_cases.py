"""Odd segmentation sets: refused in one line by check and training alike, or trained on rightly."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mmseg.evaluation import IoUMetric
from PIL import Image

from mae_bench.datasets.images_and_masks import ImagesAndMasks
from mae_bench.datasets.loading import LoadImage
from mae_bench.datasets.masks import LoadMask

from .conftest import problems_of
from .makers import COLOURS, HEIGHT, NAMES, WIDTH, mask_folder

Change = Callable[[Path], Any]
CLASSES = ("background", *NAMES)


def masks(root: Path, split: str = "*") -> Iterator[Path]:
    return iter(sorted(root.glob(f"masks/{split}/*.png")))


def relabel(table: dict[int, int], split: str = "*") -> Change:
    def change(root: Path) -> None:
        for path in masks(root, split):
            labels = np.asarray(Image.open(path))
            new = np.arange(256, dtype=np.uint8)
            new[list(table)] = list(table.values())
            Image.fromarray(new[labels]).save(path)

    return change


def convert(mode: str) -> Change:
    def change(root: Path) -> None:
        for path in masks(root):
            Image.open(path).convert(mode).save(path)

    return change


def first_mask(content: Any) -> Change:
    def change(root: Path) -> None:
        path = next(masks(root, "train"))
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            Image.fromarray(content).save(path)

    return change


def oriented(orientation: int, turned_back: bool) -> Change:
    """EXIF on every image; stored so that turning it back gives the image of the mask, or not."""

    def change(root: Path) -> None:
        exif = Image.Exif()
        exif[274] = orientation
        back = {6: Image.Transpose.ROTATE_90, 3: Image.Transpose.ROTATE_180}[orientation]
        for path in root.glob("images/*/*.png"):
            pixels = Image.open(path)
            (pixels.transpose(back) if turned_back else pixels).save(path, exif=exif)

    return change


def binary(root: Path) -> None:
    """Background and one class, with 255 for the object, as many tools write it."""
    relabel({1: 255, 2: 255, 3: 255})(root)
    (root / "classes.txt").write_text("background\nanimal\n")


def several_sizes(root: Path) -> None:
    for kind in ("images", "masks"):
        path = sorted(root.glob(f"{kind}/val/*.png"))[0]
        Image.open(path).crop((0, 0, 40, 40)).save(path)


REFUSED: dict[str, tuple[Change, list[str], list[str]]] = {
    # name: change of the right set, options, words of the line
    "255 for the object": (binary, [], ["of 2 classes 1 occur", "not 'animal'", "255 is void"]),
    "255 for the object, unnamed": (
        lambda root: (binary(root), (root / "classes.txt").unlink()),
        [],
        ["no label but 0 and 255", "give each class its number"],
    ),
    "255 for the object in val": (
        relabel({1: 255, 2: 255, 3: 255}, "val"),
        [],
        ["val_dataloader", "of 4 classes 1 occur", "255 is void"],
    ),
    "0 void in training only": (
        lambda root: None,
        ["train_dataloader.dataset.reduce_zero_label=True"],
        ["val_dataloader", "reduce_zero_label is False, in training True", "the same to both"],
    ),
    "0 void by mistake": (
        lambda root: None,
        [f"{part}_dataloader.dataset.reduce_zero_label=True" for part in ("train", "val")],
        ["of 4 classes 3 occur", "0 is void, and 1 is 'background': set it to False"],
    ),
    "two classes of one name": (
        lambda root: (root / "classes.txt").write_text("background\ncat\ncat\nbird\n"),
        [],
        ["two classes are called 'cat'"],
    ),
    "masks as JPEG": (
        lambda root: [
            Image.open(path).save(path.with_suffix(".jpg")) or path.unlink() for path in masks(root)
        ],
        [],
        ["6 images have no mask", "0.jpg is in a format that changes labels"],
    ),
    "masks with an end of their own": (
        lambda root: [path.rename(path.with_name(f"{path.stem}_mask.png")) for path in masks(root)],
        [],
        ["6 images have no mask", "for 0_mask.png set seg_map_suffix=_mask.png"],
    ),
    "nothing but 255": (
        relabel({0: 255, 1: 255, 2: 255, 3: 255}),
        [],
        ["all of the 6 masks have nothing but void"],
    ),
    "nothing but 0, which is void": (
        relabel({1: 0, 2: 0, 3: 0}),
        [f"{part}_dataloader.dataset.reduce_zero_label=True" for part in ("train", "val")],
        ["nothing but void (stored labels 0)", "so is 0 with reduce_zero_label"],
    ),
    "150 classes for 4": (
        lambda root: (root / "classes.txt").write_text("".join(f"c{i}\n" for i in range(150))),
        [],
        ["of 150 classes 4 occur", "stored labels are 0, 1, 2, 3"],
    ),
    "labels beyond the classes": (
        relabel({3: 9}),
        [],
        ["masks have labels beyond the 4 classes", "0.png has 9"],
    ),
    "labels from 1": (
        relabel({0: 1, 1: 2, 2: 3, 3: 4}),
        [],
        ["labels beyond the 4 classes", "has 4"],
    ),
    "masks in RGB": (convert("RGB"), [], ["a mask with 3 channels (RGB)", "one channel"]),
    "masks in RGBA": (convert("RGBA"), [], ["a mask with 4 channels (RGBA)"]),
    "one mask in RGB": (
        first_mask(np.zeros((HEIGHT, WIDTH, 3), np.uint8)),
        [],
        ["1 masks cannot be used", "masks/train/0.png"],
    ),
    "a mask above 255": (
        first_mask(np.full((HEIGHT, WIDTH), 300, np.uint16)),
        [],
        ["masks/train/0.png", "has the label 300, above 255"],
    ),
    "a truncated mask": (
        lambda root: next(masks(root, "train")).write_bytes(
            next(masks(root, "train")).read_bytes()[:60]
        ),
        [],
        ["masks/train/0.png", "cannot be decoded as a mask"],
    ),
    "a mask that is text": (first_mask(b"<html>"), [], ["masks/train/0.png", "cannot be decoded"]),
    "a mask of another size": (
        first_mask(np.zeros((WIDTH, HEIGHT), np.uint8)),
        [],
        ["another size than their annotations", "0.png is 48x40, its annotations are for 40x48"],
    ),
    "an image without a mask": (
        lambda root: next(masks(root, "train")).unlink(),
        [],
        ["1 images have no mask there", "first 0.png"],
    ),
    "two images of one name": (
        lambda root: Image.new("RGB", (WIDTH, HEIGHT)).save(root / "images/train/0.jpg"),
        [],
        ["0.jpg and 0.png have one mask"],
    ),
    "a suffix that leaves images out": (
        lambda root: (
            [p.rename(p.with_suffix(".PNG")) for p in root.glob("images/train/[0-2].png")]
            and [
                Image.open(p).save(p.with_suffix(".jpg")) or p.unlink()
                for p in root.glob("images/train/[3-5].png")
            ]
        ),
        ["train_dataloader.dataset.img_suffix=.png"],
        ["3 images with masks do not end in img_suffix='.png'", "first 3.jpg"],
    ),
    "no masks for the images of val": (
        lambda root: shutil.rmtree(root / "masks/val"),
        [],
        ["images/val: has images, and what is in them is written nowhere"],
    ),
    "no images": (
        lambda root: [p.unlink() for p in root.glob("images/train/*")],
        [],
        ["images/train: no images"],
    ),
    "no folders of that name": (
        lambda root: (root / "masks").rename(root / "gt_fine"),
        [],
        ["no folders of images and masks", "images/train and masks/train"],
    ),
    "masks over stored pixels": (
        oriented(6, turned_back=False),
        [],
        ["annotations for them as they are stored", "exif_orientation=False"],
    ),
    "upside down by EXIF": (oriented(3, turned_back=True), [], ["sizes tell nothing"]),
    "several sizes in a batch": (
        several_sizes,
        ["val_dataloader.batch_size=2"],
        ["images are of several sizes", "val_dataloader.batch_size is 2: set it to 1"],
    ),
    "a head for more classes": (
        lambda root: None,
        ["model.decode_head.num_classes=10"],
        ["model.decode_head.num_classes=10", "metainfo.classes says 4"],
    ),
    "one name too few": (
        lambda root: (root / "classes.txt").write_text("background\ncat\ndog\n"),
        [],
        ["labels beyond the 3 classes"],
    ),
    "one name as text": (
        lambda root: None,
        ["own_data.classes=cat"],
        ["own_data.classes=cat: several names are needed"],
    ),
}
REFUSED_FAST = {"255 for the object", "masks in RGB", "upside down by EXIF"}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_check(name, tmp_path, monkeypatch):
    change, options, words = REFUSED[name]
    monkeypatch.chdir(tmp_path)
    change(mask_folder(Path("own")))
    said = problems_of("seg", Path("own"), options)
    assert any(all(word in line for word in words) for line in said), said


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in REFUSED_FAST else pytest.mark.slow) for n in REFUSED]
)
def test_refused(name, commands, tmp_path):
    change, options, words = REFUSED[name]
    change(mask_folder(tmp_path / "own"))
    commands("seg", Path("own"), *options).refused(*words)


def half_jpeg(root: Path) -> None:
    for path in sorted(root.glob("images/*/*.png"))[::2]:
        Image.open(path).save(path.with_suffix(".JPG"), quality=95)
        path.unlink()


def suffix(new: str, mode: str = "RGB") -> Change:
    def change(root: Path) -> None:
        for path in sorted(root.glob("images/*/*.png")):
            pixels = Image.open(path).convert(mode)
            path.unlink()
            options = dict(lossless=True) if new == ".webp" else {}
            pixels.save(path.with_suffix(new), **options)

    return change


def deep_masks(root: Path) -> None:
    for path in masks(root):
        cv2.imwrite(str(path), np.asarray(Image.open(path)).astype(np.uint16))


def palette(root: Path) -> None:
    for path in masks(root):
        image = Image.open(path)
        image.putpalette(list(range(256)) * 3)
        image.save(path)


def clutter(root: Path) -> None:
    """What file managers and notebooks leave behind."""
    for folder in (*root.glob("images/*"), *root.glob("masks/*")):
        (folder / ".DS_Store").write_bytes(b"x")
        (folder / "Thumbs.db").write_bytes(b"x")
        (folder / "README.txt").write_text("hello")
        (folder / ".ipynb_checkpoints").mkdir()
        Image.new("L", (3, 3)).save(folder / ".ipynb_checkpoints/0-checkpoint.png")
        (folder / "._0.png").write_bytes(b"x")


def deeper(root: Path) -> None:
    for path in [*root.glob("images/*/*.png"), *root.glob("masks/*/*.png")]:
        new = path.parent / "städte a" / path.name
        new.parent.mkdir(exist_ok=True)
        path.rename(new)


ACCEPTED: dict[str, tuple[Change, list[str]]] = {
    "as it is": (lambda root: None, []),
    "half JPEG, half PNG": (half_jpeg, []),
    "WebP": (suffix(".webp"), []),
    "bitmaps": (suffix(".BMP"), []),
    "grey images": (suffix(".png", "L"), []),
    "masks of 16 bits": (deep_masks, []),
    "masks with a palette": (palette, []),
    "masks as bitmaps": (
        lambda root: [Image.open(p).save(p.with_suffix(".bmp")) or p.unlink() for p in masks(root)],
        [],
    ),
    "clutter": (clutter, []),
    "folders in folders": (deeper, []),
    "masks more than images": (
        lambda root: Image.new("L", (4, 4)).save(root / "masks/train/77.png"),
        ["1 masks have no image"],
    ),
    "one mask all void": (
        lambda root: Image.new("L", (WIDTH, HEIGHT), 255).save(root / "masks/train/0.png"),
        ["1 masks have nothing but void"],
    ),
    "a class as void": (
        relabel({3: 255}),
        ["of 4 classes 3 occur", "255, which some have, is void"],
    ),
    "upright over pictures on their side": (oriented(6, turned_back=True), []),
    "several sizes": (several_sizes, []),
}
UNUSUAL = {"one mask all void", "a class as void", "grey images", "several sizes"}


def build(root: Path, split: str) -> ImagesAndMasks:
    from mmseg.datasets.transforms import PackSegInputs

    return ImagesAndMasks(
        data_root=str(root),
        data_prefix=dict(img_path=f"images/{split}", seg_map_path=f"masks/{split}"),
        metainfo=dict(classes=CLASSES),
        pipeline=[LoadImage(), LoadMask(), PackSegInputs()],
    )


@pytest.mark.parametrize("name", [name for name in ACCEPTED if name not in UNUSUAL])
def test_labels_are_the_squares_that_one_sees(name, tmp_path):
    """Every pixel's label is the name of its colour; so a perfect model's mIoU is 100."""
    root = mask_folder(tmp_path / "own")
    ACCEPTED[name][0](root)
    for split, count in (("train", 6), ("val", 4)):
        dataset = build(root, split)
        assert len(dataset) == count
        metric = IoUMetric()
        metric.dataset_meta = dataset.metainfo
        for i in range(count):
            sample = dataset[i]
            labels = sample["data_samples"].gt_sem_seg.data[0].numpy()
            pixels = sample["inputs"].numpy()[::-1].transpose(1, 2, 0).astype(int)
            colours = np.array([(110, 110, 110), *COLOURS.values()])
            seen = np.abs(pixels[:, :, None] - colours).sum(-1).argmin(-1)
            # JPEG blurs the edges
            assert (seen == labels).mean() > (0.9 if "JPEG" in name else 0.999)
            data = sample["data_samples"]
            truth = dict(data=data.gt_sem_seg.data)
            metric.process({}, [dict(pred_sem_seg=truth, gt_sem_seg=truth)])
        assert metric.evaluate(count)["mIoU"] == 100.0


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n == "as it is" else pytest.mark.slow) for n in ACCEPTED],
)
def test_accepted(name, commands, tmp_path):
    change, remarks = ACCEPTED[name]
    root = mask_folder(tmp_path / "own")
    change(root)
    record = commands("seg", root).accepted(*remarks)
    assert record["data_counts"] == {"test": 4}
    assert "mIoU" in record["metrics"]


def test_zero_as_void_is_shifted_as_mmsegmentation_does(tmp_path):
    from mmseg.datasets.transforms import LoadAnnotations

    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(labels).save(tmp_path / "a.png")
    for reduce in (False, True):
        for label_map in (None, {0: 3, 3: 255, 7: 0}):
            sample = dict(
                seg_map_path=str(tmp_path / "a.png"), reduce_zero_label=reduce, label_map=label_map
            )
            host = LoadAnnotations()(dict(sample, seg_fields=[]))["gt_seg_map"]
            ours = LoadMask()(dict(sample, seg_fields=[]))["gt_seg_map"]
            assert np.array_equal(host, ours)
    with pytest.raises(ValueError, match="reduce_zero_label=True of LoadMask, and False"):
        LoadMask(reduce_zero_label=True)(dict(sample, reduce_zero_label=False, seg_fields=[]))


@pytest.mark.slow
def test_masks_of_predictions_are_as_those_of_training(commands, tmp_path):
    root = mask_folder(tmp_path / "own")
    relabel({0: 1, 1: 2, 2: 3, 3: 4})(root)
    (root / "masks/train/0.png").exists()
    options = [f"{part}_dataloader.dataset.reduce_zero_label=True" for part in ("train", "val")]
    done = commands("seg", root, *options)
    assert done.train().code == 0
    assert done.predict(root / "images/val").code == 0
    found = {int(x) for p in Path("out/masks").glob("*.png") for x in np.unique(Image.open(p))}
    assert found <= {1, 2, 3, 4}
    assert Path("out/classes.txt").read_text().splitlines()[0] == "1 background"
