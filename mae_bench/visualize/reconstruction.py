"""Pictures of what a masked autoencoder sees, makes of it, and should have made."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from ..datasets import reading
from ..models.mae import MAE
from ..models.masking import Masking, random_masking, sample_masking

MASK_GREY = 128
GAP = 4
LEAST_SIDE = 128
"""Pictures are shown with at least this many pixels, enlarged by a whole factor."""

HEADING_HEIGHT = 24
FONT = cv2.FONT_HERSHEY_SIMPLEX

MOST_PATCHES = 1 << 14  # a square of 2048 pixels, by patches of 16


def read_image(path: str | Path) -> np.ndarray:
    """Read a picture as pre-training does, not turned by EXIF: (H, W, 3) uint8 RGB.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that is no image.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such image file")
    return reading.read_image(path, exif_orientation=False)[..., ::-1]


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
        image = read_image(path)
        if images and image.shape != images[0].shape:
            raise ValueError(
                f"{path}: is {image.shape[1]}x{image.shape[0]} pixels, "
                f"{paths[0]} is {images[0].shape[1]}x{images[0].shape[0]}; use one size"
            )
        images.append(image)
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


def fit_to_patches(image: np.ndarray, patch_size: int, short_side: int | None) -> np.ndarray:
    """Scale a picture and crop it about its centre until patches fill it.

    Args:
        image: (H, W, 3) uint8.
        patch_size: side of a patch in pixels.
        short_side: pixels of the shorter side, the other in proportion; None: not scaled.

    Returns:
        (H', W', 3) uint8, both sides multiples of ``patch_size``.

    Raises:
        ValueError: the picture is smaller than two patches a side, or so long that its patches
            are too many to attend to each other.
    """
    if short_side is not None:
        factor = short_side / min(image.shape[:2])
        size = [max(1, round(side * factor)) for side in image.shape[1::-1]]
        image = cv2.resize(
            image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        )
    height, width = (side // patch_size * patch_size for side in image.shape[:2])
    if min(height, width) < 2 * patch_size:
        raise ValueError(
            f"{image.shape[1]}x{image.shape[0]} pixels are less than 2x2 patches of {patch_size}"
        )
    patches = height * width // patch_size**2
    if patches > MOST_PATCHES:
        raise ValueError(
            f"{image.shape[1]}x{image.shape[0]} pixels are {patches:,} patches of {patch_size}, "
            f"more than {MOST_PATCHES:,}: crop the image first"
        )
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def masked_and_made(
    model: MAE, images: Tensor, masking: Masking, paste_visible: bool = True
) -> tuple[Tensor, Tensor]:
    """What a model sees of pictures, hidden patches in grey, and what it makes of them.

    Args:
        model: a trained masked autoencoder with a data preprocessor that has mean and std.
        images: (B, 3, H, W) uint8 RGB.
        masking: which patches are hidden.
        paste_visible: show the visible patches as they are, not as predicted.

    Returns:
        two float tensors (B, 3, H, W) on the CPU, in 0..255.
    """
    parameter = next(model.parameters())
    mean, std = model.data_preprocessor.mean.cpu(), model.data_preprocessor.std.cpu()
    inputs = ((images - mean) / std).to(parameter.device, parameter.dtype)
    masking = Masking(*(index.to(parameter.device) for index in masking))
    made, mask = model.reconstruct(inputs, masking, paste_visible)
    made, mask = made.cpu() * std + mean, mask.cpu()
    masked = images * (1 - mask) + MASK_GREY * mask
    return masked.clamp(0, 255), made.clamp(0, 255)


def enlarge(pictures: Tensor) -> np.ndarray:
    """(..., 3, H, W) in 0..255 -> (..., H', W', 3) uint8, see :data:`LEAST_SIDE`."""
    zoom = max(1, -(-LEAST_SIDE // min(pictures.shape[-2:])))
    cells = pictures.movedim(-3, -1).byte().numpy()
    return cells.repeat(zoom, axis=-3).repeat(zoom, axis=-2)


def draw_reconstructions(model: MAE, images: Tensor, seed: int = 0) -> np.ndarray:
    """Draw rows of (masked, reconstructed, original), two images a row.

    Args:
        model: as in :func:`masked_and_made`.
        images: (B, 3, H, W) uint8 RGB.
        seed: of the masks.

    Returns:
        (rows, columns, 3) uint8 BGR, enlarged until a picture has at least 128 pixels.

    Source: MAE, Figures 2 and 3.
    """
    p = model.backbone.patch_size
    num_patches = (images.shape[2] // p) * (images.shape[3] // p)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(len(images), num_patches, generator=generator)
    masking = random_masking(len(images), num_patches, model.mask_ratio, noise=noise)
    masked, made = masked_and_made(model, images, masking)
    cells = enlarge(torch.stack([masked, made, images.float()], dim=1))[..., ::-1]
    cells = np.pad(cells, ((0, 0), (0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=255)
    rows = [np.concatenate([*cells[i], *cells[i + 1]], axis=1) for i in range(0, len(cells) - 1, 2)]
    return np.concatenate(rows)


class Comparison(NamedTuple):
    """One picture under several maskings.

    Attributes:
        name: of the picture.
        cells: (H, W, 3) uint8 RGB by heading, in order: masked and reconstruction for each
            masking, then the original.
    """

    name: str
    cells: list[tuple[str, np.ndarray]]


def compare_maskings(
    model: MAE,
    name: str,
    image: np.ndarray,
    maskings: Sequence[tuple[str, float]],
    seed: int = 0,
    paste_visible: bool = False,
) -> Comparison:
    """Reconstruct a picture from what each masking leaves of it.

    Args:
        model: as in :func:`masked_and_made`.
        name: of the picture.
        image: (H, W, 3) uint8 RGB, both sides multiples of the patch size.
        maskings: (sampling, ratio) each.
        seed: of the masks.
        paste_visible: show the visible patches as they are, not as predicted.

    Source: MAE, Figures 2, 3, 10 and 11 (one masking), 4 (ratios), 6 (samplings).
    """
    images = torch.from_numpy(image.copy()).permute(2, 0, 1).unsqueeze(0)
    grid = model.grid_of(images)
    cells = []
    for sampling, ratio in maskings:
        generator = torch.Generator().manual_seed(seed)
        masking = sample_masking(sampling, 1, grid, ratio, generator=generator)
        masked, made = masked_and_made(model, images, masking, paste_visible)
        heading = f"{sampling} {100 * ratio:g} %"
        cells += [(heading, enlarge(masked)[0]), ("reconstruction", enlarge(made)[0])]
    return Comparison(name, [*cells, ("original", enlarge(images)[0])])


def draw_comparisons(comparisons: Sequence[Comparison]) -> np.ndarray:
    """One picture of all: a row each, headings above the columns.

    Returns:
        (rows, columns, 3) uint8 RGB.
    """
    width = max(cell.shape[1] for _, cells in comparisons for _, cell in cells)
    headings = []
    for heading, _ in comparisons[0].cells:
        strip = np.full((HEADING_HEIGHT, width, 3), 255, np.uint8)
        (text_width, _), _ = cv2.getTextSize(heading, FONT, 0.42, 1)
        left = (width - text_width) // 2
        cv2.putText(strip, heading, (left, 16), FONT, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
        headings.append(strip)
    rows = [headings] + [[cell for _, cell in comparison.cells] for comparison in comparisons]
    drawn = []
    for row in rows:
        padded = []
        for cell in row:
            spare = width - cell.shape[1]
            sides = (spare // 2, spare - spare // 2 + GAP)
            padded.append(np.pad(cell, ((0, GAP), sides, (0, 0)), constant_values=255))
        drawn.append(np.concatenate(padded, axis=1))
    return np.concatenate(drawn)
