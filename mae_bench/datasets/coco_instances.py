"""Objects in COCO's format, with labels numbered by their categories' names."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from mmdet.datasets import CocoDataset
from mmengine.fileio import get_local_path

from ..registry import DATASETS
from .annotations import check_images_exist
from .coco_file import CocoFile, read_coco
from .findings import Findings
from .hold_out import part_of
from .kept_samples import KeptSamples, Packed
from .named_samples import NamedSamples

KEPT_FROM = 1 << 25  # bytes of an annotation file whose samples are kept for other processes


class CocoByName:
    """What mmdetection asks of pycocotools: names decide the order of categories.

    Its ids of annotations are their places in the file's table.
    """

    def __init__(self, file: CocoFile) -> None:
        self.file = file
        self.cat_img_map = file.images_with
        self.images = {image["id"]: image for image in file.images}

    @property
    def dataset(self) -> dict[str, Sequence[dict[str, Any]]]:
        """The tables."""
        return self.file.tables()

    def get_cat_ids(self, cat_names: Sequence[str]) -> list[int]:
        """Ids of the categories of these names, in their order.

        Raises:
            ValueError: a name is in no category.
        """
        return self.file.category_ids(cat_names)

    def get_img_ids(self) -> list[int]:
        """Ids of all images, in the file's order."""
        return list(self.images)

    def load_imgs(self, ids: Sequence[int]) -> list[dict[str, Any]]:
        """Entries of images."""
        return [self.images[number] for number in ids]

    def get_ann_ids(self, img_ids: Sequence[int]) -> list[int]:
        """Ids of the annotations of images."""
        return [place for number in img_ids for place in self.file.rows_of[number]]

    def load_anns(self, ids: Sequence[int]) -> list[dict[str, Any]]:
        """Entries of annotations."""
        return [self.file.annotations[place] for place in ids]


class _Labelled(msgspec.Struct):
    """What is counted of an object."""

    bbox_label: int
    ignore_flag: int


@DATASETS.register_module()
class CocoInstances(NamedSamples, KeptSamples, CocoDataset):
    """mmdetection's ``CocoDataset``, which reads through :func:`read_coco`.

    Label i is ``metainfo.classes[i]``, in whatever order and under whatever ids the file lists the
    categories.

    Args:
        exif_orientation: whether annotations lie over the images as they are turned upright by
            what a camera noted in EXIF, which is how annotation tools show them. None: turned, and
            an error where sizes do not tell.
        hold_out: which part of the file's images, see :func:`part_of`; None: all.
        kwargs: of ``CocoDataset``.

    Attributes:
        findings: remarks on what was left out or made anew.
        class_counts: name of a class -> objects to train on, crowds aside.
        listed_images: images in the file, before ``filter_cfg``.

    Raises:
        FileNotFoundError: the file or an image it names is missing.
        ValueError: the file has a mistake, lacks a class, or has no object of the classes.
    """

    FACTS = {
        "findings": lambda found: Findings(**found),
        "class_counts": Counter,
        "listed_images": int,
        "cat_ids": list,
        "cat2label": lambda found: {int(number): label for number, label in found.items()},
    }

    def __init__(
        self,
        *args: Any,
        exif_orientation: bool | None = None,
        hold_out: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.exif_orientation = exif_orientation
        self.hold_out = hold_out
        self.findings = Findings()
        self.class_counts: Counter[str] = Counter()
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """One dict for each image, as mmdetection has it."""
        store = Packed if self.is_packed else list
        with get_local_path(self.ann_file, backend_args=self.backend_args) as path:
            file = read_coco(path, self._with_masks(), store)
        file.findings.refuse(self.ann_file)
        self.findings = file.findings
        self.COCOAPI = lambda _: CocoByName(file)
        samples = part_of(super().load_data_list(), self.hold_out)
        del self.COCOAPI
        self.listed_images = len(samples)
        if self.exif_orientation is not None:
            for sample in samples:
                sample["exif_orientation"] = self.exif_orientation
        self.class_counts = self._count(samples)
        self._note_unused(file)
        check_images_exist((sample["img_path"] for sample in samples), self.ann_file)
        folders = {os.path.dirname(sample["img_path"]) for sample in samples}
        self.sources = [self.ann_file, *sorted(folders)]
        return samples

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """One sample; its objects as bytes where all are to be packed, or they take gigabytes."""
        sample = super().parse_data_info(raw_data_info)
        if self.is_packed:
            sample["instances"] = msgspec.Raw(msgspec.msgpack.encode(sample["instances"]))
        return sample

    def _count(self, samples: list[dict]) -> Counter[str]:
        read = msgspec.msgpack.Decoder(list[_Labelled]).decode
        labels: Counter[int] = Counter()
        for sample in samples:
            things = sample["instances"]
            if self.is_packed:
                labels.update(thing.bbox_label for thing in read(things) if not thing.ignore_flag)
            else:
                labels.update(t["bbox_label"] for t in things if not t["ignore_flag"])
        return Counter({self.metainfo["classes"][label]: n for label, n in labels.items()})

    def may_be_kept(self) -> bool:
        """Whether the file is a large one on disk, and nothing else is read with it."""
        others = self.proposal_file or self.return_classes or self.backend_args
        large = os.path.isfile(self.ann_file) and os.path.getsize(self.ann_file) >= KEPT_FROM
        return large and not others

    def kept_settings(self) -> dict[str, Any]:
        """Also whether masks are needed, which the pipeline says."""
        return super().kept_settings() | {"masks": self._with_masks()}

    def _with_masks(self) -> bool:
        return any(getattr(step, "with_mask", False) for step in self.pipeline.transforms)

    def _note_unused(self, file: CocoFile) -> None:
        """Say which objects are not trained on, besides those that the reader left out."""
        counts = file.count_objects()
        classes = self.metainfo["classes"]
        others = {name: n for name, n in counts.items() if name not in classes}
        self.findings.note(
            [f"{name}: {n:,} objects" for name, n in others.items()],
            "categories of the file are not in metainfo.classes",
            "their objects are left out",
        )
        small = 0 if self.hold_out else sum(counts[n] for n in classes) - self.class_counts.total()
        self.findings.note(
            [""] * small,
            "objects are narrower than a pixel or marked 'ignore'",
            "not trained on, as in mmdetection",
        )

    def filter_data(self) -> list[dict]:
        """Leave out images as ``filter_cfg`` says."""
        kept = super().filter_data()
        if self.is_packed:
            del self.cat_img_map  # which processes that take the list would not have
        leaves_out = not self.test_mode and (self.filter_cfg or {}).get("filter_empty_gt")
        only_crowds = leaves_out and not self.class_counts.total()
        if not kept or only_crowds:
            names = ", ".join(map(repr, self.metainfo["classes"][:3]))
            raise ValueError(
                f"{self.ann_file}: none of its {len(self.data_list)} images has an object of the "
                f"classes {names}, ...{' but crowds' * bool(kept)}: take another file, or set "
                "metainfo.classes"
            )
        if dropped := len(self.data_list) - len(kept):
            self.findings.note(
                [""] * dropped, "images have no object, or are too small", "left out, by filter_cfg"
            )
        return kept
