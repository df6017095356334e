"""A backbone that gives maps, with the input it wants: from a checkpoint, or from a config."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor

from ..checkpoint.build import build_backbone
from ..checkpoint.reader import read_checkpoint
from ..checkpoint.transfer import load_backbone
from ..config.arguments import find_class
from ..config.load import load_config
from ..config.model_input import BGR, channel_order, follow_input
from ..models.backbone import as_backbone, optional
from ..models.vit import VisionTransformer
from ..signature import arguments
from .features import class_attention
from .reconstruction import fit_to_patches

SIDE = 224  # where a model says no size of its own
KEY = "model.backbone"


@dataclass
class FeatureModel:
    """A backbone in evaluation mode, and what it is fed.

    Attributes:
        backbone: gives maps; those of other backbones than ours may be several, finest first.
        mean, std: of the channels, on the scale 0..255.
        flipped: whether the channels are BGR.
    """

    backbone: Any
    mean: Sequence[float]
    std: Sequence[float]
    flipped: bool = False

    @property
    def has_class_token(self) -> bool:
        """Whether there is attention of a class token that we can tell."""
        vit = isinstance(self.backbone, VisionTransformer)
        return vit and self.backbone.cls_token is not None

    def fit(self, image: np.ndarray, side: int | None = None) -> np.ndarray:
        """Scale (H, W, 3) uint8 to a shorter side, that of the model for None, and crop to cells.

        Raises:
            ValueError: less than two cells a side, or far too many.
        """
        backbone = self.backbone
        strides = optional(backbone, "map_strides") or (backbone.patch_size,)
        grid, own = optional(backbone, "grid"), optional(backbone, "img_size")
        if own is None:
            own = SIDE if grid is None else [cells * backbone.patch_size for cells in grid]
        own = own if isinstance(own, int) else min(own)
        return fit_to_patches(image, max(strides), side or own)

    @torch.no_grad()
    def look(self, image: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """The last map of an image (H, W, 3) uint8 RGB, and the attention of the class token.

        Returns:
            (D, rows, columns), and (heads, rows, columns) or None, both on the CPU.

        Raises:
            ValueError: the backbone gives no map.
        """
        order = image[..., ::-1] if self.flipped else image
        pixels = torch.from_numpy(np.ascontiguousarray(order)).permute(2, 0, 1).float()
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        parameter = next(self.backbone.parameters())
        inputs = ((pixels - mean) / std)[None].to(parameter.device, parameter.dtype)
        features = self.backbone(inputs)[-1]
        if features.ndim != 4:
            raise ValueError(
                f"{KEY}: gives features of {tuple(features.shape)} and no map (1, D, rows, columns)"
            )
        attention = class_attention(self.backbone, inputs)[0] if self.has_class_token else None
        return features[0].float().cpu(), None if attention is None else attention.float().cpu()


def load_feature_model(
    source: str | Path,
    checkpoint: str | Path | None = None,
    overrides: dict[str, Any] | None = None,
    unstated: tuple[Sequence[float], Sequence[float]] | None = None,
) -> FeatureModel:
    """Build a backbone and load it, on the GPU where there is one.

    Args:
        source: a checkpoint that any command reads, of a Vision Transformer; or a config, for its
            ``model.backbone`` of any class.
        checkpoint: for a config: what the backbone is loaded from; None: as it is initialised.
        overrides: for a config.
        unstated: mean and std of the input where a checkpoint does not say them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: they do not fit, or nothing says the mean and std of the input.
    """
    if Path(source).suffix == ".py":
        model = _of_config(load_config(source, overrides), checkpoint)
    elif checkpoint or overrides:
        raise ValueError(f"{source}: is no config (.py); --checkpoint and --cfg-options need one")
    else:
        backbone = build_backbone(source, "maps")
        statistics = backbone.input_statistics or unstated
        if statistics is None:
            raise ValueError(
                f"{source}: does not say the mean and std of its input; give the config of a model "
                "that has them, and this file with --checkpoint"
            )
        model = FeatureModel(backbone, *statistics)
    model.backbone.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    return model


def _of_config(cfg: Config, checkpoint: str | Path | None) -> FeatureModel:
    where = cfg.filename
    if not cfg.model.get("backbone"):
        raise ValueError(f"{where}: has no {KEY}")
    init_default_scope(cfg.default_scope)
    read = read_checkpoint(checkpoint) if checkpoint else None
    if read is not None:
        for note in follow_input(cfg, read, tested=True):
            print_log(f"{checkpoint}: {note}", logger="current", level=logging.WARNING)
    scale = cfg.model.get("data_preprocessor") or {}
    mean, std = scale.get("mean"), scale.get("std")
    if mean is None or std is None:
        raise ValueError(f"{where}: model.data_preprocessor has no mean and std")
    backbone = MODELS.build(_giving_maps(cfg))
    if read is None:
        backbone.init_weights()
    else:
        load_backbone(backbone, read)
    return FeatureModel(backbone, mean, std, channel_order(cfg) == BGR)


def _giving_maps(cfg: Config) -> ConfigDict:
    """The config's backbone, asked for maps where its task wants something else."""
    options = ConfigDict(cfg.model.backbone)
    kind = find_class(options.type, KEY, cfg.default_scope)
    if kind is None or "output" not in arguments(kind)[0] or options.get("output") == "maps":
        return options
    found = as_backbone(MODELS.build(ConfigDict(options)))
    options.output = "maps"
    if optional(found, "map_strides") is None:  # plain, and does not choose by itself
        options.out_indices = (found.num_layers - 1,)
    return options
