"""A masked autoencoder from its checkpoint, with the decoder."""

from pathlib import Path

import torch
from mmengine.registry import init_default_scope
from torch import Tensor

from ..checkpoint.format import CheckpointMetadata
from ..checkpoint.metadata import Unseen
from ..checkpoint.reader import read_checkpoint
from ..checkpoint.whole_model import load_model
from ..config.load import load_config
from ..config.model_input import follow_input
from ..models.mae import MAE
from ..registry import MODELS

PAPER_WIDTH, PAPER_HEADS = 512, 16


def load_mae(path: str | Path, config: str | Path | None = None) -> tuple[MAE, int]:
    """Build the autoencoder of a checkpoint and load it, on the GPU where there is one.

    Args:
        path: checkpoint of any format that holds a decoder.
        config: pre-training config. Without one the paper's decoder and normalised pixels are
            taken, because heads and target do not show in a file.

    Returns:
        the model, in evaluation mode, and the shorter side in pixels it was pre-trained at.

    Raises:
        FileNotFoundError: no such checkpoint or config.
        ValueError: no decoder in the file, one that needs a config, or a config of another model.
    """
    checkpoint = read_checkpoint(path)
    tensors = checkpoint.imported.tensors
    if "decoder.embed.weight" not in tensors:
        raise ValueError(
            f"{path}: holds no decoder, so it reconstructs nothing; use the checkpoint that "
            "pre-training wrote"
        )
    metadata = checkpoint.describe(Unseen())
    if config is None:
        model = _paper_model(path, tensors, metadata)
    else:
        cfg = load_config(config)
        follow_input(cfg, checkpoint, tested=True)
        init_default_scope(cfg.default_scope)
        model = MODELS.build(cfg.model)
        if not isinstance(model, MAE):
            raise ValueError(f"{config}: its model is a {type(model).__name__}, not MAE")
    load_model(model, checkpoint)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = metadata.img_size
    return model.to(device).eval(), size if isinstance(size, int) else min(size)


def _paper_model(path: str | Path, tensors: dict[str, Tensor], metadata: CheckpointMetadata) -> MAE:
    """The model that tensors and metadata tell, with what they leave open as in the paper."""
    width = len(tensors["decoder.embed.weight"])
    out_dim = len(tensors["decoder.pred.weight"])
    if width != PAPER_WIDTH or out_dim != tensors["patch_embed.proj.weight"][0].numel():
        raise ValueError(
            f"{path}: has a decoder of width {width} that predicts {out_dim} values; the file does "
            "not tell its heads and target, so give the pre-training config with --config"
        )
    depth = len({name.split(".")[2] for name in tensors if name.startswith("decoder.blocks.")})
    architecture = {**metadata.architecture, "type": "mae_bench.VisionTransformer"}
    return MAE(
        backbone={**architecture, "output": "tokens", "img_size": metadata.img_size},
        decoder=dict(embed_dim=width, depth=depth, num_heads=PAPER_HEADS),
        encoder_mask_tokens="encoder_mask_token" in tensors,
        data_preprocessor=dict(
            type="mmengine.ImgDataPreprocessor", mean=metadata.mean, std=metadata.std
        ),
    )
