"""MiniWorld's scenes: handwritten digits over photographs, with exact masks.

Everything comes from pictures that ship inside scikit-image and scikit-learn. Training and
validation share no source: the digits are split in two, and every photograph is cut into a left
part for training and a right part for validation with a gap between them.
"""

from dataclasses import dataclass

import cv2
import numpy as np

PHOTOGRAPHS = (
    "astronaut",
    "brick",
    "chelsea",
    "coffee",
    "grass",
    "gravel",
    "immunohistochemistry",
    "rocket",
    "china.jpg",
    "flower.jpg",
)
NUM_CLASSES = 10
SPLITS = ("train", "val")

TRAIN_SHARE = 0.6
"""Share of each photograph's width, from the left, that training sees."""
VAL_START = 0.65
"""Where validation's part begins; the strip between belongs to neither."""
DIGIT_SPLIT_SEED = 20211111
"""Splits the digits for good: another generation seed makes other scenes of the same digits."""
DIGITS_TRAIN = 1200

# Low and high ends. Photographs with little contrast and pale digits make a world that can be
# learned from few labels in minutes; with saturated digits on bright photographs nothing was, in a
# trial.
BACKGROUND_BRIGHTNESS = (0.2, 0.5)
SATURATION = (0, 90)
DARK_ON_LIGHT = 0.5
"""Share of scenes with dark digits on a lightened photograph; the others are light on dark.

Where digits are always the brighter, pixels give them away: in given boxes a linear layer read 83 %
of them from raw pixels, and detection gained nothing from pre-training. Of these it reads 20 %.
"""


@dataclass
class Sources:
    """What the scenes of one split are made from.

    Attributes:
        digits: (n, 8, 8) float32 in 0..1, ink.
        labels: (n,) int64, 0..9.
        digit_ids: (n,) int64, position in scikit-learn's set.
        photographs: (H, W, 3) uint8 RGB regions.
        columns: for each photograph the (start, stop) columns its region was cut from.
    """

    digits: np.ndarray
    labels: np.ndarray
    digit_ids: np.ndarray
    photographs: list[np.ndarray]
    columns: list[tuple[int, int]]


@dataclass
class SceneObject:
    """One visible digit: its class 0..9 and its mask (H, W) bool of the pixels it shows."""

    label: int
    mask: np.ndarray


def _photograph(name: str) -> np.ndarray:
    if name.endswith(".jpg"):
        from sklearn.datasets import load_sample_image

        image = load_sample_image(name)
    else:
        import skimage.data

        image = getattr(skimage.data, name)()
    return np.stack([image] * 3, axis=-1) if image.ndim == 2 else image[..., :3]


def load_sources(split: str) -> Sources:
    """Pictures of one split, ``"train"`` or ``"val"``.

    Raises:
        ValueError: another split.
    """
    from sklearn.datasets import load_digits

    if split not in SPLITS:
        raise ValueError(f"split={split!r} is not one of {', '.join(SPLITS)}")
    digits = load_digits()
    order = np.random.default_rng(DIGIT_SPLIT_SEED).permutation(len(digits.target))
    ids = order[:DIGITS_TRAIN] if split == "train" else order[DIGITS_TRAIN:]
    photographs, columns = [], []
    for name in PHOTOGRAPHS:
        image = _photograph(name)
        width = image.shape[1]
        start, stop = (0, TRAIN_SHARE) if split == "train" else (VAL_START, 1)
        span = (int(start * width), int(stop * width))
        photographs.append(np.ascontiguousarray(image[:, span[0] : span[1]]))
        columns.append(span)
    return Sources(
        (digits.images[ids] / 16).astype(np.float32), digits.target[ids], ids, photographs, columns
    )


class SceneComposer:
    """Seeded maker of scenes.

    Args:
        sources: pictures to draw from.
        rng: the only source of randomness.
    """

    def __init__(self, sources: Sources, rng: np.random.Generator) -> None:
        self.sources = sources
        self.rng = rng

    def texture(self, size: int) -> np.ndarray:
        """A random square of a random photograph, shrunk to (size, size, 3) float32 in 0..255."""
        photo = self.sources.photographs[self.rng.integers(len(self.sources.photographs))]
        height, width = photo.shape[:2]
        side = int(self.rng.uniform(size, min(4 * size, height, width)))
        y, x = self.rng.integers(height - side + 1), self.rng.integers(width - side + 1)
        crop = photo[y : y + side, x : x + side]
        return cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)

    def digit(self, index: int, side: int) -> np.ndarray:
        """Ink (side, side) float32 in 0..1 of a digit, enlarged and slightly turned."""
        angle = self.rng.uniform(-12, 12)
        scale = side / 8
        matrix = cv2.getRotationMatrix2D((3.5, 3.5), angle, scale)
        matrix[:, 2] = matrix[:, 2] + (side - 1) / 2 - 3.5
        ink = cv2.warpAffine(
            self.sources.digits[index], matrix, (side, side), flags=cv2.INTER_CUBIC
        )
        return np.clip(ink * 1.5, 0, 1)

    def compose(
        self, size: int, labels: list[int], side: tuple[int, int]
    ) -> tuple[np.ndarray, list[SceneObject]]:
        """One scene.

        Args:
            size: side of the picture in pixels.
            labels: class of each digit to place; one that finds no free place is left out.
            side: (low, high) side of a digit's square in pixels.

        Returns:
            (size, size, 3) uint8 RGB, and the objects with disjoint masks.
        """
        rng = self.rng
        brightness = rng.uniform(*BACKGROUND_BRIGHTNESS)
        dark_on_light = rng.random() < DARK_ON_LIGHT
        image = self.texture(size) * brightness + 255 * (1 - brightness) * dark_on_light
        free = np.ones((size, size), bool)
        objects = []
        for label in labels:
            index = rng.choice(np.flatnonzero(self.sources.labels == label))
            s = int(rng.integers(side[0], side[1] + 1))
            ink = self.digit(index, s)
            mask = ink > 0.5
            for _ in range(10):
                y, x = rng.integers(size - s + 1), rng.integers(size - s + 1)
                if free[y : y + s, x : x + s][mask].all():
                    break
            else:
                continue
            hsv = np.array([[[rng.integers(180), rng.integers(*SATURATION), 255]]], np.uint8)
            colour = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0]
            shade = self.texture(s).mean(axis=2, keepdims=True) / 255
            paint = colour * (0.6 + 0.4 * shade)
            if dark_on_light:
                paint = 255 - paint
            window = image[y : y + s, x : x + s]
            image[y : y + s, x : x + s] = window + ink[..., None] * (paint - window)
            full = np.zeros((size, size), bool)
            full[y : y + s, x : x + s] = mask
            free &= ~full
            objects.append(SceneObject(int(label), full))
        return np.clip(image, 0, 255).astype(np.uint8), objects
