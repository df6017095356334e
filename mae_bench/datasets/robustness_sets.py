"""Robustness sets of ImageNet in the layouts in which they are distributed."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..registry import DATASETS
from .cue_conflict import read_cue_conflict
from .eval_transform import CenterCropTransform, EvalTransform, build_transform
from .identity import files_digests
from .imagenet_variants import (
    CORRUPTIONS,
    EXTRA_CORRUPTIONS,
    SEVERITIES,
    ImageList,
    find_corruptions,
    imagenet_classes,
    read_class_folders,
    read_validation,
    real_labels,
    subset_indices,
)
from .loading import LoadImageTensor

VAL, ADVERSARIAL, RENDITION, SKETCH = (
    "imagenet_val",
    "imagenet_a",
    "imagenet_r",
    "imagenet_sketch",
)
V2, V2_THRESHOLD, V2_TOP = "imagenet_v2", "imagenet_v2_threshold", "imagenet_v2_top"
CUE_CONFLICT = "cue_conflict"
CORRUPTED = "imagenet_c"
# Made here from the validation set: never under the name of the distributed set.
CORRUPTED_HERE = "corrupted_val"
SUBSETS = (ADVERSARIAL, RENDITION)
FOLDERS = {
    VAL: "imagenet/val",
    ADVERSARIAL: "imagenet-a",
    RENDITION: "imagenet-r",
    SKETCH: "sketch",
    V2: "imagenetv2-matched-frequency-format-val",
    V2_THRESHOLD: "imagenetv2-threshold0.7-format-val",
    V2_TOP: "imagenetv2-top-images-format-val",
    CORRUPTED: "imagenet-c",
    CUE_CONFLICT: "cue-conflict",
}
PADDING = -1  # of the further labels of an image
# As ImageNet-C was made: torchvision's Resize(256), bilinear, and CenterCrop(224).
CORRUPTED_SIZE = 224
BEFORE_CORRUPTION = CenterCropTransform(CORRUPTED_SIZE, 256, "bilinear")


@dataclass(frozen=True)
class Part:
    """What is evaluated as one: a set, or one corruption of ImageNet-C at one severity.

    Args:
        name: such as ``"imagenet_a"`` or ``"imagenet_c/fog/3"``.
        images: its images.
        corruption, severity: what is still to be done to them; None for files that are used as
            they are.
        further: (N, K) int64, filled up with -1: of the validation set what else is right, its
            ReaL labels; of cue conflicts the texture. None: nothing.
    """

    name: str
    images: ImageList
    corruption: str | None = None
    severity: int = 0
    further: np.ndarray | None = None

    @property
    def group(self) -> str:
        """Set that it belongs to."""
        return self.name.partition("/")[0]

    def digests(self) -> tuple[str, str]:
        """SHA-256 over the files' names, sizes and labels, and the same with their times.

        The first is that of every copy of the set, the second changes when a file is replaced.
        """
        folder = str(self.images.root)
        paths = [f"{folder}/{name.decode()}" for name in self.images.names]
        rest = self.images.names.tobytes() + self.images.labels.tobytes()
        further = b"" if self.further is None else self.further.tobytes()
        plain, timed = (
            hashlib.sha256(digest.encode() + rest + more).hexdigest()
            for digest, more in zip(files_digests(paths), (b"", further), strict=True)
        )
        return plain, timed


@DATASETS.register_module()
class RobustnessSets(Dataset):
    """ImageNet val, A, R, Sketch, V2 and C and cue conflicts in one row, as far as they are on
    disk; and sets like them.

    A sample is ``inputs`` (3, S, S) uint8 RGB; ``label``, a position in the classes, of which
    ImageNet has 1000, of a cue conflict that of its shape in ``CATEGORIES``; ``further`` (K,), see
    ``Part``; and ``part``, a position in ``parts``.

    Args:
        data_root: folder of the sets.
        folders: set -> folder below ``data_root`` (or an absolute one), for those that do not lie
            where ``FOLDERS`` says. Another name is a set of one's own, in class folders; it has to
            be there.
        classes: names of the class folders in the order of the labels, for data like ImageNet's;
            ImageNet's WordNet ids where None.
        sets: names of the sets to read; all where None.
        transform: what an image goes through after decoding, see ``build_transform``; None where
            the model brings its own.
        corrupt_val: make ImageNet-C's images from the validation set instead of reading them.
            They are then the set ``corrupted_val``.
        resize_c: resize and crop ImageNet-C's images as those of the other sets, the convention
            of AugMix's evaluation. By default images of 224 pixels are taken as they are, as in
            Hendrycks and Dietterich's; a model of another input size gets them resized to that,
            bicubically, which is a choice made here: MAE does not say how ViT-H448 saw them.
        extra: the four extra corruptions too; they are no part of mCE.

    Raises:
        FileNotFoundError: none of the sets is there, or a list or image is missing.
        ValueError: an unknown set, a file or folder that does not belong, or a corruption that is
            there twice; it is named.

    Source: MAE Table 13, Appendix C; folders as the sets' authors distribute them.
    """

    def __init__(
        self,
        data_root: str = "data",
        folders: Mapping[str, str] | None = None,
        classes: Sequence[str] | None = None,
        sets: Collection[str] | None = None,
        transform: Mapping[str, Any] | None = None,
        corrupt_val: bool = False,
        resize_c: bool = False,
        extra: bool = False,
    ) -> None:
        self.classes = imagenet_classes() if classes is None else tuple(classes)
        places = {**FOLDERS, **(folders or {})}
        for name in sets or ():
            if name not in places:
                raise ValueError(
                    f"no robustness set '{name}'; there are {', '.join(places)}, and of your own "
                    "those that 'folders' names"
                )
        self.roots = {name: Path(data_root, folder) for name, folder in places.items()}
        self.sets = [name for name in places if sets is None or name in sets]
        self.transform: EvalTransform | None = build_transform(transform) if transform else None
        self.corrupt_val = corrupt_val
        self.resize_c = resize_c
        self.corruptions = CORRUPTIONS + EXTRA_CORRUPTIONS * extra
        self.load = LoadImageTensor()
        self.missing: list[str] = []
        self._set_parts(self._read_parts())
        if not self.parts:
            raise FileNotFoundError(f"no robustness set found: {'; '.join(self.missing)}")

    def _read_parts(self) -> list[Part]:
        parts: list[Part] = []
        for name in self.sets:
            root = self.roots[VAL if name == CORRUPTED and self.corrupt_val else name]
            if name in FOLDERS and not root.is_dir():
                self.missing.append(f"{name}: no folder {root}")
            elif name in FOLDERS and not any(root.iterdir()):
                self.missing.append(f"{name}: nothing in {root}")
            elif name == VAL:
                parts.append(self._read_validation(root))
            elif name == CUE_CONFLICT:
                if self.classes != imagenet_classes():
                    raise ValueError(f"{root}: cue conflicts are of ImageNet's classes")
                images, textures = read_cue_conflict(root)
                parts.append(Part(name, images, further=textures[:, None]))
            elif name != CORRUPTED:
                labels = subset_indices(name) if name in SUBSETS else None
                parts.append(Part(name, read_class_folders(root, self.classes, labels)))
            elif self.corrupt_val:
                images = read_validation(root, self.classes)
                parts += [
                    Part(f"{CORRUPTED_HERE}/{corruption}/{severity}", images, corruption, severity)
                    for corruption in self.corruptions
                    for severity in SEVERITIES
                ]
            else:
                parts += self._read_corrupted(root)
        return parts

    def _read_validation(self, root: Path) -> Part:
        images = read_validation(root, self.classes)
        if self.classes != imagenet_classes():
            return Part(VAL, images)
        further = real_labels([name.decode() for name in images.names])
        if further is None:
            self.missing.append(
                f"{VAL}: no ReaL labels, files in {root} are not named ILSVRC2012_val_00000001.JPEG"
            )
        return Part(VAL, images, further=further)

    def _read_corrupted(self, root: Path) -> list[Part]:
        found = find_corruptions(root)
        parts, absent = [], []
        for corruption in self.corruptions:
            there = [severity for severity in SEVERITIES if (corruption, severity) in found]
            if not there:
                absent.append(corruption)
            elif len(there) < len(SEVERITIES):
                absent += [f"{corruption}/{s}" for s in SEVERITIES if s not in there]
            parts += [
                Part(
                    f"{CORRUPTED}/{corruption}/{s}",
                    read_class_folders(found[corruption, s], self.classes),
                )
                for s in there
            ]
        if absent:
            self.missing.append(f"{CORRUPTED}: in {root} no {', '.join(absent)}")
        most = max((len(part.images) for part in parts), default=0)
        for part in parts:
            if len(part.images) < most:
                counts = f"{len(part.images):,} of {most:,} images"
                self.missing.append(f"{part.name}: {counts} are in {part.images.root}")
        return [part for part in parts if len(part.images) == most]

    def _set_parts(self, parts: list[Part]) -> None:
        self.parts = parts
        self.ends = np.cumsum([len(part.images) for part in parts])
        widths = [part.further.shape[1] for part in parts if part.further is not None]
        self.further_width = max(widths, default=0)

    def keep(self, names: Collection[str]) -> None:
        """Leave out all parts but those of these names."""
        self._set_parts([part for part in self.parts if part.name in names])

    def counts(self) -> dict[str, int]:
        """Images of each set; of ImageNet-C, those of all corruptions and severities."""
        counts: dict[str, int] = {}
        for part in self.parts:
            counts[part.group] = counts.get(part.group, 0) + len(part.images)
        return counts

    def identities(self, digests: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        """What identifies the data of each set, as ``data_identity`` does that of a data set.

        Args:
            digests: name of each part -> the first of its ``digests``.
        """
        of_sets: dict[str, str] = {}
        for part in self.parts:
            line = f"{part.name}\0{digests[part.name]}\n"
            of_sets[part.group] = of_sets.get(part.group, "") + line
        return {
            name: {"samples": count, "digest": hashlib.sha256(of_sets[name].encode()).hexdigest()}
            for name, count in self.counts().items()
        }

    def prepare(self) -> None:
        """What is better done once before worker processes start than in each of them."""
        if any(part.corruption for part in self.parts):
            from .corruptions import compile_loops  # Numba: a second to import

            compile_loops(CORRUPTED_SIZE)

    def __len__(self) -> int:
        return int(self.ends[-1]) if self.parts else 0

    def __getitem__(self, index: int) -> dict[str, Tensor | int]:
        position = int(np.searchsorted(self.ends, index, side="right"))
        part = self.parts[position]
        images = part.images
        offset = index - (int(self.ends[position]) - len(images))
        path = images.path(offset)
        image = self.load.transform({"img_path": path})["img"]
        if part.corruption is not None:
            image = self._corrupt(image, part.corruption, part.severity, path.name)
        image = self._transform(image, part.group in (CORRUPTED, CORRUPTED_HERE))
        further = torch.full((self.further_width,), PADDING)
        if part.further is not None:
            row = torch.from_numpy(part.further[offset])
            further[: len(row)] = row
        label = int(images.labels[offset])
        return dict(inputs=image, label=label, further=further, part=position)

    def _corrupt(self, image: Tensor, corruption: str, severity: int, file_name: str) -> Tensor:
        from .corruptions import corrupt

        clean = BEFORE_CORRUPTION(image).permute(1, 2, 0).numpy()
        corrupted = corrupt(np.ascontiguousarray(clean), corruption, severity, file_name)
        # A copy: arrays that Pillow made cannot be written to, and torch warns of that.
        return torch.from_numpy(corrupted.copy()).permute(2, 0, 1)

    def _transform(self, image: Tensor, corrupted: bool) -> Tensor:
        if self.transform is None:
            raise ValueError(
                "the model brings no transform of its own: give test_dataloader.dataset.transform"
            )
        if not corrupted or self.resize_c:
            return self.transform(image)
        size = self.transform.size
        if image.shape[1] == image.shape[2] == size:
            return image
        return CenterCropTransform(size, size, "bicubic")(image)
