"""A trained model on images without annotations."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import print_log
from mmengine.registry import DATASETS, FUNCTIONS, MODELS, init_default_scope
from torch.utils.data import DataLoader, Dataset

from ..checkpoint.reader import read_checkpoint
from ..checkpoint.whole_model import load_model
from ..config.load import load_config
from ..config.model_input import follow_input
from ..datasets.folders import list_images
from ..datasets.loader_workers import guard, named_failures
from ..datasets.reading import BrokenImage

ANNOTATIONS = ("LoadAnnotations", "LoadMask", "LoadImageNetSMask")
PARTS = ("test_dataloader", "val_dataloader")


def find_images(paths: Sequence[str | Path]) -> dict[str, Path]:
    """Images by the names that their results get.

    Args:
        paths: files, and folders, of which all images count.

    Returns:
        name -> file: the name of a file, or its path within the folder that was given.

    Raises:
        FileNotFoundError: no such file or folder, or no image in it.
        ValueError: two images of one name.
    """
    found: dict[str, Path] = {}
    for path in map(Path, paths):
        if path.is_dir():
            entries = {name: path / name for name in list_images(path)}
            if not entries:
                raise FileNotFoundError(f"{path}: no images in it")
        elif path.is_file():
            entries = {path.name: path}
        else:
            raise FileNotFoundError(f"{path}: no such file or folder")
        for name, file in entries.items():
            other = found.setdefault(name, file)
            if other.resolve() != file.resolve():
                raise ValueError(
                    f"{file}: {other} has the same name, and results are called by it: predict one "
                    "after the other"
                )
    return found


def evaluation_loader(cfg: Config) -> Mapping[str, Any]:
    """The loader whose pipeline a model is applied with.

    Raises:
        ValueError: the config has none, as one of pre-training.
    """
    for part in PARTS:
        if "pipeline" in ((cfg.get(part) or {}).get("dataset") or {}):
            return cfg[part]
    raise ValueError(f"{cfg.filename}: has no validation or test set, so it says no pipeline")


@dataclass
class Applied:
    """A model that is ready to be applied.

    Attributes:
        cfg: its config.
        model: in evaluation mode, on its device.
        loader: of the config, for the pipeline.
        meta: ``classes``, ``palette`` and so on, of the data that it was trained on.
    """

    cfg: Config
    model: Any
    loader: Mapping[str, Any]
    meta: dict[str, Any]

    @property
    def turned(self) -> bool:
        """Whether images are read as EXIF turns them."""
        steps = self.loader["dataset"]["pipeline"]
        if _name(steps[0]["type"]) == "LoadImageTensor":
            return bool(steps[0].get("exif_orientation"))
        return self.loader["dataset"].get("exif_orientation") is not False


def load_for_prediction(
    config: str | Path,
    checkpoint: str | Path,
    overrides: dict[str, Any] | None = None,
    device: str | None = None,
) -> Applied:
    """Build the model of a config and load a checkpoint into it, heads included.

    The names of the classes are those in the checkpoint, else those of the config. Images are
    normalised as the checkpoint states, see ``follow_input``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the two do not fit, or the config is of pre-training.
    """
    overrides = dict(overrides or {})
    cfg = load_config(config, overrides)
    read = read_checkpoint(checkpoint)
    stated = read.stated.classes if read.stated else None
    classes = tuple(stated) if stated else None
    if classes and cfg.get("own_data") and "own_data.classes" not in overrides:
        cfg = load_config(config, {**overrides, "own_data.classes": classes})
    loader = evaluation_loader(cfg)
    init_default_scope(cfg.default_scope)
    meta = _metainfo(loader["dataset"])
    if classes and meta.get("classes") and tuple(meta["classes"]) != classes:
        raise ValueError(
            f"{checkpoint}: was trained on the classes {', '.join(classes[:3])}, ..., the config "
            f"has {', '.join(meta['classes'][:3])}, ...: use the config it was trained with"
        )
    meta["classes"] = classes or meta.get("classes")
    if not meta["classes"]:
        raise ValueError(f"{config}: names no classes: set metainfo.classes of the data set")
    for note in follow_input(cfg, read, tested=True):
        print_log(f"{checkpoint}: {note}", logger="current", level=logging.WARNING)
    model = MODELS.build(cfg.model)
    load_model(model, read)
    model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return Applied(cfg, model.eval(), loader, meta)


def _metainfo(dataset: Mapping[str, Any]) -> dict[str, Any]:
    kind = dataset["type"]
    kind = DATASETS.get(kind) if isinstance(kind, str) else kind
    meta = {**getattr(kind, "METAINFO", {}), **(dataset.get("metainfo") or {})}
    return {**meta, "reduce_zero_label": dataset.get("reduce_zero_label", False)}


@dataclass
class Prediction:
    """What a model found in an image; or, where that cannot be read, why."""

    name: str
    path: Path
    sample: Any = None
    problem: str = ""


class _Images(Dataset):
    def __init__(self, images: Mapping[str, Path], dataset: Mapping[str, Any]) -> None:
        self.images = list(images.items())
        steps = [step for step in dataset["pipeline"] if _name(step["type"]) not in ANNOTATIONS]
        self.pipeline = Compose(steps)
        self.fixed = {
            key: dataset[key]
            for key in ("reduce_zero_label", "exif_orientation")
            if dataset.get(key) is not None
        }

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[int, Any, str]:
        path = self.images[index][1]
        sample = dict(img_path=str(path), img_id=index + 1, seg_fields=[], **self.fixed)
        try:
            return index, self.pipeline(sample), ""
        except BrokenImage as error:
            return index, None, str(error)
        except Exception as error:  # of a transform, of an image of an odd shape say
            what = " ".join(str(error).split()) or type(error).__name__
            return index, None, f"{path}: {what}"


def _name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind).rpartition(".")[2]


def predict(
    model: Any,
    loader: Mapping[str, Any],
    images: Mapping[str, Path],
    batch_size: int | None = None,
    num_workers: int = 0,
) -> Iterator[Prediction]:
    """Apply a model to images, in batches; an image that cannot be read does not stop the others.

    Args:
        model: of mmpretrain, mmdet or mmseg, on its device.
        loader: of the config, see :func:`evaluation_loader`.
        images: name -> file.
        batch_size: None: the loader's.
        num_workers: processes that read.

    Yields:
        one for each image, in their order.

    Raises:
        ValueError: the processes that read lack memory or file handles.
    """
    dataset = _Images(images, loader["dataset"])
    collate = pseudo_collate
    if collate_config := loader.get("collate_fn"):
        collate = FUNCTIONS.get(kind) if isinstance(kind := collate_config["type"], str) else kind
    batches = guard(
        DataLoader(
            dataset,
            batch_size=batch_size or loader.get("batch_size") or 1,
            num_workers=num_workers,
            collate_fn=list,
        )
    )
    model.eval()
    with named_failures():
        for batch in batches:
            good = [packed for _, packed, _ in batch if packed is not None]
            samples = iter(_run(model, good, collate))
            for index, packed, problem in batch:
                name, path = dataset.images[index]
                sample = None if packed is None else next(samples)
                yield Prediction(name, path, sample, problem)


@torch.no_grad()
def _run(model: Any, packed: list[Any], collate: Any) -> list[Any]:
    """Data samples, on the CPU; images of several sizes go one after the other."""
    if not packed:
        return []
    shapes = {tuple(entry["inputs"].shape) for entry in packed}
    groups = [packed] if len(shapes) == 1 else [[entry] for entry in packed]
    return [sample.cpu() for group in groups for sample in model.test_step(collate(group))]
