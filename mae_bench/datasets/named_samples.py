"""Which file it was, wherever a transform fails."""

from typing import Any

import cv2

from .reading import BrokenImage


class NamedSamples:
    """What our data sets add to MMEngine's ``BaseDataset``, before which it stands as a base class.

    An error of a transform names the file. One of OpenCV's, of an image too narrow to be resized
    say, makes it a broken image, which in training another takes the place of.
    """

    def prepare_data(self, idx: int) -> Any:
        """One sample through the pipeline.

        Raises:
            BrokenImage: the file, or what it shows, cannot be used.
            ValueError: a transform fails otherwise.
        """
        try:
            return super().prepare_data(idx)  # type: ignore[misc]
        except (BrokenImage, FileNotFoundError, MemoryError):
            raise
        except Exception as error:
            path = self.get_data_info(idx).get("img_path")  # type: ignore[attr-defined]
            what = " ".join(str(error).split()) or type(error).__name__
            if isinstance(error, cv2.error):
                raise BrokenImage.at(path, f"cannot be augmented ({what})") from error
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            raise ValueError(f"{path}: {kind}{what}") from error

    def __getitem__(self, idx: int) -> Any:
        try:
            return super().__getitem__(idx)  # type: ignore[misc]
        except Exception as error:
            if type(error) is not Exception:  # MMEngine's, where it has tried many others in vain
                raise
            path = self.get_data_info(idx).get("img_path")  # type: ignore[attr-defined]
            raise BrokenImage.at(
                path, f"has nothing left after the augmentation ({error})"
            ) from None
