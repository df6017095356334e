"""Time and memory until the training set is known: ImageNet's files, COCO's annotations.

    tools/benchmark.py startup [--files 1281167] [--images 118287] [--objects 860001]

The sets are made in --folder: hard links to a few small pictures in 1,000 class folders, and an
annotation file of random polygons that is as long as COCO's. Each reader runs once in a process of
its own, in processor seconds, after one pass that brings the folders into the system's memory; a
disk or a network file system that has to be asked takes longer. Ours runs twice: the first process
of a node reads and keeps the list, here in --folder too, and the others find it. Memory is the
growth of the resident set: at its peak, and of what the data set keeps.
"""

import argparse
import json
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from time import process_time
from typing import Any

from PIL import Image

from .measure import describe_machine, print_table, resident_kib

CLASSES = 1000
LINKS = 30_000  # to one file; ext4 has 65,000
SIDE = 640  # pixels of COCO's pictures
FIRST, OTHERS = "ours, the first process", "ours, any other"
POINTS = 25  # of a polygon, with which 860,001 objects take about 460 MB, as COCO has


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the sub-command; the sizes are those of ImageNet-1K and COCO train2017."""
    parser.add_argument("--files", type=int, default=1_281_167)
    parser.add_argument("--images", type=int, default=118_287)
    parser.add_argument("--objects", type=int, default=860_001)
    parser.add_argument("--folder", type=Path, help="where the sets are made and removed")


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    print(describe_machine())
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        root = Path(name)
        files = [
            f"{c}/{number:07}.jpg"
            for c in _synsets()
            for number in range(-(-args.files // CLASSES))
        ][: args.files]
        link_images(root / "train", files)
        listed = sum(len(found) for _, _, found in os.walk(root / "train"))
        readers = {FIRST: image_net, OTHERS: image_net, "torchvision": torchvision_folder}
        print(f"\n{listed:,} files in {CLASSES} folders\n")
        print_readers(readers, root)
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        root = Path(name)
        pictures = [f"{number:012}.jpg" for number in range(args.images)]
        link_images(root / "train2017", pictures)
        size = write_annotations(root / "train.json", pictures, args.objects)
        print(f"\n{args.images:,} images, {args.objects:,} objects, {size / 1e6:.0f} MB\n")
        theirs = {"mmdet": mmdet_coco, "pycocotools": pycocotools}
        print_readers({FIRST: coco, OTHERS: coco, **theirs}, root)


def print_readers(readers: dict[str, Callable[[Path], Any]], root: Path) -> None:
    """A line for each reader."""
    os.environ["XDG_CACHE_HOME"] = str(root / "cache")  # of the processes, which go on with it
    rows = []
    for name, reader in readers.items():
        seconds, peak, kept = in_its_own_process(reader, root)
        rows.append([name, f"{seconds:.2f}", f"{peak:.2f}", f"{kept:.2f}"])
    print_table(["reader", "processor seconds", "GiB at its peak", "GiB kept"], rows)


def in_its_own_process(reader: Callable[[Path], Any], root: Path) -> tuple[float, float, float]:
    """Processor seconds, and GiB at the peak and kept, of one call; imports are not counted.

    Raises:
        RuntimeError: it failed there.
    """
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(sender, reader, root))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        raise RuntimeError(f"{reader.__name__} failed in its process, see above") from None
    finally:
        process.join()


def _measure(sender: Any, reader: Callable[[Path], Any], root: Path) -> None:
    build = reader(root)
    Path("/proc/self/clear_refs").write_text("5")
    before, start = resident_kib("VmRSS"), process_time()
    data = build()
    seconds = process_time() - start
    peak, kept = (resident_kib(field) - before for field in ("VmHWM", "VmRSS"))
    assert len(data)
    sender.send((seconds, peak / 2**20, kept / 2**20))


def image_net(root: Path) -> Callable[[], Any]:
    """The data set of the pre-training recipes."""
    from mae_bench.datasets.image_folders import ImageNet1K

    return lambda: ImageNet1K(data_root=str(root), split="train", pipeline=[])


def torchvision_folder(root: Path) -> Callable[[], Any]:
    """torchvision's ``ImageFolder``, which other code pre-trains from."""
    from torchvision.datasets import ImageFolder

    return lambda: ImageFolder(str(root / "train"))


def coco(root: Path) -> Callable[[], Any]:
    """The data set of the detection recipes."""
    from mae_bench.datasets.coco_instances import CocoInstances

    return lambda: CocoInstances(**_coco_options(root))


def mmdet_coco(root: Path) -> Callable[[], Any]:
    """mmdetection's, which ours derives from."""
    from mmdet.datasets import CocoDataset

    return lambda: CocoDataset(**_coco_options(root))


def pycocotools(root: Path) -> Callable[[], Any]:
    """The file alone."""
    from pycocotools.coco import COCO

    return lambda: COCO(str(root / "train.json")).dataset


def _coco_options(root: Path) -> dict[str, Any]:
    import mmdet.datasets.transforms  # noqa: F401 (registers the step)

    step = dict(type="mmdet.LoadAnnotations", with_bbox=True, with_mask=True)
    where = dict(ann_file="train.json", data_root=str(root), data_prefix=dict(img="train2017/"))
    return dict(**where, pipeline=[step], filter_cfg=dict(filter_empty_gt=True, min_size=32))


def _synsets() -> list[str]:
    from mae_bench.datasets.imagenet_variants import imagenet_classes

    return sorted(imagenet_classes())[:CLASSES]


def link_images(root: Path, names: list[str]) -> None:
    """Make pictures under these names, of which many are one."""
    for folder in {(root / name).parent for name in names}:
        folder.mkdir(parents=True)
    rest = iter(names)
    while several := list(islice(rest, LINKS)):
        first = root / several[0]
        Image.new("RGB", (8, 8)).save(first)
        for name in several[1:]:
            os.link(first, root / name)


def write_annotations(path: Path, pictures: list[str], objects: int) -> int:
    """Write an annotation file with the categories of COCO; its size in bytes."""
    from mmdet.datasets import CocoDataset

    names = CocoDataset.METAINFO["classes"]
    images = [
        dict(id=i, file_name=name, width=SIDE, height=SIDE) for i, name in enumerate(pictures)
    ]
    categories = [dict(id=i + 1, name=name) for i, name in enumerate(names)]
    with path.open("w", encoding="utf-8") as file:
        file.write(f'{{"images": {json.dumps(images)}, "categories": {json.dumps(categories)}, ')
        file.write('"annotations": [')
        for number, row in enumerate(_objects(objects, len(images), len(names))):
            file.write(f"{', ' if number else ''}{json.dumps(row)}")
        file.write("]}")
    return path.stat().st_size


def _objects(count: int, images: int, categories: int) -> Iterator[dict[str, Any]]:
    chance = random.Random(0)
    for number in range(count):
        left, top = (chance.randrange(SIDE - 200) for _ in range(2))
        width, height = (chance.randrange(20, 200) for _ in range(2))
        points = [
            round(start + chance.random() * side, 2)
            for _ in range(POINTS)
            for start, side in ((left, width), (top, height))
        ]
        yield dict(
            id=number + 1,
            image_id=number % images,
            category_id=number % categories + 1,
            iscrowd=0,
            bbox=[left, top, width, height],
            area=width * height / 2,
            segmentation=[points],
        )
