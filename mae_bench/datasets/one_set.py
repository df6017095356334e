"""The files of one data set: a few of them looked at, and what the host's readers leave out."""

import copy
from collections import Counter
from pathlib import Path
from typing import Any

from mmdet.datasets import CocoDataset
from mmengine.config import Config
from mmpretrain.datasets import CustomDataset
from mmseg.datasets import BaseSegDataset

from .coco_file import read_coco
from .coco_instances import CocoInstances
from .findings import Findings
from .folders import list_images
from .image_folders import ImageFolders
from .imagenet_s import ImageNetS
from .images_and_masks import ImagesAndMasks
from .mask_labels import MaskLabels, look_at_masks
from .orientation import Orientations, look_at_sizes
from .reading import hidden

TRAIN = "train_dataloader"
LOOKED_AT = 200  # masks, and heads of images


def innermost(dataset: Any) -> Any:
    """What wrappers such as ``SeededDataset`` hold."""
    while "dataset" in getattr(dataset, "__dict__", ()):  # SeededDataset answers for what it holds
        dataset = vars(dataset)["dataset"]
    return dataset


def class_names(dataset: Any) -> tuple[str, ...]:
    """Names by label; empty where a set has none, as for pre-training."""
    if not getattr(dataset, "with_label", True):
        return ()
    return tuple((getattr(dataset, "metainfo", None) or {}).get("classes") or ())


def check_host(dataset: Any, findings: Findings) -> None:
    """What our own data sets make sure of themselves, for those of the host libraries."""
    if isinstance(dataset, CocoDataset) and not isinstance(dataset, CocoInstances):
        file = read_coco(dataset.ann_file, masks=False)
        findings.add(file.findings, dataset.ann_file)
        if not file.findings.problems:
            expected = file.category_ids(class_names(dataset))
            if list(dataset.cat_ids) != expected:
                findings.problems.append(
                    f"{dataset.ann_file}: mmdetection numbers the categories in the file's order, "
                    "not in that of metainfo.classes: set dataset.type=mae_bench.CocoInstances"
                )
    elif isinstance(dataset, CustomDataset) and not isinstance(dataset, ImageFolders):
        strange = [name for name in getattr(dataset, "folder_to_idx", ()) if hidden([name])]
        findings.wrong(
            strange, "hidden folders count as classes", "set dataset.type=mae_bench.ImageFolders"
        )
    elif isinstance(dataset, BaseSegDataset) and not isinstance(dataset, ImagesAndMasks):
        folder = dataset.data_prefix["img_path"]
        names = [] if dataset.ann_file or not Path(folder).is_dir() else list_images(folder)
        findings.wrong(
            [name for name in names if not name.endswith(dataset.img_suffix)],
            f"images do not end in img_suffix={dataset.img_suffix!r}",
            "set dataset.type=mae_bench.ImagesAndMasks, which reads all formats",
        )


def look_at_some(cfg: Config, loader: str, dataset: Any, findings: Findings) -> None:
    """Look at evenly spread files: sizes, orientation, labels of masks."""
    if not hasattr(dataset, "get_data_info"):
        return
    step = max(1, -(-len(dataset) // LOOKED_AT))
    samples = [dataset.get_data_info(i) for i in range(0, len(dataset), step)]
    samples = [sample for sample in samples if "img_part" not in sample]
    if any("seg_map_path" in s or "height" in s for s in samples) or loader != TRAIN:
        sizes = Orientations(getattr(dataset, "exif_orientation", None))
        look_at_sizes(samples, sizes)
        sizes.tell(findings)
        if not findings.problems:
            check_batch(cfg, loader, dataset, sizes, findings)
    tally = mask_tally(dataset)
    if tally is not None and all("seg_map_path" in sample for sample in samples):
        look_at_masks(samples, tally, findings)
        tell_of_masks(tally, dataset, loader, findings)


def mask_tally(dataset: Any) -> MaskLabels | None:
    """An empty tally for a data set; None where its masks have a form of their own."""
    if not isinstance(dataset, BaseSegDataset) or isinstance(dataset, ImageNetS):
        return None
    return MaskLabels(
        class_names(dataset), dataset.reduce_zero_label, len(dataset), dataset.label_map
    )


def tell_of_masks(tally: MaskLabels, dataset: Any, loader: str, findings: Findings) -> None:
    """Add what the labels say; of an evaluation classes may be missing."""
    part = getattr(dataset, "_indices", None) is not None or loader != TRAIN
    tally.tell(findings, chosen_part=part)
    tally.tell_of_zero(findings)
    if tally.complete:
        dataset.class_counts = Counter(
            {name: tally.masks_with[label] for label, name in enumerate(tally.classes)}
        )


def check_batch(
    cfg: Config, loader: str, dataset: Any, sizes: Orientations, findings: Findings
) -> None:
    """Images of one evaluation batch have to come out of the pipeline in one size."""
    if not hasattr(dataset, "pipeline") or loader == TRAIN:
        return
    if ((cfg.get(loader) or {}).get("batch_size") or 1) == 1 or len(sizes.sizes) < 2:
        return
    if isinstance(dataset, CocoDataset):  # padded to the largest
        return
    widest = max(sizes.sizes, key=lambda s: s[0] / s[1])
    extremes = [widest, min(sizes.sizes, key=lambda s: s[0] / s[1]), max(sizes.sizes, key=max)]
    shapes = set()
    for size in extremes:
        packed = dataset.pipeline(copy.deepcopy(sizes.sizes[size]))
        shapes.add(tuple(packed["inputs"].shape[1:]))
    if len(shapes) > 1:
        shown = " and ".join(f"{w}x{h}" for h, w in sorted(shapes)[:2])
        findings.problems.append(
            f"images are of several sizes, {shown} after the pipeline, and {loader}.batch_size is "
            f"{cfg[loader]['batch_size']}: set it to 1, or resize them to one size"
        )
