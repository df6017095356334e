"""Reconstructions of any picture: what is shown where, and the command."""

import base64
import re
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mae_bench.checkpoint.format import CheckpointMetadata
from mae_bench.checkpoint.whole_model import export_model
from mae_bench.models.mae import MAE
from mae_bench.visualize.reconstruction import (
    GAP,
    HEADING_HEIGHT,
    MASK_GREY,
    compare_maskings,
    draw_comparisons,
    fit_to_patches,
)

ROOT = Path(__file__).parents[2]
PATCH = 8
MEAN, STD = [100.0, 110.0, 120.0], [50.0, 60.0, 70.0]
ARCH = dict(arch=dict(embed_dim=16, depth=1, num_heads=2), img_size=32, patch_size=PATCH)


def build(width: int = 16, heads: int = 2, **options) -> MAE:
    torch.manual_seed(0)
    return MAE(
        backbone=dict(type="VisionTransformer", output="tokens", **ARCH),
        decoder=dict(embed_dim=width, depth=1, num_heads=heads),
        data_preprocessor=dict(type="ImgDataPreprocessor", mean=MEAN, std=STD),
        **options,
    ).eval()


def picture(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        ((50, 70), None, (48, 64)),  # cropped by 1 + 1 rows and 3 + 3 columns
        ((50, 70), 32, (32, 40)),  # scaled to 32 x 44.8
        ((20, 300), 32, (32, 480)),
    ],
)
def test_fit_to_patches(size, side, expected):
    fitted = fit_to_patches(picture(*size), PATCH, side)
    assert fitted.shape == (*expected, 3)
    if side is None:
        assert np.array_equal(fitted, picture(*size)[1:49, 3:67])


def test_less_than_two_patches_is_refused():
    with pytest.raises(ValueError, match="40x15 pixels are less than 2x2 patches of 8"):
        fit_to_patches(picture(15, 40), PATCH, None)
    with pytest.raises(ValueError, match=r"42667x32 pixels are 21,332 patches of 8, more than"):
        fit_to_patches(picture(3, 4000), PATCH, 32)


@pytest.mark.parametrize("paste", [True, False])
def test_maskings_side_by_side(paste):
    model, image = build(), picture(32, 48)
    maskings = [("random", 0.75), ("random", 0.5), ("grid", 0.75)]
    name, cells = compare_maskings(model, "a.png", image, maskings, paste_visible=paste)
    assert name == "a.png"
    assert [heading for heading, _ in cells] == [
        "random 75 %",
        "reconstruction",
        "random 50 %",
        "reconstruction",
        "grid 75 %",
        "reconstruction",
        "original",
    ]
    zoom = 4  # the shorter side of 32 pixels is shown as 128
    pictures = [cell[::zoom, ::zoom] for _, cell in cells]
    assert all(cell.shape == (128, 192, 3) for _, cell in cells)
    assert np.array_equal(pictures[-1], image)
    for i, hidden_patches in enumerate([18, 12, 18]):
        masked, made = pictures[2 * i : 2 * i + 2]
        grey = (masked == MASK_GREY).all(axis=2)
        assert grey.reshape(4, PATCH, 6, PATCH).all(axis=(1, 3)).sum() == hidden_patches
        assert np.array_equal(masked[~grey], image[~grey])
        difference = np.abs(made[~grey].astype(int) - image[~grey])
        assert (difference.max() <= 1) == paste  # pasted, up to rounding; else predicted


def test_normalised_pixels_get_the_statistics_of_the_true_patch():
    """A model that predicts 0 everywhere shows each hidden patch as its own mean colour value."""
    model = build()
    with torch.no_grad():
        model.decoder.pred.weight.zero_()
        model.decoder.pred.bias.zero_()
    image = picture(32, 32)
    _, cells = compare_maskings(model, "", image, [("random", 0.75)])
    made = cells[1][1][::4, ::4].astype(float)
    scaled = (image - np.array(MEAN)) / np.array(STD)
    for row in range(4):
        for column in range(4):
            where = np.s_[row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH]
            expected = scaled[where].mean() * np.array(STD) + np.array(MEAN)
            assert np.abs(made[where] - expected).max() <= 1


