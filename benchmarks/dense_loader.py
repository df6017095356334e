"""Training images of COCO and ADE20K: our steps beside those of mmdet, mmseg and detectron2."""

import importlib.util
import statistics
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import Compose, LoadImageFromFile, RandomFlip, RandomResize
from mmengine.registry import init_default_scope
from PIL import Image
from skimage import data as photographs

from mae_bench.config.load import load_config

from .measure import interleaved_seconds, print_table, processor_clock, speed_up

DET = Path("configs/det/mask_rcnn_vit_base_coco.py")
SEG = Path("configs/seg/upernet_vit_base_ade20k.py")
OURS, DETECTRON2 = "ours", "detectron2"
COCO_SIZE, ADE20K_SIZE = (480, 640), (512, 683)  # (height, width), usual ones
OBJECTS, CORNERS = (1, 14), (10, 45)  # least and greatest; 7 objects an image in COCO
CROP = 1024

Loader = Callable[[dict[str, Any]], Any]


def make_images(folder: Path, count: int, size: tuple[int, int]) -> list[Path]:
    """Write crops of photographs with a little noise as JPEGs, the same each time."""
    rng = np.random.default_rng(0)
    height, width = size
    names = ("astronaut", "chelsea", "coffee", "rocket")
    sources = [
        np.asarray(
            Image.fromarray(getattr(photographs, name)()).resize((width + 240, height + 200))
        )
        for name in names
    ]
    paths = []
    for i in range(count):
        top, left = rng.integers(200), rng.integers(240)
        image = sources[i % len(sources)][top : top + height, left : left + width].astype(float)
        image = (image + rng.normal(0, 4, image.shape)).clip(0, 255).astype(np.uint8)
        paths.append(folder / f"{i}.jpg")
        Image.fromarray(image).save(paths[-1], quality=90)
    return paths


def coco_samples(folder: Path, count: int) -> list[dict[str, Any]]:
    """Samples as mmdet's ``CocoDataset`` gives them: star-shaped objects with polygons."""
    rng = np.random.default_rng(1)
    height, width = COCO_SIZE
    samples = []
    for i, path in enumerate(make_images(folder, count, COCO_SIZE)):
        instances = []
        for _ in range(rng.integers(*OBJECTS)):
            centre = rng.uniform((60, 60), (width - 60, height - 60))
            angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(*CORNERS)))
            radius = np.exp(rng.uniform(np.log(6), np.log(150)))
            offsets = np.stack([np.cos(angles), np.sin(angles)], axis=1)
            points = centre + radius * rng.uniform(0.6, 1, (len(angles), 1)) * offsets
            points = points.clip(0, (width - 1, height - 1))
            box = [*points.min(axis=0).tolist(), *points.max(axis=0).tolist()]
            mask = [points.ravel().tolist()]
            label = int(rng.integers(80))
            instances.append(dict(bbox=box, bbox_label=label, ignore_flag=0, mask=mask))
        sample = dict(img_path=str(path), img_id=i, height=height, width=width)
        samples.append(dict(sample, instances=instances))
    return samples


def ade20k_samples(folder: Path, count: int) -> list[dict[str, Any]]:
    """Samples as mmseg's ``ADE20KDataset`` gives them: discs of all classes on a background."""
    rng = np.random.default_rng(1)
    height, width = ADE20K_SIZE
    samples = []
    for path in make_images(folder, count, ADE20K_SIZE):
        coarse = rng.integers(0, 151, (9, 12)).astype(np.uint8)
        labels = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)
        for _ in range(40):
            centre = (int(rng.integers(width)), int(rng.integers(height)))
            cv2.circle(labels, centre, int(rng.integers(5, 120)), int(rng.integers(151)), -1)
        Image.fromarray(labels).save(path.with_suffix(".png"))
        sample = dict(img_path=str(path), seg_map_path=str(path.with_suffix(".png")))
        samples.append(dict(sample, label_map=None, reduce_zero_label=True, seg_fields=[]))
    return samples


def of_config(path: Path) -> Loader:
    """The pipeline of a config's training data."""
    cfg = load_config(path)
    init_default_scope(cfg.default_scope)
    return Compose(cfg.train_dataloader.dataset.pipeline)


