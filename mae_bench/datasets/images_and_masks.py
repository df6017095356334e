"""Images with masks of the same name, as the data of a semantic segmentation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmseg.datasets import ADE20KDataset, BaseSegDataset

from ..registry import DATASETS
from .findings import Findings
from .folders import list_images
from .hold_out import part_of
from .masks import MASK_SUFFIXES
from .named_samples import NamedSamples
from .reading import is_image

NAMED = 3


@DATASETS.register_module()
class ImagesAndMasks(NamedSamples, BaseSegDataset):
    """mmsegmentation's ``BaseSegDataset``, which reads images of all formats.

    An image's mask is the file of its name, apart from the suffix, below the folder of the masks.

    Args:
        img_suffix: end of the images' names, such as ``_leftImg8bit.png``; None: any format, in
            small or capital letters.
        seg_map_suffix: end of the masks' names in its place; None: any format.
        exif_orientation: whether masks lie over the images as they are turned upright by what a
            camera noted in EXIF. None: turned, and an error where sizes do not tell.
        hold_out: which part of the images, see :func:`part_of`; None: all.
        kwargs: of ``BaseSegDataset``.

    Attributes:
        findings: remarks.

    Raises:
        FileNotFoundError: a folder, list, image or mask is missing, or there is none.
        ValueError: two images of one name, or images with masks that ``img_suffix`` leaves out.
    """

    def __init__(
        self,
        img_suffix: str | None = None,
        seg_map_suffix: str | None = None,
        exif_orientation: bool | None = None,
        hold_out: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.exif_orientation = exif_orientation
        self.hold_out = hold_out
        self.findings = Findings()
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)

    @classmethod
    def get_label_map(cls, new_classes: Sequence[str] | None = None) -> dict[int, int] | None:
        """Old label -> new, where some of a set's own classes are asked for."""
        own = cls.METAINFO.get("classes", new_classes)
        if strange := [name for name in new_classes or () if name not in own]:
            raise ValueError(
                f"metainfo.classes: {strange[0]!r} is none of the {len(own)} classes of "
                f"{cls.__name__}: set dataset.type=mae_bench.ImagesAndMasks for other classes"
            )
        return super().get_label_map(new_classes)

    def load_data_list(self) -> list[dict]:
        """One dict for each image, in the order of their names."""
        folder = Path(self.data_prefix["img_path"])
        images = self._images(folder)
        if self.ann_file:
            images = self._listed(images)
        if not images:
            suffix = f" that end in {self.img_suffix}" if self.img_suffix else ""
            raise FileNotFoundError(f"{folder}: no images{suffix}: correct data_prefix")
        samples = [
            dict(
                img_path=str(folder / name),
                label_map=self.label_map,
                reduce_zero_label=self.reduce_zero_label,
                seg_fields=[],
                num_classes=len(self._metainfo.get("classes") or ()) or None,
            )
            for name in images.values()
        ]
        for sample in samples:
            if self.exif_orientation is not None:
                sample["exif_orientation"] = self.exif_orientation
        self._add_masks(samples, images)
        return part_of(samples, self.hold_out)

    def _images(self, folder: Path) -> dict[str, str]:
        """Name without suffix -> file, relative to ``folder``."""
        found: dict[str, str] = {}
        others = []
        for name in list_images(folder):
            stem = _stem(name, self.img_suffix)
            if stem is None:
                others.append(name)
            elif stem in found:
                raise ValueError(
                    f"{folder}: {found[stem]} and {name} have one mask: leave one of them, or set "
                    "img_suffix"
                )
            else:
                found[stem] = name
        if others:
            self._check_left_out(folder, others)
        return found

    def _check_left_out(self, folder: Path, names: Sequence[str]) -> None:
        """Refuse an ``img_suffix`` that reads a part of what has masks."""
        masks = self._masks()
        partners = [name for name in names if (_stem(name, None) or name) in masks]
        if partners:
            raise ValueError(
                f"{folder}: {len(partners)} images with masks do not end in "
                f"img_suffix={self.img_suffix!r}, first {partners[0]}: leave img_suffix out, or "
                "take them out of the folder"
            )

    def _listed(self, images: dict[str, str]) -> dict[str, str]:
        """The images that ``ann_file`` names, with their suffix or without."""
        file = Path(self.ann_file)
        if not file.is_file():
            raise FileNotFoundError(f"{file}: no such file: correct ann_file")
        listed: dict[str, str] = {}
        by_name = {name: stem for stem, name in images.items()}
        for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), 1):
            name = line.strip().lstrip("/")
            if not name:
                continue
            stem = name if name in images else by_name.get(name)
            if stem is None:
                raise FileNotFoundError(
                    f"{file}, line {number}: no image {name!r} in {self.data_prefix['img_path']}"
                )
            listed[stem] = images[stem]
        return listed

    def _masks(self) -> dict[str, str]:
        """Name without suffix -> mask, relative to their folder."""
        folder = Path(self.data_prefix["seg_map_path"])
        found: dict[str, str] = {}
        for name in list_images(folder):
            stem = _stem(name, self.seg_map_suffix)
            if stem is None or Path(name).suffix.lower() not in MASK_SUFFIXES:
                continue
            if stem in found:
                raise ValueError(
                    f"{folder}: {found[stem]} and {name} are masks of one image: leave one of "
                    "them, or set seg_map_suffix"
                )
            found[stem] = name
        return found

    def _add_masks(self, samples: list[dict], images: dict[str, str]) -> None:
        if not self.data_prefix.get("seg_map_path"):
            return
        folder = Path(self.data_prefix["seg_map_path"])
        masks = self._masks()
        if lacking := [name for stem, name in images.items() if stem not in masks]:
            raise FileNotFoundError(
                f"{folder}: {len(lacking)} images have no mask there, first {lacking[0]}: each "
                f"mask has its image's name, with {self.seg_map_suffix or '.png'}"
                f"{_other_mask(folder, lacking[0])}"
            )
        for sample, stem in zip(samples, images, strict=True):
            sample["seg_map_path"] = str(folder / masks[stem])
        unused = [name for stem, name in masks.items() if stem not in images]
        if not self.ann_file:
            self.findings.note(unused, "masks have no image", "passed over")


def _other_mask(folder: Path, image: str) -> str:
    """What to do about a file that may be the mask of an image, though of another name."""
    stem = image.rpartition(".")[0]
    near = [name for name in list_images(folder) if name.startswith(stem)]
    if not near:
        return ""
    if Path(near[0]).suffix.lower() not in MASK_SUFFIXES:
        return f"; {near[0]} is in a format that changes labels: save masks as PNG"
    return f"; for {near[0]} set seg_map_suffix={near[0][len(stem) :]}"


def _stem(name: str, suffix: str | None) -> str | None:
    """Name without its suffix; None where it has another."""
    if suffix is None:
        return name.rpartition(".")[0] if is_image(name) else None
    return name[: -len(suffix)] if name.lower().endswith(suffix.lower()) else None


@DATASETS.register_module()
class ADE20K(ImagesAndMasks):
    """ADE20K's 150 classes, as mmsegmentation's ``ADE20KDataset``; 0 in a mask is void."""

    METAINFO = ADE20KDataset.METAINFO

    def __init__(self, reduce_zero_label: bool = True, **kwargs: Any) -> None:
        super().__init__(reduce_zero_label=reduce_zero_label, **kwargs)
