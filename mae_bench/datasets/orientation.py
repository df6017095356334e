"""Whether annotations lie over images as a camera stored them, or as EXIF turns them upright."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from PIL import Image

from .findings import Findings
from .masks import by
from .reading import BrokenImage, stored_size, turned

SAY = (
    "if annotations were drawn over the images as shown by a viewer, set "
    "dataset.exif_orientation=True of each loader, if over the pixels as stored, False"
)


def annotated_size(sample: dict[str, Any]) -> tuple[int, int] | None:
    """Width and height that a sample's annotations are for; None where nothing says it."""
    if "height" in sample and "width" in sample:
        return sample["width"], sample["height"]
    if "seg_map_path" in sample:
        try:
            with Image.open(sample["seg_map_path"]) as mask:
                return mask.size
        except (OSError, ValueError, SyntaxError):  # told by whoever reads the labels
            return None
    return None


class Orientations:
    """A tally of images against the sizes of their annotations.

    Args:
        exif_orientation: what the data set says; None: nothing, and images are turned.
    """

    def __init__(self, exif_orientation: bool | None) -> None:
        self.said = exif_orientation
        self.turn = exif_orientation is not False
        self.unequal: list[str] = []
        self.against: list[str] = []  # sizes say the contrary
        self.fitting = 0  # sizes say so
        self.open: list[str] = []  # turned, and sizes do not tell
        self.sizes: dict[tuple[int, int], dict[str, Any]] = {}

    def add(
        self,
        sample: dict[str, Any],
        size: tuple[int, int],
        by_exif: int,
        stated: tuple[int, int] | None,
    ) -> None:
        """Count one image, of the stored size and orientation given."""
        path = sample["img_path"]
        upright = turned(size, by_exif)
        read = upright if self.turn else size
        self.sizes.setdefault(read, sample)
        if stated is None:
            return
        if by_exif != 1 and upright == size == stated:
            self.open.append(f"{path} has {by_exif}")
        elif stated == read:
            self.fitting += by_exif != 1
        elif by_exif != 1 and stated == (size if self.turn else upright):
            self.against.append(f"{path} is {by(read)}, its annotations are for {by(stated)}")
        else:
            self.unequal.append(f"{path} is {by(read)}, its annotations are for {by(stated)}")

    def tell(self, findings: Findings) -> None:
        """Add what is wrong."""
        other = "as they are stored" if self.turn else "turned upright"
        findings.wrong(
            self.against,
            f"images have an EXIF orientation, and annotations for them {other}",
            f"set dataset.exif_orientation={not self.turn} of each loader",
        )
        findings.wrong(
            self.unequal, "images are of another size than their annotations", "correct either"
        )
        if self.said is None and not self.fitting and not self.against:
            findings.wrong(
                self.open, "images have an EXIF orientation of which sizes tell nothing", SAY
            )


def look_at_sizes(samples: Sequence[dict[str, Any]], tally: Orientations) -> None:
    """Read the heads of some samples' files, in threads; broken ones are left to who decodes."""

    def look(sample: dict[str, Any]) -> tuple[dict[str, Any], Any, int, Any]:
        try:
            size, by_exif = stored_size(sample["img_path"])
        except (BrokenImage, FileNotFoundError):
            return sample, None, 1, None
        return sample, size, by_exif, annotated_size(sample)

    with ThreadPoolExecutor() as pool:
        for sample, size, by_exif, stated in pool.map(look, samples):
            if size is not None:
                tally.add(sample, size, by_exif, stated)
