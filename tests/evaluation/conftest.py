"""Small folder trees in the real layouts of the robustness sets, with real class names."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

# Labels 0, 1, 6, 11. Tench is in neither A nor R, goldfish in R, the other two in both.
TENCH, GOLDFISH, STINGRAY, GOLDFINCH = "n01440764", "n01443537", "n01498041", "n01531178"


def picture(path: Path, size: tuple[int, int] = (224, 224), seed: int = 0) -> None:
    """A JPEG of smooth noise, width and height as given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(path, "JPEG", quality=90)


def class_folders(root: Path, classes: Iterable[str], per_class: int = 2, **options) -> None:
    """``<root>/<class>/<class>_<i>.JPEG``."""
    for seed, name in enumerate(classes):
        for i in range(per_class):
            picture(root / name / f"{name}_{i}.JPEG", seed=10 * seed + i, **options)


def all_sets(root: Path, corruptions: Iterable[str], severities: Iterable[int]) -> Path:
    """Val, A, R, Sketch and as much of C as said, below one folder."""
    class_folders(root / "imagenet/val", (TENCH, STINGRAY, GOLDFINCH), size=(300, 260))
    class_folders(root / "imagenet-a", (STINGRAY, GOLDFINCH), size=(280, 400))
    class_folders(root / "imagenet-r", (STINGRAY, GOLDFISH), size=(256, 256))
    (root / "imagenet-a/README.txt").write_text("as distributed")
    class_folders(root / "sketch", (TENCH, STINGRAY), per_class=3, size=(230, 230))
    for corruption in corruptions:
        for severity in severities:
            class_folders(root / "imagenet-c" / corruption / str(severity), (TENCH,), per_class=1)
    return root