def test_rows_of_pictures_of_unequal_width():
    model = build()
    rows = [
        compare_maskings(model, "", picture(*size), [("random", 0.75)])
        for size in [(32, 64), (32, 32)]
    ]
    drawn = draw_comparisons(rows)
    assert drawn.shape == (HEADING_HEIGHT + GAP + 2 * (128 + GAP), 3 * (256 + GAP), 3)
    first, second = HEADING_HEIGHT + GAP, HEADING_HEIGHT + GAP + 128 + GAP
    assert np.array_equal(drawn[first : first + 128, :256], rows[0].cells[0][1])
    assert np.array_equal(drawn[second : second + 128, 64:192], rows[1].cells[0][1])
    assert (drawn[second : second + 128, :64] == 255).all()
    assert (drawn[:HEADING_HEIGHT] < 128).any()  # headings


# The command


@pytest.fixture
def run(monkeypatch, capfd, tmp_path):
    def run_tool(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["reconstruct.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "tools/reconstruct.py"), run_name="__main__")
        output = capfd.readouterr()
        return ended.value.code, output.out + output.err

    monkeypatch.chdir(tmp_path)
    cv2.imwrite("a.png", picture(50, 70))
    cv2.imwrite("b.png", picture(40, 40))
    return run_tool


def save(model: MAE, path: str) -> str:
    metadata = CheckpointMetadata(ARCH, 32, PATCH, MEAN, STD, "mae", "noise")
    export_model(model, path, metadata)
    return path


def test_command_with_the_papers_decoder(run):
    checkpoint = save(build(512, 16), "mae.safetensors")
    code, output = run(
        checkpoint, "a.png", "b.png", "--out", "out", "--samplings", "random", "grid", "--ratios",
        "0.75", "0.9",
    )  # fmt: skip
    assert code == 0, output
    grid = cv2.imread("out/reconstructions.png")
    assert grid.shape[1] == 9 * (160 + GAP)  # 32 x 40 pixels, four times enlarged
    page = Path("out/reconstructions.html").read_text()
    embedded = re.findall(r'src="([^"]*)"', page)
    assert len(embedded) == 2 * 9
    prefix = "data:image/png;base64,"
    first = base64.b64decode(embedded[0].removeprefix(prefix))
    assert cv2.imdecode(np.frombuffer(first, np.uint8), 1).shape == (128, 160, 3)
    assert not re.findall(r"(?:href|src)=\"(?!data:)", page)


def test_command_needs_a_config_for_another_decoder(run):
    code, output = run(save(build(), "mae.safetensors"), "a.png", "--out", "out")
    assert code == 2
    assert "decoder of width 16" in output and "--config" in output
    assert not Path("out").exists()


def test_command_with_a_config(run):
    config = f"""
default_scope = "mmengine"
model = dict(
    type="mae_bench.MAE",
    backbone=dict(type="mae_bench.VisionTransformer", output="tokens", **{ARCH}),
    decoder=dict(embed_dim=16, depth=1, num_heads=2),
    norm_pix=False,
    data_preprocessor=dict(type="ImgDataPreprocessor", mean={MEAN}, std={STD}),
)
"""
    Path("config.py").write_text(config)
    checkpoint = save(build(norm_pix=False), "mae.safetensors")
    code, output = run(checkpoint, "a.png", "--out", "out", "--config", "config.py", "--size", 48)
    assert code == 0, output
    assert cv2.imread("out/reconstructions.png").shape[1] == 3 * (3 * 64 + GAP)  # 48 x 67, cropped


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no.safetensors", "a.png"], "no.safetensors: no such checkpoint"),
        (["mae.safetensors", "no.png"], "no.png: no such image file"),
        (["mae.safetensors", "mae.safetensors"], "mae.safetensors: cannot be decoded as an image"),
        (["mae.safetensors", "a.png", "--ratios", "1.5"], "mask_ratio=1.5 leaves"),
        (["mae.safetensors", "a.png", "--samplings", "x"], "sampling='x' is not one of"),
        (["mae.safetensors", "a.png", "--size", "x"], "--size x is neither"),
    ],
)
def test_what_people_get_wrong(run, arguments, message):
    save(build(512, 16), "mae.safetensors")
    code, output = run(*arguments, "--out", "out")
    assert code == 2
    assert f"error: {message}" in output
    assert not Path("out").exists()


def test_checkpoint_without_a_decoder(run):
    model = build()
    metadata = CheckpointMetadata(ARCH, 32, PATCH, MEAN, STD, "mae", "noise")
    del model.decoder
    export_model(model, "encoder.safetensors", metadata)
    code, output = run("encoder.safetensors", "a.png", "--out", "out")
    assert code == 2
    assert "holds no decoder" in output