def mmdet_steps() -> Loader:
    """mmdet's own steps for the same augmentation, as its ViTDet project has them."""
    from mmdet.datasets import transforms as t

    return Compose(
        [
            LoadImageFromFile(),
            t.LoadAnnotations(with_bbox=True, with_mask=True),
            RandomResize((CROP, CROP), (0.1, 2.0), resize_type="mmdet.Resize", keep_ratio=True),
            t.RandomCrop((CROP, CROP), recompute_bbox=True, allow_negative_crop=True),
            t.FilterAnnotations(min_gt_bbox_wh=(1e-2, 1e-2), keep_empty=False),
            t.Pad(size=(CROP, CROP), pad_val=dict(img=(128, 128, 128), masks=0)),
            t.RandomFlip(prob=0.5),
            t.PackDetInputs(),
        ]
    )


def detectron2_steps() -> Loader:
    """detectron2's mapper with MIMDet's augmentation."""
    import detectron2.data.transforms as t
    from detectron2.data import DatasetMapper
    from detectron2.structures import BoxMode

    crop = t.FixedSizeCrop((CROP, CROP))
    mapper = DatasetMapper(
        is_train=True,
        augmentations=[t.ResizeScale(0.1, 2.0, CROP, CROP), crop, t.RandomFlip()],
        image_format="RGB",
        use_instance_mask=True,
        recompute_boxes=True,
    )

    def load(sample: dict[str, Any]) -> Any:
        annotations = [
            dict(
                bbox=item["bbox"],
                bbox_mode=BoxMode.XYXY_ABS,
                segmentation=item["mask"],
                category_id=item["bbox_label"],
            )
            for item in sample["instances"]
        ]
        size = dict(height=sample["height"], width=sample["width"])
        return mapper(dict(size, file_name=sample["img_path"], annotations=annotations))

    return load


def mmseg_steps() -> Loader:
    """mmseg's own steps for the same augmentation."""
    from mmseg.datasets import transforms as t

    return Compose(
        [
            LoadImageFromFile(),
            t.LoadAnnotations(),
            RandomResize((2048, 512), (0.5, 2.0), resize_type="mmcv.Resize", keep_ratio=True),
            t.RandomCrop((512, 512), cat_max_ratio=0.75),
            RandomFlip(prob=0.5),
            t.PhotoMetricDistortion(),
            t.PackSegInputs(),
        ]
    )


def compare_steps(
    samples: list[dict[str, Any]], loaders: dict[str, Loader], rounds: int
) -> Iterator[tuple[str, ...]]:
    """Milliseconds of an image on one core and ratios, ours first."""

    def all_samples(load: Loader) -> Callable[[], object]:
        def run() -> None:
            np.random.seed(0)
            for sample in samples:
                load(deepcopy(sample))

        return run

    variants = {name: all_samples(load) for name, load in loaders.items()}
    seconds = interleaved_seconds(variants, rounds, clock=processor_clock())
    for name, times in seconds.items():
        each = 1e3 * statistics.median(times) / len(samples)
        yield name, f"{each:.1f}", f"{speed_up(seconds, of=OURS, over=name):.2f}"


def print_dense(folder: Path, count: int, rounds: int) -> None:
    """Both tables.

    Args:
        folder: for the images.
        count: images of each set.
        rounds: of each pipeline.
    """
    header = ("ms of one core for an image", "ours is faster by")
    coco = {OURS: of_config(DET), "mmdet": mmdet_steps()}
    if importlib.util.find_spec("detectron2"):
        coco[DETECTRON2] = detectron2_steps()
    print("\n### COCO, scale 0.1 to 2, crop of 1024 pixels\n")
    (folder / "coco").mkdir()
    print_table(
        (DET.stem, *header), compare_steps(coco_samples(folder / "coco", count), coco, rounds)
    )
    if DETECTRON2 not in coco:
        print("detectron2 is not installed")
    ade = {OURS: of_config(SEG), "mmseg": mmseg_steps()}
    print("\n### ADE20K, scale 0.5 to 2, crop of 512 pixels\n")
    (folder / "ade20k").mkdir()
    samples = ade20k_samples(folder / "ade20k", count)
    print_table((SEG.stem, *header), compare_steps(samples, ade, rounds))
