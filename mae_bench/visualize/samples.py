"""What a model gets, as a picture: the image, and beside it or on it what it is to learn."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .picture_page import Picture
from .predictions import beside, colour_of, names_of, true_regions
from .reconstruction import MASK_GREY
from .regions import Region, draw_regions

VOID = "void, left out of the loss"
VOID_GREYS = (100, 170)  # of a chequered pattern, which no palette has
LONGEST_NAME = 40  # of a class, in characters


@dataclass
class Sample:
    """What a model gets of one sample.

    Attributes:
        image: (H, W, 3) uint8 RGB, all that was done to it included.
        annotated: data sample of mmpretrain, mmdet or mmseg, in the pixels of ``image``; or None.
        hidden: (H, W) bool, what an autoencoder does not see; None for other models.
        name: of the file.
    """

    image: np.ndarray
    annotated: Any = None
    hidden: np.ndarray | None = None
    name: str = ""


def draw_sample(sample: Sample, meta: Mapping[str, Any]) -> Picture:
    """Draw a sample: classes below it, boxes on it, masks and labels of pixels beside it.

    Args:
        sample: what the model gets.
        meta: ``classes``, and ``palette`` where there is one.
    """
    image = np.ascontiguousarray(sample.image[..., ::-1])
    if sample.hidden is not None:
        seen = np.where(sample.hidden[..., None], np.uint8(MASK_GREY), image)
        share = f"{100 * sample.hidden.mean():.3g} % hidden"
        panels, said = [draw_regions(image, ()), draw_regions(seen, ())], share
    elif sample.annotated is not None and "gt_sem_seg" in sample.annotated:
        labels = sample.annotated.gt_sem_seg.data.squeeze(0).cpu().numpy()
        colours, legend = colour_labels(labels, meta)
        panels = [draw_regions(image, ()), draw_regions(colours, legend)]
        said = names_of(legend)
    else:
        regions = None
        if sample.annotated is not None and meta.get("classes"):
            regions = true_regions(sample.annotated, {**meta, "classes": short_names(meta)})
        panels = [draw_regions(image, [replace(one, mask=None) for one in regions or ()])]
        if any(region.mask is not None for region in regions or ()):
            panels.append(draw_regions(image, regions or ()))
        said = "" if regions is None else names_of(regions)
    caption = ": ".join(filter(None, (sample.name, said)))
    return Picture(beside(panels)[..., ::-1], caption)


def colour_labels(labels: np.ndarray, meta: Mapping[str, Any]) -> tuple[np.ndarray, list[Region]]:
    """Colour a label map, and name the classes that are in it.

    Args:
        labels: (H, W), positions among the classes; all else is void.
        meta: ``classes``, and ``palette`` where there is one.

    Returns:
        (H, W, 3) uint8 BGR, void chequered in greys, and a name for each class that occurs.
    """
    names = short_names(meta)
    chequers = np.array(VOID_GREYS, np.uint8)[np.indices(labels.shape).sum(axis=0) % 2]
    colours = np.repeat(chequers[..., None], 3, axis=2)
    legend, void = [], np.ones(labels.shape, bool)
    for label, name in enumerate(names):
        where = labels == label
        if where.any():
            colours[where] = colour_of(meta, label)
            void &= ~where
            legend.append(Region(name, None, None, colour_of(meta, label)))
    if void.any():
        legend.append(Region(VOID, None, None, (VOID_GREYS[0],) * 3))
    return colours, legend


def short_names(meta: Mapping[str, Any]) -> list[str]:
    """Names of the classes, cut where they are long: some of ImageNet's list many words."""
    return [
        name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
        for name in meta["classes"]
    ]
