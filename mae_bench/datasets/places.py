"""Places205 and Places365 from their official lists of files."""

from pathlib import Path
from typing import Any

from mmpretrain.datasets import BaseDataset
from mmpretrain.datasets.categories import PLACES205_CATEGORIES

from ..registry import DATASETS
from .annotations import check_images_exist, check_num_classes, class_names, unique
from .label_file import read_label_file


def read_list(file: Path) -> list[tuple[str, int]]:
    """Names and numbers of a text file with lines ``name number``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line of another form.
    """
    listed = read_label_file(file)
    for label, line in zip(listed.labels, listed.lines, strict=True):
        if not label.isdecimal():
            raise ValueError(f"{file}, line {line}: label {label!r} is not a number from 0")
    return list(zip(listed.names, map(int, listed.labels), strict=True))


class _Places(BaseDataset):
    """What both sets share: a list of images with labels, and the names of the classes."""

    def __init__(self, ann_file: str, num_classes: int | None = None, **kwargs: Any) -> None:
        self.num_classes = num_classes
        super().__init__(ann_file, **kwargs)

    def load_data_list(self) -> list[dict]:
        """One dict with ``img_path`` and ``gt_label`` per image, in the order of the list."""
        file, classes = Path(self.ann_file), self.class_names()
        check_num_classes(self.num_classes, len(classes), file)
        self._metainfo["classes"] = class_names(self.CLASSES, classes, file)
        images = unique(read_list(file), file, "image")
        for name, label in images.items():
            if label >= len(classes):
                raise ValueError(
                    f"{file}: image {name!r} has the unknown category {label}; there are "
                    f"{len(classes)}"
                )
        # Names may start with a slash, which does not mean the root of the disk.
        samples = [
            dict(img_path=str(Path(self.img_prefix, name.lstrip("/"))), gt_label=label)
            for name, label in images.items()
        ]
        check_images_exist((sample["img_path"] for sample in samples), file)
        return samples

    def class_names(self) -> tuple[str, ...]:
        """Names by label."""
        raise NotImplementedError


@DATASETS.register_module()
class Places205(_Places):
    """Places205: ``train_places205.csv`` and ``val_places205.csv``, lines ``path label``.

    mmpretrain's reader of the same name checks neither labels nor files.

    Args:
        ann_file: the list, relative to ``data_root``.
        num_classes: what the set must have; None: anything.
        kwargs: of mmpretrain's BaseDataset.

    Raises:
        FileNotFoundError: the list or an image in it is missing.
        ValueError: a line of another form, an image that occurs twice, an unknown category, or
            another number of classes than ``num_classes``.
    """

    def class_names(self) -> tuple[str, ...]:
        """The 205 names, in the order of the labels."""
        return PLACES205_CATEGORIES


@DATASETS.register_module()
class Places365(_Places):
    """Places365-Standard: ``places365_train_standard.txt`` and ``places365_val.txt``.

    Args:
        ann_file: the list, lines ``path label``, relative to ``data_root``.
        categories_file: ``categories_places365.txt``, lines ``/a/airfield 0``, likewise.
        num_classes: what the set must have; None: anything.
        kwargs: of mmpretrain's BaseDataset.

    Raises:
        FileNotFoundError: a list or an image in it is missing.
        ValueError: as :class:`Places205`; or the labels of the categories are not 0, 1, 2, ...
    """

    def __init__(
        self,
        ann_file: str,
        categories_file: str = "categories_places365.txt",
        num_classes: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.categories_file = categories_file
        super().__init__(ann_file, num_classes, **kwargs)

    def class_names(self) -> tuple[str, ...]:
        """Names by label, from the categories file."""
        file = Path(self.data_root, self.categories_file)
        names = unique(((label, name) for name, label in read_list(file)), file, "label")
        if sorted(names) != list(range(len(names))):
            raise ValueError(f"{file}: its labels are not 0 to {len(names) - 1}, each once")
        return tuple(names[label] for label in range(len(names)))
