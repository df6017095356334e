"""The data that a card measures on, and what of it is measured on images of one's own."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..config.load import load_config
from ..config.locate import find_config
from ..datasets.archives import find_archives
from ..datasets.own_data import find_own_data

FULL = "configs/suite/full.yaml"
MINIWORLD_FILE = "dataset.json"  # which MiniWorld describes itself with
OWN_ROOT = "own_data.root"
FEW = (1, 10, 0.1)  # images a class, and a share of them
STEPS, BATCH = 12_500, 128  # of DINOv2's linear evaluation, whatever the data; on one GPU


@dataclass(frozen=True)
class CardData:
    """What a card measures on.

    Args:
        suite: file with the table of what is measured.
        recipe: config of its features.
        full: file with the tables that a decision may follow.
        root: where the data sets are.
        pictures: folder of which some are shown.
        usual: where the recipes look for the data sets; None: images of one's own.
        sizes: of a ViT that the table has recipes of, with their patch size.
        pretrain: config of the autoencoders that are trained on it; None: the paper's decoder.
    """

    suite: str
    recipe: str
    full: str
    root: Path
    pictures: Path
    usual: Path | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    pretrain: str | None = None

    @property
    def name(self) -> str:
        """Of the folder with all cards of these data."""
        return self.root.resolve().name if self.usual is None else Path(self.suite).stem

    @cached_property
    def sets(self) -> dict[str, Any]:
        """Data sets of images of one's own, by what records call them.

        Raises:
            FileNotFoundError, ValueError: as of ``find_own_data``.
        """
        cfg = load_config(find_config(self.recipe), {OWN_ROOT: str(self.root)})
        loaders = {"frozen_train": cfg.train_dataloader, "test": cfg.test_dataloader}
        configs = {name: dict(loader.dataset, pipeline=[]) for name, loader in loaders.items()}
        return {name: config.pop("type")(**config) for name, config in configs.items()}

    @property
    def class_counts(self) -> Counter[str]:
        """Training images of each class, by its name; raises as `sets`."""
        return self.sets["frozen_train"].class_counts


class NoDataError(ValueError):
    """A folder has nothing that a card could measure on."""


def find_data(root: str | Path) -> CardData:
    """ImageNet below a folder, MiniWorld in it or below it, or else images of one's own in it.

    Raises:
        FileNotFoundError: no such folder.
        NoDataError: none of these is there.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"--data {root}: no such folder")
    images = root / "imagenet/val"
    there = images.is_dir() or find_archives(images)
    if not (root / MINIWORLD_FILE).is_file() and there:
        return CardData(
            suite="configs/suite/frozen.yaml",
            recipe="configs/cls/vit_base_frozen_in1k.py",
            full=FULL,
            root=root,
            pictures=images,
            usual=Path("data"),
            sizes={"base": 16, "large": 16, "huge": 14},
        )
    for place in (root, root / "miniworld"):
        if (place / MINIWORLD_FILE).is_file():
            return CardData(
                suite="configs/suite/frozen_miniworld.yaml",
                recipe="configs/cls/vit_mini_frozen_miniworld.py",
                full="configs/suite/full_miniworld.yaml",
                root=place,
                pictures=place / "imagenet/val",
                usual=Path("data/miniworld"),
                pretrain="configs/pretrain/mae_vit_mini_miniworld.py",
            )
    return CardData(
        suite="configs/suite/frozen_own.yaml",
        recipe="configs/cls/vit_base_frozen_own.py",
        full=FULL,
        root=root,
        pictures=_own_pictures(root),
    )


def _own_pictures(root: Path) -> Path:
    """Folder with the validation images of one's own data.

    Raises:
        NoDataError: there are no training images with labels.
    """
    none = f"no imagenet/train and imagenet/val in {root}, no MiniWorld, and no images of your own"
    try:
        found = find_own_data("cls", root)
    except (FileNotFoundError, ValueError) as error:
        raise NoDataError(f"{none}: {error}") from None
    train, val = (f"{split}_dataloader.dataset" for split in ("train", "val"))
    # Without either, folders of data sets would be taken for classes.
    if not (found[f"{train}.data_prefix"] or found.get(f"{train}.ann_file")):
        raise NoDataError(f"{none} in train or in a list (docs/own_data.md)")
    return root / found[f"{val}.data_prefix"]


def overrides_of(data: CardData, test: str | None) -> dict[str, Any]:
    """Values of a task's config that point it to the data.

    Args:
        data: what is measured on.
        test: what the task tests; ``"start"``: it measures frozen features.
    """
    if data.usual is None:
        return {OWN_ROOT: str(data.root)}
    if data.root == data.usual:
        return {}
    frozen = test == "start"
    keys = ["test_dataloader.dataset.data_root"]
    keys += ["train_dataloader.dataset.data_root"] if frozen else []
    return dict.fromkeys(keys, str(data.root / "imagenet" if frozen else data.root))


def fit_to_own(measure: Mapping[str, Any], counts: Counter[str]) -> dict[str, Any]:
    """A measure's config with what depends on how many images there are.

    Args:
        measure: of :mod:`mae_bench.evaluation.frozen`.
        counts: training images of each class.

    Raises:
        ValueError: fewer images than any measure needs.
    """
    from ..evaluation.frozen.knn import NEIGHBOURS
    from ..evaluation.frozen.measure import SHARE, held_out

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
        learned = int((~held_out(images, SHARE, seed=0)).sum())
        found["batch"] = min(BATCH, learned)
        found["epochs"] = math.ceil(STEPS / (learned // found["batch"]))
    return found


def check_unchanged(data: CardData, work_dir: Path) -> None:
    """Compare images of one's own with those that records in the work dir are about.

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
