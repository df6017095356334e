"""ImageNet-S: images of ImageNet with masks of 919 classes (Gao et al., arXiv 2106.03149)."""

from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.datasets import BaseSegDataset
from PIL import Image
from torchvision.tv_tensors import Image as ImageTensor
from torchvision.tv_tensors import Mask

from ..registry import DATASETS, TRANSFORMS
from .annotations import check_num_classes

OTHER = "other"  # label 0: what belongs to none of the classes, and counts as one itself
IGNORED = 1000


@DATASETS.register_module()
class ImageNetS(BaseSegDataset):
    """``train-semi`` or ``validation`` as the authors' script lays them out.

    ``<split>/<WordNet id>/<name>.JPEG`` and ``<split>-segmentation/<WordNet id>/<name>.png``. Class
    i is the i-th of the sorted WordNet ids, from 1; 0 is any other thing. The masks of the test set
    are on the authors' server.

    Args:
        data_root: folder ``ImageNetS919``.
        split: ``"train-semi"``, 9,190 images, or ``"validation"``, 12,419.
        num_classes: with :data:`OTHER`, 920; None: as many as there are.

    Raises:
        FileNotFoundError: no folder of the split.
        ValueError: another number of classes.
    """

    def __init__(
        self, data_root: str, split: str, num_classes: int | None = 920, **kwargs: Any
    ) -> None:
        folder = Path(data_root, split)
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{folder}: no such folder: make it with data_preparation.sh of LUSSeg/ImageNet-S"
            )
        classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
        check_num_classes(num_classes, len(classes) + 1, folder)
        super().__init__(
            data_root=data_root,
            data_prefix=dict(img_path=split, seg_map_path=f"{split}-segmentation"),
            img_suffix=".JPEG",
            seg_map_suffix=".png",
            ignore_index=IGNORED,
            metainfo=dict(classes=(OTHER, *classes)),
            **kwargs,
        )


@TRANSFORMS.register_module()
class LoadImageNetSMask(BaseTransform):
    """Read a mask that holds its label in two channels, red + 256 green.

    Args:
        with_image: make image and mask torchvision's tensors, for transforms that change both;
            :class:`SegmentationToArrays` comes after those.
    """

    def __init__(self, with_image: bool = False) -> None:
        self.with_image = with_image

    def transform(self, results: dict) -> dict:
        """Add ``gt_seg_map`` (H, W), uint16; or a Mask of int32, with ``img`` an Image."""
        colours = np.asarray(Image.open(results["seg_map_path"]).convert("RGB"), dtype=np.uint16)
        labels = colours[..., 0] + 256 * colours[..., 1]
        results["gt_seg_map"] = labels
        results["seg_fields"].append("gt_seg_map")
        if self.with_image:
            results["gt_seg_map"] = Mask(labels.astype(np.int32))
            results["img"] = ImageTensor(results["img"])
        return results


@TRANSFORMS.register_module()
class SegmentationToArrays(BaseTransform):
    """Turn tensors of image, RGB, and mask, if loaded, into the arrays that mmseg packs."""

    def transform(self, results: dict) -> dict:
        """``img`` (3, H, W) -> (H, W, 3) RGB; ``gt_seg_map`` (H, W)."""
        results["img"] = np.ascontiguousarray(results["img"].permute(1, 2, 0).numpy())
        if "gt_seg_map" in results:
            results["gt_seg_map"] = results["gt_seg_map"].numpy()
        results["img_shape"] = results["img"].shape[:2]
        return results
