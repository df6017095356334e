"""A validation set from a folder that has none: every n-th image, always the same ones."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from .identity import LABEL_KEY

EVERY = 5


def part_of(
    samples: list[dict[str, Any]], hold_out: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """The samples of one part.

    Args:
        samples: of the whole, in an order that does not change.
        hold_out: ``every``, n, and ``validate``: whether every n-th is wanted, of each class where
            samples have a label, or all others; None: all of them.

    Raises:
        ValueError: another key, an ``every`` below 2, or nothing is left.
    """
    if hold_out is None:
        return samples
    settings = {"every": EVERY, "validate": False, **hold_out}
    if set(settings) != {"every", "validate"} or settings["every"] < 2:
        raise ValueError(f"hold_out={dict(hold_out)}: it has every, at least 2, and validate")
    seen: Counter[Any] = Counter()
    chosen = []
    for sample in samples:
        label = sample.get(LABEL_KEY)
        seen[label] += 1
        if (seen[label] % settings["every"] == 0) == settings["validate"]:
            chosen.append(sample)
    if not chosen:
        raise ValueError(
            f"hold_out: {len(samples)} images are too few to part: add images, or give a "
            "validation set of its own"
        )
    return chosen
