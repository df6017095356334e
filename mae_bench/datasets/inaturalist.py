"""iNaturalist 2017, 2018 and 2019 from the annotation files of the competitions."""

import json
from pathlib import Path
from typing import Any

from mmpretrain.datasets import BaseDataset

from ..registry import DATASETS
from .annotations import check_images_exist, check_num_classes, class_names, unique

TABLES = {
    "images": ("id", "file_name"),
    "categories": ("id", "name"),
    "annotations": ("image_id", "category_id"),
}


@DATASETS.register_module()
class INaturalist(BaseDataset):
    """Images and species of one of the competitions' files, such as ``train2018.json``.

    The label of an image is the rank of its category's id, which is the id itself in the official
    files; classes and images are counted from the file. Their order in the file plays no part.

    Args:
        ann_file: the JSON file, relative to ``data_root``.
        data_root: folder in which the archive was unpacked; ``file_name`` of an image starts
            there, with ``train_val_images/`` (2017) or ``train_val2018/``, ``train_val2019/``.
        num_classes: what the file must have; None: anything.
        kwargs: of mmpretrain's BaseDataset.

    Raises:
        FileNotFoundError: the file or an image it names is missing.
        ValueError: not such a file; an id of an image or category, or an image's label, occurs
            twice; an annotation of an unknown image or category; an image without annotation;
            another number of classes than ``num_classes``.

    Source: the README files of the competitions (visipedia/inat_comp).
    """

    def __init__(self, ann_file: str, num_classes: int | None = None, **kwargs: Any) -> None:
        self.num_classes = num_classes
        super().__init__(ann_file, **kwargs)

    def load_data_list(self) -> list[dict]:
        """One dict with ``img_path`` and ``gt_label`` per image, by image id."""
        file = Path(self.ann_file)
        tables = self._read(file)
        categories = unique(
            ((row["id"], row["name"]) for row in tables["categories"]), file, "category id"
        )
        images = unique(
            ((row["id"], row["file_name"]) for row in tables["images"]), file, "image id"
        )
        labels = unique(
            ((row["image_id"], row["category_id"]) for row in tables["annotations"]),
            file,
            "annotation of image",
        )
        for image, category in labels.items():
            if image not in images:
                raise ValueError(f"{file}: annotation of image {image!r}, which it does not list")
            if category not in categories:
                raise ValueError(f"{file}: image {image!r} has the unknown category {category!r}")
        unlabelled = images.keys() - labels.keys()
        if unlabelled:
            raise ValueError(
                f"{file}: {len(unlabelled)} images have no annotation, first "
                f"{min(unlabelled)!r}: use the train or val file, the test file has no labels"
            )
        check_num_classes(self.num_classes, len(categories), file)

        # Numbers that are written as text are ranked as numbers.
        numbers = all(isinstance(key, str) and key.isdecimal() for key in categories)
        order = sorted(categories, key=int if numbers else None)
        rank = {category: label for label, category in enumerate(order)}
        names = [categories[category] for category in rank]
        self._metainfo["classes"] = class_names(self.CLASSES, names, file)
        paths = {image: str(Path(self.img_prefix, images[image])) for image in sorted(images)}
        check_images_exist(paths.values(), file)
        return [dict(img_path=path, gt_label=rank[labels[i]]) for i, path in paths.items()]

    @staticmethod
    def _read(file: Path) -> dict[str, list[dict]]:
        if not file.is_file():
            raise FileNotFoundError(f"{file}: no such annotation file")
        try:
            tables = json.loads(file.read_bytes())
        except ValueError as error:
            raise ValueError(f"{file}: not JSON ({error}): unpack the archive again") from None
        missing = [n for n in TABLES if not isinstance(tables, dict) or n not in tables]
        if missing:
            raise ValueError(
                f"{file}: lacks {missing[0]!r}: not a train or val file of iNaturalist"
            )
        for name, keys in TABLES.items():
            rows = tables[name]
            for i, row in enumerate(rows if isinstance(rows, list) else [rows]):
                lacking = [key for key in keys if not isinstance(row, dict) or key not in row]
                if lacking or not isinstance(rows, list):
                    raise ValueError(
                        f"{file}: entry {i} of {name!r} has no {(lacking or keys)[0]!r}: not a "
                        "train or val file of iNaturalist"
                    )
        return tables
