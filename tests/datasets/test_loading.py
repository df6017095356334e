"""A broken image is named, whichever way it is broken."""

import cv2
import numpy as np
import pytest

from mae_bench.datasets.loading import LoadImage


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
