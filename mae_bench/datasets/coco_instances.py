"""Objects in COCO's format, with labels numbered by their categories' names."""

import contextlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmengine.fileio import get_local_path

from ..registry import DATASETS
from .annotations import check_images_exist
from .coco_file import CocoFile, read_coco
from .findings import Findings
from .hold_out import part_of
from .named_samples import NamedSamples


class CocoByName(COCO):
    """mmdetection's view of an annotation file, in which names decide the order of categories."""

    def __init__(self, file: CocoFile) -> None:
        super().__init__()
        self.file = file
        self.dataset = file.tables()
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints how far it is
            self.createIndex()
        self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs

    def get_cat_ids(
        self, cat_names: Sequence[str] = (), sup_names: Any = (), cat_ids: Any = ()
    ) -> list[int]:
        """Ids of the categories; of given names, in the order of the names.

        Raises:
            ValueError: a name is in no category.
        """
        return self.file.category_ids(cat_names) if cat_names else super().get_cat_ids()


@DATASETS.register_module()
class CocoInstances(NamedSamples, CocoDataset):
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
        with get_local_path(self.ann_file, backend_args=self.backend_args) as path:
            file = read_coco(path, masks=self._with_masks())
        file.findings.refuse(self.ann_file)
        self.findings = file.findings
        self.COCOAPI = lambda _: CocoByName(file)
        samples = part_of(super().load_data_list(), self.hold_out)
        del self.COCOAPI
        self.listed_images = len(samples)
        classes = self.metainfo["classes"]
        for sample in samples:
            if self.exif_orientation is not None:
                sample["exif_orientation"] = self.exif_orientation
            self.class_counts.update(
                classes[thing["bbox_label"]]
                for thing in sample["instances"]
                if not thing["ignore_flag"]
            )
        self._note_unused(file)
        check_images_exist((sample["img_path"] for sample in samples), self.ann_file)
        return samples

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
