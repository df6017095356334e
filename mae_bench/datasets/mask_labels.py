"""Which classes occur in the masks of a data set, and what that says of the config."""

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from .findings import Findings
from .masks import VOID, by, read_mask, shift_zero
from .reading import BrokenImage

BACKGROUND = ("background", "bg", "other", "unlabeled", "unlabelled", "_background_")


class MaskLabels:
    """A tally of the labels in masks, each mask counted once for each label.

    Args:
        classes: names by label.
        reduce_zero_label: 0 in the files is void, 1 the first class.
        total: masks in the set, of which some are looked at.
        label_map: old label -> new, as mmsegmentation has it for some of a set's classes.
    """

    def __init__(
        self,
        classes: Sequence[str],
        reduce_zero_label: bool,
        total: int,
        label_map: dict[int, int] | None = None,
    ) -> None:
        self.classes = classes
        self.reduce_zero_label = reduce_zero_label
        self.label_map = label_map
        self.total = total
        self.seen = 0
        self.masks_with: Counter[int] = Counter()  # label, as trained -> masks
        self.stored: Counter[int] = Counter()  # label, as in the file -> masks
        self.only_void: list[str] = []
        self.beyond: list[str] = []

    def add(self, path: str | Path, stored: Iterable[int]) -> None:
        """Count the labels of one file, as it has them."""
        self.seen += 1
        labels = np.array(sorted(stored), dtype=np.uint8)
        self.stored.update(labels.tolist())
        if self.reduce_zero_label:
            labels = shift_zero(labels)
        if self.label_map:
            labels = np.array([self.label_map.get(int(x), int(x)) for x in labels], dtype=np.uint8)
        found = {int(x) for x in labels if x != VOID}
        self.masks_with.update(found)
        if not found:
            self.only_void.append(str(path))
        if found and max(found) >= len(self.classes):
            self.beyond.append(f"{path} has {max(found) + self.reduce_zero_label}")

    @property
    def complete(self) -> bool:
        """Whether every mask was looked at."""
        return self.seen >= self.total

    def missing(self) -> list[str]:
        """Classes that occur in none of the masks looked at."""
        return [name for label, name in enumerate(self.classes) if not self.masks_with[label]]

    def estimated_classes(self) -> float:
        """How many classes the whole set has, judged by how many occur once and twice.

        Source: Chao (1984), Scandinavian Journal of Statistics 11, 265-270: the bias-corrected
        estimator, a lower bound.
        """
        present = [n for label, n in self.masks_with.items() if label < len(self.classes)]
        if self.complete:
            return len(present)
        once, twice = present.count(1), present.count(2)
        return len(present) + once * (once - 1) / (2 * (twice + 1))

    def tell(self, findings: Findings, chosen_part: bool = False) -> None:
        """Add what is wrong.

        Args:
            findings: to add to.
            chosen_part: the set is a part of another, chosen by ``indices``, so that classes may
                well be missing.
        """
        count = len(self.classes)
        of = f"of the {self.seen:,} masks" + ("" if self.complete else " looked at")
        findings.wrong(
            self.beyond,
            f"masks have labels beyond the {count} classes of the config",
            "they belong to another data set, or set metainfo.classes to theirs",
        )
        if self.seen and len(self.only_void) == self.seen:
            findings.problems.append(
                f"all {of} have nothing but void (stored labels {self._stored()}): 255 is void"
                + (", and so is 0 with reduce_zero_label" if self.reduce_zero_label else "")
                + "; give each class its number, from "
                + ("1" if self.reduce_zero_label else "0")
            )
            return
        findings.note(self.only_void, "masks have nothing but void", "nothing is learned from them")
        missing = self.missing()
        if not missing or self.beyond:
            return
        names = ", ".join(map(repr, missing[:3])) + (", ..." if len(missing) > 3 else "")
        line = f"of {count} classes {count - len(missing)} occur in any {of}, not {names}"
        if self.estimated_classes() <= count / 2 and not chosen_part:
            findings.problems.append(
                f"{line}; stored labels are {self._stored()}: 255 is void, metainfo.classes names "
                + ("1, 2, ..." if self.reduce_zero_label else "0, 1, ...")
            )
        elif count - len(missing) == 1 and self.stored[VOID]:
            findings.problems.append(
                f"{line}; stored labels are {self._stored()}: 255 is void, not a class"
            )
        elif self._shifted() and not chosen_part:
            findings.problems.append(
                f"{line}; stored labels are {self._stored()}: with reduce_zero_label=True 0 is "
                f"void, and 1 is {self.classes[0]!r}: set it to False where 0 is; a class that "
                "occurs nowhere does not belong in metainfo.classes"
            )
        elif self.stored[VOID] and self.complete and not chosen_part:
            findings.remarks.append(f"{line}, and {VOID}, which some have, is void")
        else:
            findings.remarks.append(line)

    def _shifted(self) -> bool:
        """Whether the labels in the files, 0 among them, are as many as there are classes."""
        used = [label for label in self.stored if label != VOID]
        taken_for_void = self.reduce_zero_label and self.stored[0] and self.complete
        return bool(taken_for_void and not self.label_map and max(used) == len(self.classes) - 1)

    def tell_of_zero(self, findings: Findings) -> None:
        """Add that 0 is taken for void, where it is the first class by its name."""
        if not self.reduce_zero_label or not self.stored[0] or not self.seen:
            return
        if (
            self.classes
            and self.classes[0].casefold() in BACKGROUND
            and self.stored[0] == self.seen
        ):
            findings.remarks.append(
                f"0 is in all {self.seen:,} masks and void by reduce_zero_label=True, so that 1 "
                f"is {self.classes[0]!r}: if 0 is, set reduce_zero_label=False"
            )

    def _stored(self) -> str:
        labels = sorted(self.stored)
        return ", ".join(map(str, labels[:8])) + (", ..." if len(labels) > 8 else "")


def look_at_masks(samples: Sequence[dict[str, Any]], tally: MaskLabels, findings: Findings) -> None:
    """Read the masks of some samples in threads; count labels, note what cannot be used."""

    def look(sample: dict[str, Any]) -> tuple[str, np.ndarray | None, str]:
        path = sample["seg_map_path"]
        try:
            labels = read_mask(path)
        except (BrokenImage, FileNotFoundError) as error:
            return path, None, str(error)
        return (
            path,
            np.flatnonzero(np.bincount(labels.ravel(), minlength=256)),
            by(labels.shape[::-1]),
        )

    broken = []
    with ThreadPoolExecutor() as pool:
        for path, stored, text in pool.map(look, samples):
            if stored is None:
                broken.append(text)
            else:
                tally.add(path, stored)
    findings.wrong(broken, "masks cannot be used", "correct or remove them")
