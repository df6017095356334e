"""A broken image is named, whichever way it is broken."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.datasets.transforms import PackDetInputs
from mmseg.datasets.transforms import PackSegInputs
from PIL import Image, ImageOps
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from mae_bench.datasets.loading import (
    ChannelsFirst,
    LoadImage,
    LoadImageTensor,
    RandomResizedCropTensor,
    TensorToArray,
    in_order,
)
from mae_bench.datasets.reading import (
    BrokenImage,
    decode_tensor,
    is_image,
    read_image,
    stored_size,
    turned,
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


def read_both(path: Path, exif: bool) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) RGB as both loaders give it."""
    array = LoadImage()(dict(img_path=str(path), exif_orientation=exif))["img"][..., ::-1]
    tensor = LoadImageTensor(exif_orientation=exif)(dict(img_path=str(path)))["img"]
    return array, tensor.permute(1, 2, 0).numpy()


@pytest.fixture
def slope() -> np.ndarray:
    """(20, 30, 3) uint8 RGB, different wherever one looks."""
    y, x = np.mgrid[:20, :30]
    return np.stack([8 * x, 12 * y, 4 * (x + y)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled(tmp_path, slope, suffix, grey):
    # As a camera's file has it: the upper byte is the 8-bit image.
    eight = slope[..., 0] if grey else slope
    path = tmp_path / f"deep.{suffix}"
    if suffix == "tif":
        if not grey:
            pytest.skip("Pillow reads no TIFF of three times 16 bits")
        Image.fromarray(eight.astype(np.uint16) * 256 + 200).save(path)
    else:
        cv2.imwrite(
            str(path),
            eight[..., ::-1].astype(np.uint16) * 256 + 200
            if not grey
            else eight.astype(np.uint16) * 256 + 200,
        )
    expected = np.stack([eight] * 3, axis=-1) if grey else eight
    for found in read_both(path, exif=True):
        assert found.dtype == np.uint8
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("name", ["moving.gif", "moving.JPEG", "moving.webp", "moving.png"])
def test_the_first_frame_of_an_animation(tmp_path, slope, name):
    frames = [Image.fromarray(slope), Image.fromarray(255 - slope)]
    kind = {"moving.webp": "WEBP", "moving.png": "PNG"}.get(name, "GIF")
    options = dict(lossless=True) if kind == "WEBP" else {}
    frames[0].save(tmp_path / name, kind, save_all=True, append_images=frames[1:], **options)
    expected = np.asarray(Image.open(tmp_path / name).convert("RGB"))
    for found in read_both(tmp_path / name, exif=False):
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("suffix", ["bmp", "tif", "webp", "ppm", "png"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_other_formats_are_those_of_pillow(tmp_path, slope, suffix, mode):
    path = tmp_path / f"a.{suffix.upper()}"
    Image.fromarray(slope).convert(mode).save(
        path, **(dict(lossless=True) if suffix == "webp" else {})
    )
    assert is_image(path.name)
    for found in read_both(path, exif=True):
        assert np.array_equal(found, np.asarray(Image.open(path).convert("RGB")))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("value", [*range(1, 9), 0, 99])
def test_orientation(tmp_path, slope, suffix, value):
    exif = Image.Exif()
    exif[274] = value
    path = tmp_path / f"phone.{suffix}"
    options = dict(lossless=True) if suffix == "webp" else dict(quality=95)
    Image.fromarray(slope).save(path, exif=exif, **options)
    stored = np.asarray(Image.open(path).convert("RGB")).astype(int)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB")).astype(int)
    for turn, expected in ((False, stored), (True, upright)):
        for found in read_both(path, turn):
            assert found.shape == expected.shape
            assert abs(found - expected).max() <= 3
    size, by = stored_size(path)
    assert size == stored.shape[1::-1] and turned(size, by) == upright.shape[1::-1]


def test_size_of_the_annotations(tmp_path, slope):
    Image.fromarray(slope).save(tmp_path / "a.png")
    sample = dict(img_path=str(tmp_path / "a.png"), height=20, width=30)
    assert LoadImage()(dict(sample))["ori_shape"] == (20, 30)
    for wrong, words in (
        (dict(height=21), "is 30x20, its annotations are for 30x21; replace"),
        (dict(height=30, width=20), "for 20x30 .turned by EXIF. see exif_orientation"),
    ):
        with pytest.raises(BrokenImage, match=words):
            LoadImage()({**sample, **wrong})


@pytest.mark.parametrize("loader", [LoadImage, LoadImageTensor])
def test_a_file_in_an_archive(tmp_path, slope, loader):
    Image.fromarray(slope).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    archive = tmp_path / "a.tar"
    archive.write_bytes(b"before" + content + b"after")
    part = (str(archive), len(b"before"), len(content))
    from_archive = loader()(dict(img_path="a.tar/a.png", img_part=part))["img"]
    from_file = loader()(dict(img_path=str(tmp_path / "a.png")))["img"]
    assert np.array_equal(np.asarray(from_archive), np.asarray(from_file))
    with pytest.raises(BrokenImage, match=r"a.tar/a.png: cannot be decoded"):
        loader()(dict(img_path="a.tar/a.png", img_part=(*part[:2], len(content) - 20)))


@pytest.mark.parametrize("name", ["._a.jpg", "a.txt", "a", ".jpg", "x/.a.png"])
def test_what_is_no_image(name):
    assert not is_image(name)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_damaged_file_never_ends_the_process(tmp_path, slope, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(slope[:6, :7]).save(path)
    whole = path.read_bytes()
    broken = 0
    for place in range(len(whole)):
        content = whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]
        try:
            assert decode_tensor(path, content).shape[0] == 3
        except BrokenImage:
            broken += 1
    assert broken > 10


def test_truncated_files_of_every_format(tmp_path, slope):
    for suffix in ("jpg", "png", "webp", "tif", "bmp"):
        path = tmp_path / f"a.{suffix}"
        Image.fromarray(slope).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        for read in (read_image, lambda p: LoadImageTensor()(dict(img_path=str(p)))):
            with pytest.raises(BrokenImage, match=f"a.{suffix}: cannot be decoded"):
                read(path)


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_channels_first_is_what_packing_would_make(flipped, channels):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, channels), dtype=np.uint8)
    shown = np.flip(image, axis=1) if flipped else image
    for packing in (PackDetInputs(meta_keys=()), PackSegInputs(meta_keys=())):
        expected = packing(dict(img=shown.copy()))["inputs"]
        stored = ChannelsFirst()(dict(img=shown))["img"]
        packed = packing(dict(img=stored))["inputs"]
        assert torch.equal(packed, expected) and packed.is_contiguous()
        assert np.shares_memory(packed.numpy(), stored)  # nothing was copied


def test_flipped_view_is_copied_in_order():
    image = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    assert in_order(image) is image
    for view in (image[:, ::-1], image[:3, 1::-1], image[..., :1][:, ::-1]):
        found = in_order(view)
        assert found.shape == view.shape and found.strides[1] > 0 and (found == view).all()
