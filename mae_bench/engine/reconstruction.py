"""Pictures of what a masked autoencoder sees, makes of it, and should have made."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from ..models.mae import MAE
from ..models.masking import random_masking
from ..registry import HOOKS
from .run_card import unwrap

MASK_GREY = 128
GAP = 4


def read_images(paths: Sequence[str | Path]) -> Tensor:
    """Read pictures of one size.

    Args:
        paths: image files.

    Returns:
        (B, 3, H, W) uint8 RGB.

    Raises:
        ValueError: a file that is no image, or one of another size than the first.
    """
    images: list[np.ndarray] = []
    for path in paths:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            raise ValueError(f"{path}: cannot be read as an image")
        if images and image.shape != images[0].shape:
            raise ValueError(
                f"{path}: is {image.shape[1]}x{image.shape[0]} pixels, "
                f"{paths[0]} is {images[0].shape[1]}x{images[0].shape[0]}; use one size"
            )
        images.append(image[..., ::-1])
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


def draw_reconstructions(model: MAE, images: Tensor, seed: int = 0) -> np.ndarray:
    """Draw rows of (masked, reconstructed, original), two images a row.

    Args:
        model: a trained masked autoencoder with a data preprocessor that has mean and std.
        images: (B, 3, H, W) uint8 RGB.
        seed: of the masks.

    Returns:
        (rows, columns, 3) uint8 BGR, enlarged until a picture has at least 128 pixels.

    Source: MAE, Figures 2 and 3.
    """
    parameter = next(model.parameters())
    mean, std = model.data_preprocessor.mean.cpu(), model.data_preprocessor.std.cpu()
    inputs = ((images - mean) / std).to(parameter)
    p = model.backbone.patch_size
    num_patches = (images.shape[2] // p) * (images.shape[3] // p)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(len(images), num_patches, generator=generator).to(parameter.device)
    masking = random_masking(len(images), num_patches, model.mask_ratio, parameter.device, noise)
    pasted, mask = model.reconstruct(inputs, masking)
    pasted, mask = pasted.cpu() * std + mean, mask.cpu()
    masked = images * (1 - mask) + MASK_GREY * mask
    triplets = torch.stack([masked, pasted, images.float()], dim=1).clamp(0, 255)
    zoom = max(1, -(-128 // images.shape[-1]))
    cells = triplets.permute(0, 1, 3, 4, 2).byte().numpy()[..., ::-1]
    cells = cells.repeat(zoom, axis=2).repeat(zoom, axis=3)
    cells = np.pad(cells, ((0, 0), (0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=255)
    rows = [np.concatenate([*cells[i], *cells[i + 1]], axis=1) for i in range(0, len(cells) - 1, 2)]
    return np.concatenate(rows)


@HOOKS.register_module()
class DrawReconstructions(Hook):
    """Write ``reconstructions.png`` into the work directory after pre-training.

    Args:
        folder: pictures of the input's size are taken from here, evenly over all of them.
        count: how many, an even number.
    """

    priority = "LOW"

    def __init__(self, folder: str, count: int = 12) -> None:
        self.folder = folder
        self.count = count

    @master_only
    def after_train(self, runner: Runner) -> None:
        """Draw once, at the end."""
        paths = sorted(p for p in Path(self.folder).rglob("*") if p.is_file())
        chosen = paths[:: max(1, len(paths) // self.count)][: self.count]
        model = unwrap(runner.model).eval()
        assert isinstance(model, MAE), f"{type(model).__name__} reconstructs nothing"
        picture = draw_reconstructions(model, read_images(chosen))
        cv2.imwrite(str(Path(runner.work_dir, "reconstructions.png")), picture)
