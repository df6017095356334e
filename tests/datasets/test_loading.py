"""A broken image is named, whichever way it is broken."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from mae_bench.datasets.loading import (
    BrokenImage,
    LoadImage,
    LoadImageTensor,
    RandomResizedCropTensor,
    TensorToArray,
)


def test_an_image_is_read_as_by_mmcv(tmp_path):
    image = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    sample = LoadImage()(dict(img_path=str(tmp_path / "a.png")))
    assert np.array_equal(sample["img"], image)
    assert sample["img_shape"] == sample["ori_shape"] == (4, 5)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>"])
@pytest.mark.parametrize("backend", ["cv2", "pillow"])
def test_broken_image(tmp_path, content, backend):
    path = tmp_path / "broken.JPEG"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path}: cannot be decoded as an image; replace"):
        LoadImage(imdecode_backend=backend)(dict(img_path=str(path)))


def test_missing_image(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent.JPEG"):
        LoadImage()(dict(img_path=str(tmp_path / "absent.JPEG")))


@pytest.fixture
def photograph(tmp_path) -> str:
    """A JPEG of 90 x 70 pixels with edges and slopes."""
    x, y = np.meshgrid(np.arange(90), np.arange(70))
    image = np.stack([2 * x, 3 * y, 255 * ((x // 7 + y // 9) % 2)], axis=-1).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "a.jpg", quality=90)
    return str(tmp_path / "a.jpg")


def test_tensor_has_the_pixels_of_pil(photograph):
    sample = LoadImageTensor()(dict(img_path=photograph))
    assert sample["ori_shape"] == (70, 90)
    expected = np.asarray(Image.open(photograph))
    assert np.array_equal(sample["img"].permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_colours_become_rgb(photograph, tmp_path, mode):
    Image.open(photograph).convert(mode).save(tmp_path / "b.jpg")
    sample = LoadImageTensor()(dict(img_path=str(tmp_path / "b.jpg")))
    expected = np.asarray(Image.open(tmp_path / "b.jpg").convert("RGB")).astype(int)
    assert abs(sample["img"].permute(1, 2, 0).numpy() - expected).max() <= 1


def test_a_png_may_be_called_jpeg(photograph, tmp_path):
    Image.open(photograph).save(tmp_path / "a.JPEG", format="PNG")
    sample = LoadImageTensor()(dict(img_path=str(tmp_path / "a.JPEG")))
    assert np.array_equal(sample["img"].permute(1, 2, 0).numpy(), Image.open(photograph))


def test_crop_and_flip_are_those_of_torchvision_on_pil(photograph):
    cropped = transforms.RandomResizedCrop(32, (0.2, 1.0), interpolation=InterpolationMode.BICUBIC)
    reference = transforms.Compose(
        [cropped, transforms.RandomHorizontalFlip(), transforms.PILToTensor()]
    )
    ours = RandomResizedCropTensor(32, scale=(0.2, 1.0), flip_prob=0.5)
    image = LoadImageTensor()(dict(img_path=photograph))["img"]
    differences = []
    for seed in range(30):
        torch.manual_seed(seed)
        expected = reference(Image.open(photograph)).float()
        torch.manual_seed(seed)
        found = ours(dict(img=image))["img"]
        assert found.dtype == torch.uint8
        differences.append((found.float() - expected).abs().mean().item())
    assert np.mean(differences) < 0.05


def test_no_flip_unless_asked(photograph):
    image = LoadImageTensor()(dict(img_path=photograph))["img"]
    whole = RandomResizedCropTensor(64, scale=(1.0, 1.0), ratio=(9 / 7, 9 / 7))
    pictures = [whole(dict(img=image))["img"] for _ in range(10)]
    assert all(torch.equal(picture, pictures[0]) for picture in pictures)


def test_array_for_openmmlab(photograph):
    sample = TensorToArray()(LoadImageTensor()(dict(img_path=photograph)))
    assert np.array_equal(sample["img"][..., ::-1], np.asarray(Image.open(photograph)))
    assert sample["img_shape"] == (70, 90)
    assert sample["img"].flags.c_contiguous


@pytest.mark.parametrize("damage", ["empty", "text", "truncated"])
def test_broken_tensor(photograph, tmp_path, damage):
    path = tmp_path / "broken.JPEG"
    whole = Path(photograph).read_bytes()
    content = dict(empty=b"", text=b"<html>not found</html>", truncated=whole[: len(whole) // 2])
    path.write_bytes(content[damage])
    with pytest.raises(BrokenImage, match=f"{path}: cannot be decoded as an image; replace"):
        LoadImageTensor()(dict(img_path=str(path)))


def test_missing_tensor(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent.JPEG: no such image file"):
        LoadImageTensor()(dict(img_path=str(tmp_path / "absent.JPEG")))
