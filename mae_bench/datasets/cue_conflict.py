"""Images with the shape of one class and the texture of another, and the 16 classes they have."""

import re
from pathlib import Path

import numpy as np

from .folders import class_folders, list_images
from .imagenet_variants import ImageList

# Labels among ImageNet's 1000 classes, first and last of each run of them.
_RUNS: dict[str, tuple[tuple[int, int], ...]] = {
    "airplane": ((404, 404),),
    "bear": ((294, 297),),
    "bicycle": ((444, 444), (671, 671)),
    "bird": (
        *((8, 8), (10, 16), (18, 20), (22, 24), (80, 83), (87, 96), (98, 100)),
        *((127, 133), (135, 145)),
    ),
    "boat": ((472, 472), (554, 554), (625, 625), (814, 814), (914, 914)),
    "bottle": ((440, 440), (720, 720), (737, 737), (898, 899), (901, 901), (907, 907)),
    "car": ((436, 436), (511, 511), (817, 817)),
    "cat": ((281, 286),),
    "chair": ((423, 423), (559, 559), (765, 765), (857, 857)),
    "clock": ((409, 409), (530, 530), (892, 892)),
    "dog": (
        *((152, 191), (193, 203), (205, 226), (228, 241), (243, 250), (252, 257)),
        *((259, 259), (261, 263), (265, 268)),
    ),
    "elephant": ((385, 386),),
    "keyboard": ((508, 508), (878, 878)),
    "knife": ((499, 499),),
    "oven": ((766, 766),),
    "truck": (
        *((555, 555), (569, 569), (656, 656), (675, 675), (717, 717), (734, 734)),
        *((864, 864), (867, 867)),
    ),
}
CATEGORIES: dict[str, tuple[int, ...]] = {
    name: tuple(label for first, last in runs for label in range(first, last + 1))
    for name, runs in _RUNS.items()
}
"""Category -> labels of its ImageNet classes. Source: ``code/helper/human_categories.py`` of
rgeirhos/texture-vs-shape, the same in bethgelab/model-vs-human."""

FOLDER = "stimuli/style-transfer-preprocessed-512"
_NAME = re.compile(r"(?:.*_)?([a-z]+)\d*-([a-z]+)\d*\.\w+")  # also model-vs-human's, with a prefix


def read_cue_conflict(root: Path) -> tuple[ImageList, np.ndarray]:
    """Images in ``<root>/<shape>/<shape>1-<texture>2.png``.

    Returns:
        the images, whose labels are positions of their shapes in :data:`CATEGORIES`; and
        (N,) int64, those of their textures.

    Raises:
        FileNotFoundError: no images.
        ValueError: a folder or a file that is not named so.
    """
    known = {name: position for position, name in enumerate(CATEGORIES)}
    pairs = []
    for folder in class_folders(root):
        for name in list_images(root / folder):
            found = _NAME.fullmatch(name)
            if not found or found[1] != folder or not {found[1], found[2]} <= known.keys():
                raise ValueError(
                    f"{root / folder / name}: is not named as airplane/airplane1-bicycle2.png, "
                    f"shape and texture among {', '.join(known)}: {root} has to be the folder "
                    f"{FOLDER} of rgeirhos/texture-vs-shape"
                )
            pairs.append((f"{folder}/{name}", known[folder]))
    images = ImageList.of(root, pairs)
    names = [name.decode().partition("/")[2] for name in images.names]
    textures = [_NAME.fullmatch(name)[2] for name in names]  # type: ignore[index]
    return images, np.array([known[texture] for texture in textures], np.int64)
