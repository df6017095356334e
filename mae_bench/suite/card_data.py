"""The data that a card measures on, and what of it is measured on class folders of one's own."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..datasets.archives import find_archives

FULL = "configs/suite/full.yaml"
MINIWORLD_FILE = "dataset.json"  # which MiniWorld describes itself with
IN1K = "configs/cls/vit_base_frozen_in1k.py"
SIZES = {"base": 16, "large": 16, "huge": 14}
NEIGHBOURS = (10, 20, 100, 200)  # of DINO's evaluation code
FEW = (1, 10, 0.1)  # images a class, and a share of them
STEPS, BATCH = 12_500, 128  # of DINOv2's linear evaluation, whatever the data; on one GPU
HELD_OUT = 0.1  # of the training images, on which linear heads are chosen


@dataclass(frozen=True)
class CardData:
    """What a card measures on.

    Args:
        suite: file with the table of what is measured.
        recipe: config of its features.
        full: file with the tables that a decision may follow.
        root: where the data sets are.
        images: folder with ``train`` and ``val``, of classification.
        usual: where the recipes look for the data sets; None: nowhere.
        sizes: of a ViT that the table has recipes of, with their patch size.
        pretrain: config of the autoencoders that are trained on it; None: the paper's decoder.
    """

    suite: str
    recipe: str
    full: str
    root: Path
    images: Path
    usual: Path | None
    sizes: Mapping[str, int] = field(default_factory=dict)
    pretrain: str | None = None

    @property
    def name(self) -> str:
        """Of the folder with all cards of these data."""
        return self.root.resolve().name if self.usual is None else Path(self.suite).stem

    @property
    def pictures(self) -> Path:
        """Validation images."""
        return self.images / "val"

    @cached_property
    def sets(self) -> dict[str, Any]:
        """Data sets of class folders of one's own, by what records call them.

        Raises:
            FileNotFoundError: there are no images, or no class folders.
            ValueError: it cannot be told which image is of which class.
        """
        train = self._folders("train", None)
        return {"frozen_train": train, "test": self._folders("val", train.metainfo["classes"])}

    def _folders(self, split: str, classes: Sequence[str] | None) -> Any:
        from ..datasets.image_folders import ImageFolders  # imports MMPretrain

        listed = f"meta/{split}.txt"  # as for ImageNet
        return ImageFolders(
            data_root=str(self.images),
            data_prefix=split,
            ann_file=listed if (self.images / listed).is_file() else "",
            metainfo=None if classes is None else {"classes": classes},
        )

    @property
    def class_counts(self) -> Counter[str]:
        """Training images of each class, by its name; raises as `sets`."""
        return self.sets["frozen_train"].class_counts


def find_data(root: str | Path) -> CardData | None:
    """ImageNet below a folder, MiniWorld in it or below it, or else its own class folders.

    Raises:
        FileNotFoundError: no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"--data {root}: no such folder")
    if not (root / MINIWORLD_FILE).is_file() and _holds_images(root / "imagenet/val"):
        images, usual = root / "imagenet", Path("data")
        return CardData("configs/suite/frozen.yaml", IN1K, FULL, root, images, usual, SIZES)
    for place in (root, root / "miniworld"):
        if (place / MINIWORLD_FILE).is_file():
            return CardData(
                suite="configs/suite/frozen_miniworld.yaml",
                recipe="configs/cls/vit_mini_frozen_miniworld.py",
                full="configs/suite/full_miniworld.yaml",
                root=place,
                images=place / "imagenet",
                usual=Path("data/miniworld"),
                pretrain="configs/pretrain/mae_vit_mini_miniworld.py",
            )
    if _holds_images(root / "train") and _holds_images(root / "val"):
        return CardData("configs/suite/frozen_own.yaml", IN1K, FULL, root, root, None, SIZES)
    return None


def _holds_images(folder: Path) -> bool:
    return folder.is_dir() or bool(find_archives(folder))


def overrides_of(data: CardData, test: str | None) -> dict[str, Any]:
    """Values of a task's config that point it to the data.

    Args:
        data: what is measured on.
        test: what the task tests; ``"start"``: it measures frozen features.
    """
    if data.root == data.usual:
        return {}
    keys = ["test_dataloader.dataset"]
    keys += ["train_dataloader.dataset"] if test == "start" else []
    root = str(data.images if test == "start" else data.root)
    found: dict[str, Any] = {f"{key}.data_root": root for key in keys}
    if data.usual is None:
        found |= {f"{key}.metainfo.classes": list(data.class_counts) for key in keys}
    return found


def fit_to_own(measure: Mapping[str, Any], counts: Counter[str]) -> dict[str, Any]:
    """A measure's config with what depends on how many images there are.

    Args:
        measure: of :mod:`mae_bench.evaluation.frozen`.
        counts: training images of each class.

    Raises:
        ValueError: fewer images than any measure needs.
    """
    images, fewest = counts.total(), min(counts.values())
    if images < NEIGHBOURS[0] or not fewest:
        raise ValueError(
            f"{images} training images, {fewest} of the smallest class: k-NN votes with "
            f"{NEIGHBOURS[0]}, and each class needs one"
        )
    kind = measure["type"].rpartition(".")[2]
    found = dict(measure)
    if kind == "KNN":
        found["neighbours"] = [k for k in NEIGHBOURS if k <= images]
    elif kind == "LowShot":
        found["counts"] = [count for count in FEW if count <= fewest]
    elif kind == "LinearHeads":
        learned = images - max(1, round(HELD_OUT * images))
        found["batch"] = min(BATCH, learned)
        found["epochs"] = math.ceil(STEPS / (learned // found["batch"]))
    return found


def check_unchanged(data: CardData, work_dir: Path) -> None:
    """Compare class folders of one's own with those that records in the work dir are about.

    Raises:
        ValueError: they have changed.
        FileNotFoundError: as of `CardData.sets`.
    """
    if data.usual is not None or not work_dir.is_dir():
        return
    from ..datasets.identity import data_identity, differences
    from ..results.records import read_records

    now = {name: data_identity(one) for name, one in data.sets.items()}
    for name, record in read_records(work_dir).items():
        for split in now.keys() & record.data.keys():
            if difference := differences(record.data[split], now[split]):
                raise ValueError(
                    f"{data.root}: is not what {name} was measured on ({split}: {difference}); "
                    "give another --work-dir for a card of what is there now"
                )
