"""What a folder of Hugging Face says beside the weights: heads, image size, input statistics."""

import math
from pathlib import Path
from typing import Any

from ..files import read_json
from ..models.block import LAYER_NORM_EPS
from .metadata import Unseen

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
ACTIVATIONS = ("gelu", "gelu_python")  # exact, as ours


def weights_in(folder: Path) -> Path:
    """The file of weights in a folder.

    Raises:
        ValueError: there is none, or several that belong together.
    """
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
        if (folder / f"{name}.index.json").is_file():
            raise ValueError(
                f"{folder}: its weights are in several files: save them in one, with a larger "
                "max_shard_size"
            )
    raise ValueError(f"{folder}: is a folder; name the checkpoint file in it")


def settings_beside(path: Path) -> tuple[Unseen, list[str]]:
    """What the config beside a file of weights says, and what of it our ViT does otherwise.

    Raises:
        ValueError: an activation that our ViT does not have, or a config that is no JSON.
    """
    file = path.with_name(CONFIG)
    config = _object(file)
    if not isinstance(config.get("num_attention_heads"), int) or "model_type" not in config:
        return Unseen(), []
    if config.get("hidden_act", "gelu") not in ACTIVATIONS:
        raise ValueError(f"{file}: hidden_act {config['hidden_act']!r} is not the GELU of our ViT")
    notes = []
    eps = config.get("layer_norm_eps", LAYER_NORM_EPS)
    if not math.isclose(eps, LAYER_NORM_EPS):
        notes.append(f"{CONFIG} beside it has layer_norm_eps {eps}, our ViT {LAYER_NORM_EPS}")
    mean, std = _statistics(_object(path.with_name(PREPROCESSOR)))
    try:
        unseen = Unseen(config["num_attention_heads"], _size(config), mean=mean, std=std)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    return unseen, notes


def _size(config: dict[str, Any]) -> int | tuple[int, int] | None:
    size = config.get("image_size")
    if isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) for side in size):
        return size[0], size[1]
    return size if isinstance(size, int) else None


def _object(path: Path) -> dict[str, Any]:
    content = read_json(path) if path.is_file() else {}
    return content if isinstance(content, dict) else {}


def _statistics(processor: dict[str, Any]) -> tuple[list[float] | None, list[float] | None]:
    """Mean and std on the scale 0..255; None where the processor says none."""
    try:
        scale = 1 / processor.get("rescale_factor", 1 / 255)
        mean = [scale * float(value) for value in processor["image_mean"]]
        std = [scale * float(value) for value in processor["image_std"]]
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None, None
    return (mean, std) if processor.get("do_normalize", True) else (None, None)
