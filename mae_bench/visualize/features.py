"""Features as pictures: principal components of patches, attention of the class token.

The components as colours are those of DINOv2 (Oquab et al. 2024, Figure 1), without its removal of
the background; the attention is shown as by DINO (Caron et al. 2021, Figure 1).
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from ..models.vit import VisionTransformer, patch_grid
from .reconstruction import Comparison, enlarge

COMPONENTS = 3  # red, green, blue
TAILS = 0.01  # share of the patches at either end of a colour that are cut: few of them lie far out


def principal_components(features: Tensor, count: int = COMPONENTS) -> tuple[Tensor, Tensor]:
    """Scores of the first principal components.

    Args:
        features: (n, D).
        count: components.

    Returns:
        scores (n, count) in float64, the largest weight of each component positive so that a
        picture does not depend on chance; and the share of the variance of each, (count,).

    Raises:
        ValueError: fewer samples or dimensions than components.
    """
    if min(features.shape) < count:
        raise ValueError(f"{count} principal components need more than {tuple(features.shape)}")
    centred = features.double() - features.double().mean(dim=0)
    variances, vectors = torch.linalg.eigh(centred.T @ centred)  # in rising order
    vectors = vectors[:, -count:].flip(1)
    largest = vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True))
    shares = variances[-count:].flip(0) / variances.sum().clamp(min=1e-300)
    return centred @ (vectors * largest.sign()), shares


def colour_maps(maps: Sequence[Tensor]) -> tuple[list[np.ndarray], Tensor]:
    """Colours of the maps of several images by the components of all their patches together.

    Args:
        maps: (D, rows, columns) each.

    Returns:
        (rows, columns, 3) uint8 RGB each, and the share of the variance of each component, (3,).
    """
    scores, shares = principal_components(torch.cat([one.flatten(1).T for one in maps]))
    low, high = scores.quantile(TAILS, dim=0), scores.quantile(1 - TAILS, dim=0)
    colours = ((scores - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    parts = (255 * colours).round().byte().split([one[0].numel() for one in maps])
    return [
        part.reshape(*one.shape[1:], COMPONENTS).numpy()
        for part, one in zip(parts, maps, strict=True)
    ], shares


@torch.no_grad()
def class_attention(backbone: VisionTransformer, images: Tensor) -> Tensor:
    """How much the class token of the last block attends to each patch, by head.

    Args:
        backbone: with a class token, in evaluation mode.
        images: (B, C, H, W), normalised.

    Returns:
        (B, heads, rows, columns); with what goes to the class token itself they sum to 1.
    """
    attention: Any = backbone.blocks[-1].attn
    taken: list[tuple[Tensor, Tensor | None]] = []
    handle = attention.register_forward_pre_hook(lambda _, given: taken.append(given[:2]))
    try:
        backbone(images)
    finally:
        handle.remove()
    ((tokens, bias),) = taken
    q, k, _ = attention._split(attention.qkv(tokens))
    logits = q[:, :, :1] * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)  # (B, heads, 1, N)
    if bias is not None:
        logits = logits + bias[..., :1, :]
    to_patches = logits.softmax(dim=-1)[:, :, 0, backbone.num_prefix_tokens :]
    return to_patches.unflatten(-1, patch_grid(images, backbone.patch_size))


def feature_rows(
    names: Sequence[str],
    images: Sequence[np.ndarray],
    maps: Sequence[Tensor],
    attentions: Sequence[Tensor] = (),
) -> tuple[list[Comparison], Tensor]:
    """A row for each image: itself, its coloured map, attention of the mean head and of each head.

    Args:
        names: of the images.
        images: (H, W, 3) uint8 RGB.
        maps: (D, rows, columns), whose cells fill the images.
        attentions: (heads, rows, columns) for each image, or none at all.

    Returns:
        the rows, and the share of the variance of the three components.
    """
    colours, shares = colour_maps(maps)
    rows = []
    for index, (name, image, colour) in enumerate(zip(names, images, colours, strict=True)):
        cells = [("image", image), ("components", _fill(colour, image))]
        if attentions:
            heads = attentions[index]
            cells.append(("attention, mean", _fill(_heat(heads.mean(dim=0)), image)))
            cells += [
                (f"head {number}", _fill(_heat(head), image))
                for number, head in enumerate(heads, 1)
            ]
        rows.append(Comparison(name, [(heading, _enlarged(cell)) for heading, cell in cells]))
    return rows, shares


def _heat(weights: Tensor) -> np.ndarray:
    """(rows, columns) -> (rows, columns, 3) uint8 RGB, dark for 0 and bright for the largest."""
    scaled = (255 * weights / weights.max().clamp(min=1e-30)).round().byte().cpu().numpy()
    return cv2.applyColorMap(scaled, cv2.COLORMAP_VIRIDIS)[..., ::-1]


def _enlarged(cell: np.ndarray) -> np.ndarray:
    return enlarge(torch.from_numpy(cell.copy()).movedim(-1, 0))


def _fill(cells: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Cells (rows, columns, 3) in the size of the image."""
    return cv2.resize(cells, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
