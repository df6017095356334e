"""Reading an image so that a broken file is named."""

from mmcv.transforms import LoadImageFromFile

from ..registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """mmcv's loader, with a clear error for a file that is no image.

    The original says nothing of the file where it is empty (OpenCV's error) or where another
    decoder than OpenCV fails. ``load_config`` puts this class in place of the original, so no
    config has to name it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file cannot be decoded.
    """

    def transform(self, results: dict) -> dict | None:
        """Add ``img`` (H, W, 3) uint8 BGR and its shape to the sample."""
        try:
            return super().transform(results)
        except FileNotFoundError:
            raise
        except Exception as error:
            raise ValueError(
                f"{results['img_path']}: cannot be decoded as an image; replace the file or take "
                "it out of the data"
            ) from error
