"""Robustness sets of ImageNet in the layouts in which they are distributed."""

from pathlib import Path

from mmengine.dataset import BaseDataset
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

from ..registry import DATASETS

SEVERITIES = (1, 2, 3, 4, 5)
IMAGE_SUFFIXES = {".jpeg", ".jpg", ".png"}


@DATASETS.register_module()
class ImageNetC(BaseDataset):
    """ImageNet-C: ``<corruption>/<severity>/<class folder>/<image>``.

    Labels are the positions of the class folders in sorted order, as in ImageNet. Every sample
    carries ``corruption`` and ``severity`` beside ``img_path`` and ``gt_label``.

    Args:
        data_root: folder of the corruptions.
        corruptions: which of them to read; all that are there when None.
        kwargs: of MMEngine's BaseDataset.

    Raises:
        FileNotFoundError: the folder, a corruption or one of the five severities is missing.

    Source: Hendrycks and Dietterich 2019; MAE Table 13.
    """

    METAINFO = {"classes": IMAGENET_CATEGORIES}

    def __init__(
        self, data_root: str, corruptions: list[str] | None = None, **kwargs: object
    ) -> None:
        self.corruptions = corruptions
        super().__init__(data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """One dict per image, in sorted order."""
        root = Path(self.data_root)
        if not root.is_dir():
            raise FileNotFoundError(f"{root}: no such folder; it should hold ImageNet-C")
        corruptions = self.corruptions or sorted(p.name for p in root.iterdir() if p.is_dir())
        samples = []
        for corruption in corruptions:
            for severity in SEVERITIES:
                folder = root / corruption / str(severity)
                if not folder.is_dir():
                    raise FileNotFoundError(
                        f"{folder}: no such folder; ImageNet-C has <corruption>/<severity 1-5>/"
                        "<class>/<image>"
                    )
                for label, class_folder in enumerate(sorted(folder.iterdir())):
                    samples += [
                        dict(
                            img_path=str(image),
                            gt_label=label,
                            corruption=corruption,
                            severity=severity,
                        )
                        for image in sorted(class_folder.iterdir())
                        if image.suffix.lower() in IMAGE_SUFFIXES
                    ]
        return samples
