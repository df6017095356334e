"""One reading of image files: which formats, which way is up, how many bits, what is broken.

Training, evaluation, checks and drawings all read through here.
"""

import io
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine import fileio
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
_ENDINGS = tuple(IMAGE_SUFFIXES)
JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG"
# Orientations by which height and width change places, as EXIF numbers them.
ON_ITS_SIDE = (5, 6, 7, 8)


class BrokenImage(ValueError):
    """A file that is there and cannot be used as an image; in training another takes its place."""

    @classmethod
    def at(cls, path: str | Path, what: str = "cannot be decoded as an image") -> "BrokenImage":
        """The error for the file at ``path``, which it names."""
        return cls(f"{path}: {what}; replace the file or take it out of the data")


def is_image(name: str) -> bool:
    """Whether a file of this name is read as an image. Hidden ones are not, such as macOS's."""
    base = name.rpartition("/")[2]
    return not base.startswith(".") and base.lower().endswith(_ENDINGS)


def read_image(path: str | Path, exif_orientation: bool = True) -> np.ndarray:
    """Pixels of a file as (H, W, 3) uint8 BGR, see :func:`decode_array`.

    Raises:
        FileNotFoundError: no such file.
        BrokenImage: the file cannot be decoded.
    """
    return decode_array(fileio.get(str(path)), path, exif_orientation)


def decode_array(content: bytes, path: str | Path, exif_orientation: bool = True) -> np.ndarray:
    """Decode as OpenCV does, and what it does not know as Pillow does.

    Of 16 bits the upper eight count, of an animation the first frame.

    Args:
        content: of the file.
        path: for the message.
        exif_orientation: turn the image upright as the camera noted it in EXIF.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        BrokenImage: it cannot be decoded, or its end is missing.
    """
    image = None
    if content.startswith((JPEG, PNG)):
        flags = cv2.IMREAD_COLOR
        if not exif_orientation:
            flags |= cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    else:
        # OpenCV turns these formats by EXIF or not, from version to version.
        rgb = _with_pillow(content, exif_orientation)
        image = None if rgb is None else np.ascontiguousarray(rgb[..., ::-1])
    if image is None:
        raise BrokenImage.at(path)
    return image


def decode_tensor(
    path: str | Path, content: bytes | None = None, exif_orientation: bool = False
) -> Tensor:
    """Decode a JPEG as torchvision does, and all else as :func:`decode_array` does.

    Of 16 bits the upper eight count, of an animation the first frame. torchvision's reader of PNG
    ends the whole process where one is damaged (0.29.1), and its readers know few other formats.

    Args:
        path: the file, or what it is called in messages.
        content: of the file; read from ``path`` where None.
        exif_orientation: turn the image upright as the camera noted it in EXIF. torchvision's own
            data sets, and so the authors' code, do not.

    Returns:
        (3, H, W) uint8 RGB.

    Raises:
        FileNotFoundError: no such file.
        BrokenImage: it cannot be decoded, or its end is missing.
    """
    if content is None:
        try:
            content = Path(path).read_bytes()
        except FileNotFoundError:
            raise FileNotFoundError(f"{path}: no such image file") from None
    if not content.startswith(JPEG):
        pixels = decode_array(content, path, exif_orientation)
        return torch.from_numpy(pixels[..., ::-1].copy()).permute(2, 0, 1).contiguous()
    try:
        return decode_image(
            torch.frombuffer(bytearray(content), dtype=torch.uint8),
            mode=ImageReadMode.RGB,
            apply_exif_orientation=exif_orientation,
        )
    except RuntimeError as error:
        raise BrokenImage.at(path) from error


def _with_pillow(content: bytes, exif_orientation: bool) -> np.ndarray | None:
    """(H, W, 3) uint8 RGB; None where it cannot be decoded."""
    try:
        with Image.open(io.BytesIO(content)) as opened:
            image = ImageOps.exif_transpose(opened) if exif_orientation else opened
            if image.mode.startswith("I;16"):
                grey = (np.asarray(image) >> 8).astype(np.uint8)
                return np.stack([grey] * 3, axis=-1)
            if image.mode in ("I", "F"):  # of no known range
                return None
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def orientation(image: Image.Image) -> int:
    """EXIF orientation of an opened image, 1 to 8; 1, upright, where it says nothing valid."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (OSError, ValueError, SyntaxError, KeyError, TypeError):  # a broken EXIF block
        return 1
    return value if value in range(1, 9) else 1


def stored_size(path: str | Path) -> tuple[tuple[int, int], int]:
    """Width and height as stored, and the EXIF orientation, from the head of a file.

    Raises:
        FileNotFoundError: no such file.
        BrokenImage: the file is no image.
    """
    try:
        with Image.open(path) as image:
            # Pillow turns TIFF itself, where the tag belongs to the format.
            return image.size, 1 if image.format == "TIFF" else orientation(image)
    except FileNotFoundError:
        raise
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        raise BrokenImage.at(path) from None


def turned(size: tuple[int, int], by: int) -> tuple[int, int]:
    """Width and height of an image once it is turned upright."""
    return size[::-1] if by in ON_ITS_SIDE else size


def hidden(parts: Iterable[str]) -> bool:
    """Whether a path goes through a hidden file or folder, such as ``.ipynb_checkpoints``."""
    return any(part.startswith(".") for part in parts) or "__MACOSX" in parts
