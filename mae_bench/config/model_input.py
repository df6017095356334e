"""What a model is fed: mean, std and order of the channels, of a config and of a checkpoint."""

import math
from collections.abc import Iterable
from typing import Any

from mmengine.config import Config

from ..checkpoint.reader import Checkpoint

LOADERS = ("train_dataloader", "test_dataloader", "val_dataloader")
RGB, BGR = "rgb", "bgr"
# What loads images in which order, and what turns it. RobustnessSets loads RGB itself, and gives
# the preprocessor what it is told to expect.
LOADS = {"LoadImageTensor": RGB, "LoadImage": BGR, "LoadImageFromFile": BGR, "RobustnessSets": BGR}
TURNS = {"TensorToArray": None, "NumpyToPIL": "to_rgb", "PIL2Numpy": "to_bgr"}
PREPROCESSOR_TURNS = ("to_rgb", "bgr_to_rgb", "rgb_to_bgr")
TOLERANCE = 0.05  # of 255: statistics are published with two digits and more
PREPROCESSOR = "model.data_preprocessor"


def channel_order(cfg: Config) -> str | None:
    """Order of the channels that the model of a config is fed; None where that cannot be told."""
    order = None
    for step in _steps(cfg):
        name = _name(step)
        if name in LOADS:
            order = LOADS[name]
        elif order and name in TURNS and (TURNS[name] is None or step.get(TURNS[name])):
            order = _turned(order)
    preprocessor = cfg.model.get("data_preprocessor") or {}
    turns = any(preprocessor.get(flag) for flag in PREPROCESSOR_TURNS)
    return _turned(order) if order and turns else order


def follow_input(cfg: Config, checkpoint: Checkpoint, tested: bool) -> list[str]:
    """Feed the model of a config as the checkpoint was trained.

    A mean and std that the file states take the place of the config's, unless those were set on
    the command line: to train on otherwise is a choice, to test otherwise is a mistake. What a
    foreign file's format is known for is no more than a warning.

    Args:
        cfg: its ``model.data_preprocessor`` is changed.
        checkpoint: read.
        tested: whether it is tested as it is, and not trained on.

    Returns:
        what was changed, or could not be known, in words.

    Raises:
        ValueError: another order of channels, another number of them, or a test with statistics
            of the command line that are not the file's.
    """
    preprocessor = cfg.model.get("data_preprocessor") or {}
    mean, std = preprocessor.get("mean"), preprocessor.get("std")
    if mean is None or std is None:
        return []
    here = f"mean {list(mean)}, std {list(std)}"
    stated, usual = checkpoint.stated, checkpoint.statistics
    if usual is None:
        return [f"does not say its input mean and std; the config's are taken: {here}"]
    theirs = f"mean {usual[0]}, std {usual[1]}"
    if len(usual[0]) != len(mean):
        raise ValueError(
            f"{checkpoint.path}: takes {len(usual[0])} channels, {PREPROCESSOR} gives {len(mean)}"
        )
    expected, order = stated and stated.channel_order, channel_order(cfg)
    if expected and order and order != expected:
        raise ValueError(
            f"{checkpoint.path}: takes {expected} images, the config feeds {order}: set to_rgb or "
            f"bgr_to_rgb of {PREPROCESSOR} accordingly"
        )
    if _close(mean, usual[0]) and _close(std, usual[1]):
        return []
    if not checkpoint.says_input:
        return [f"files of this format usually take input {theirs}; the config's are taken: {here}"]
    if {f"{PREPROCESSOR}.mean", f"{PREPROCESSOR}.std"} & set(cfg.get("overrides") or {}):
        if tested:
            raise ValueError(
                f"{checkpoint.path}: takes input {theirs}, the override of {PREPROCESSOR} gives "
                f"{here}: leave the override out"
            )
        return [f"takes input {theirs}; the override is taken: {here}"]
    preprocessor.update(mean=list(usual[0]), std=list(usual[1]))
    return [f"input {theirs}, as the file states, in place of the config's {here}"]


def _steps(cfg: Config) -> Iterable[Any]:
    """The data set and the transforms of the first data loader that there is."""
    loader = next((cfg[key] for key in LOADERS if cfg.get(key)), None) or {}
    dataset = loader.get("dataset") or {}
    while "pipeline" not in dataset and "dataset" in dataset:
        dataset = dataset["dataset"]
    return [dataset, *(dataset.get("pipeline") or [])]


def _name(step: Any) -> str:
    kind = step.get("type", "")
    return kind.rpartition(".")[2] if isinstance(kind, str) else kind.__name__


def _turned(order: str) -> str:
    return BGR if order == RGB else RGB


def _close(one: Iterable[float], other: Iterable[float]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(math.isclose(a, b, abs_tol=TOLERANCE) for a, b in pairs)
