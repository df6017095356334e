"""Pictures of reconstructions: what is shown where."""

import cv2
import numpy as np
import pytest
import torch

from mae_bench.models import MAE, VisionTransformer
from mae_bench.visualize.reconstruction import GAP, MASK_GREY, draw_reconstructions, read_images

SIZE, PATCH = 32, 8
ZOOM = 4  # 32 pixels are shown as 128
CELL = SIZE * ZOOM + GAP


@pytest.fixture
def model() -> MAE:
    torch.manual_seed(0)
    return MAE(
        backbone=dict(
            type=VisionTransformer,
            arch=dict(embed_dim=16, depth=1, num_heads=2),
            img_size=SIZE,
            patch_size=PATCH,
            output="tokens",
        ),
        decoder=dict(embed_dim=16, depth=1, num_heads=2),
        data_preprocessor=dict(
            type="ImgDataPreprocessor", mean=[100.0, 110.0, 120.0], std=[50.0, 60.0, 70.0]
        ),
    ).eval()


def images(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)


def cells(picture: np.ndarray, row: int) -> list[np.ndarray]:
    """The six pictures of a row, as RGB at their own size."""
    band = picture[row * CELL : (row + 1) * CELL]
    corners = range(0, 6 * CELL, CELL)
    return [band[: CELL - GAP : ZOOM, x : x + CELL - GAP : ZOOM, ::-1] for x in corners]


def test_masked_reconstructed_original(model):
    originals = images(4)
    picture = draw_reconstructions(model, originals)
    assert picture.shape == (2 * CELL, 6 * CELL, 3)
    assert picture.dtype == np.uint8
    for i, original in enumerate(originals.permute(0, 2, 3, 1).numpy()):
        masked, made, shown = cells(picture, i // 2)[3 * (i % 2) :][:3]
        assert np.array_equal(shown, original)
        hidden = (masked == MASK_GREY).all(axis=2)
        # 16 patches, a quarter of which is visible: the grey ones are whole patches.
        blocks = hidden.reshape(4, PATCH, 4, PATCH).transpose(0, 2, 1, 3).reshape(16, -1)
        assert blocks.all(axis=1).sum() == 12
        visible = np.kron((~blocks.all(axis=1)).reshape(4, 4), np.ones((PATCH, PATCH))) > 0
        assert np.array_equal(masked[visible], original[visible])
        # Rounding: the visible pixels go through normalisation and back.
        assert np.abs(made[visible].astype(int) - original[visible]).max() <= 1
        assert (made[~visible] != original[~visible]).any()


def test_same_seed_same_masks(model):
    first, second, other = (draw_reconstructions(model, images(2), seed) for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_read_images_as_rgb(tmp_path):
    image = np.zeros((2, 3, 3), np.uint8)
    image[..., 2] = 200  # red in OpenCV's order
    cv2.imwrite(str(tmp_path / "a.png"), image)
    tensor = read_images([tmp_path / "a.png"])
    assert tensor.shape == (1, 3, 2, 3)
    assert tensor[0, 0].unique().tolist() == [200]
    assert tensor[0, 1:].unique().tolist() == [0]


def test_broken_and_odd_images_are_named(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((2, 3, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((4, 5, 3), np.uint8))
    (tmp_path / "c.png").write_text("no image")
    with pytest.raises(ValueError, match=r"c.png: cannot be decoded"):
        read_images([tmp_path / "a.png", tmp_path / "c.png"])
    with pytest.raises(ValueError, match=r"b.png: is 5x4 pixels, .*a.png is 3x2"):
        read_images([tmp_path / "a.png", tmp_path / "b.png"])
