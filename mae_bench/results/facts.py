"""How a run differs from what was published of the recipe of a cell, from its record."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..config.neutral_keys import is_neutral
from .record import Record
from .records import ancestors
from .table import ARCHITECTURES, PRETRAIN, Cell, Facts, Start

# epochs count as equal within this share: samplers round, and COCO drops images without objects
EPOCHS_TOLERANCE = 0.02
# data sets count as the same, with a note, within this share: copies lack or have some images more
COUNT_TOLERANCE = 0.01
# groups of metrics: on the distributed files, and on corruptions made here
CORRUPTED, CORRUPTED_HERE = "imagenet_c/", "corrupted_val/"


@dataclass(frozen=True)
class Departure:
    """One difference; `excludes`: too large for the number to stand in the cell."""

    text: str
    excludes: bool = False


def departures(
    name: str, records: Mapping[str, Record], cell: Cell, claim: Mapping[str, Any], start: Start
) -> list[Departure]:
    """Differences between run `name` and what was published of `cell`.

    Args:
        name: key of `records`.
        records: run name -> record; those it comes from are looked up here.
        claim: the record's own entry for the cell; ``differs`` lists where its config departs from
            the recipe of the cell.
        start: of the cell.

    What the records do not say is a difference too: a number is not taken for a reproduction where
    that cannot be told.
    """
    record = records[name]
    chain = [name, *ancestors(name, records)]
    found = [Departure(text) for text in (*cell.differs, *claim.get("differs", ()))]
    found += _model(record, cell.facts)
    found += _evaluated(record, cell)
    trained = next((run for run in chain if learned_from(records[run]) is not None), None)
    if trained is not None:
        found += _training(records[trained], cell.facts)
    elif cell.facts.epochs or cell.facts.batch or cell.facts.train:
        found.append(Departure("how the model was trained is in no record here"))
    if cell.task != PRETRAIN:
        found += _start(records[trained or name], start)
        found += _pretraining(chain, records, trained, start)
    if cell.facts.device and record.device != cell.facts.device:
        found.append(Departure(f"on {record.device}, published on {cell.facts.device}"))
    return found


def _model(record: Record, facts: Facts) -> list[Departure]:
    own = record.model
    if own is None:
        stated = facts.model or facts.classes
        return [Departure("its model is not recorded")] if stated else []
    found = []
    if facts.model is not None:
        sizes = (own.get("embed_dim"), own.get("num_layers"), own.get("patch_size"))
        if sizes != ARCHITECTURES[facts.model]:
            text = "width {}, {} blocks, patches of {} pixels".format(*sizes)
            found.append(Departure(f"another model: {text}, published {facts.model}", True))
    if facts.image_size is not None and own.get("img_size") != facts.image_size:
        text = f"images of {own.get('img_size')} pixels, published {facts.image_size}"
        found.append(Departure(text, True))
    classes = own.get("classes")
    if facts.classes is not None and classes != facts.classes:
        found.append(Departure(f"{classes} classes, published {facts.classes}", True))
    return found


def _evaluated(record: Record, cell: Cell) -> list[Departure]:
    metric = own_metric(record, cell)
    if metric != cell.metric:
        text = "corruptions made on the fly, not the distributed files of ImageNet-C"
        return [Departure(text)]
    group = (metric or "").partition("/")[0]
    counts = record.data_counts
    own = next((counts[key] for key in (group, "test", "val") if key in counts), None)
    return _count(own, cell.facts.evaluated, "evaluated on")


def learned_from(record: Record) -> int | None:
    """Images that a run has learned from, also on frozen features; None of a mere test."""
    counts = record.data_counts
    return counts.get("train", counts.get("frozen_train"))


def _training(record: Record, facts: Facts) -> list[Departure]:
    card, samples = record.run_card, learned_from(record)
    found = _count(samples, facts.train, "trained on")
    if facts.epochs is not None:
        try:
            epochs = card["iterations"] * card["effective_batch"] / samples
        except (KeyError, ZeroDivisionError, TypeError):
            found.append(Departure(f"epochs not recorded, published {facts.epochs:g}"))
        else:
            if abs(epochs / facts.epochs - 1) > EPOCHS_TOLERANCE:
                found.append(Departure(f"{epochs:.4g} epochs, published {facts.epochs:g}"))
    batch = card.get("effective_batch")
    if facts.batch is not None and batch != facts.batch:
        found.append(Departure(f"batch {batch or 'not recorded'}, published {facts.batch}"))
    norms, published = card.get("norm_samples"), card.get("recipe_norm_samples")
    if norms and published and norms < published:
        found.append(Departure(f"BatchNorm over {norms} samples, {published} in the recipe"))
    return found


def _count(own: int | None, published: tuple[int, ...], what: str) -> list[Departure]:
    if not published or own in published:
        return []
    if own is None:
        return [Departure(f"{what} an unrecorded number of images")]
    nearest = min(published, key=lambda count: abs(count - own))
    text = f"{what} {own:,} images, published {nearest:,}"
    return [Departure(text, abs(own - nearest) > COUNT_TOLERANCE * nearest)]


def _start(record: Record, start: Start) -> list[Departure]:
    published_random = start.checkpoint is None and start.pretrain is None
    if record.checkpoint is None:
        if published_random:
            return []
        return [Departure(f"from random weights, published from {start.method or 'others'}", True)]
    if published_random:
        file = record.checkpoint["file"]
        return [Departure(f"from {file}, published from random weights", True)]
    metadata: dict[str, Any] = record.checkpoint.get("metadata") or {}
    found = []
    method = metadata.get("guessed") or (metadata.get("method") or "").partition(" + ")[0]
    if start.method is not None:
        if not method:
            found.append(Departure("what it started from does not say how it was made"))
        elif method != start.method:
            found.append(Departure(f"from {method}, published from {start.method}", True))
        elif metadata.get("guessed"):
            text = f"from a file that is taken for {method} by the names of its tensors"
            found.append(Departure(text))
    data = metadata.get("data")
    if start.data is not None and not same_data(data, start.data):
        text = f"pre-trained on {data or 'unrecorded data'}, published {start.data}"
        found.append(Departure(text, data is not None))
    epochs = metadata.get("epochs")
    if start.epochs is not None and epochs != start.epochs:
        stated = "an unrecorded number of" if epochs is None else f"{epochs:g}"
        found.append(Departure(f"pre-trained for {stated} epochs, published {start.epochs}"))
    return found


def _pretraining(
    chain: list[str], records: Mapping[str, Record], trained: str | None, start: Start
) -> list[Departure]:
    """Overrides of the runs that made the start, beside those of the start's own recipe."""
    found = []
    before = chain[chain.index(trained) + 1 :] if trained else []
    for run in before:
        changed = {
            key: value
            for key, value in records[run].overrides.items()
            if not is_neutral(key) and start.overrides.get(key, _ABSENT) != value
        }
        if changed:
            text = ", ".join(f"{key}={value}" for key, value in changed.items())
            found.append(Departure(f"pre-trained with {text}"))
    return found


_ABSENT = object()


def same_data(own: str | None, published: str) -> bool:
    """Whether two names of a data set mean the same: case, hyphens and spaces aside."""
    return own is not None and _plain(own) == _plain(published)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", name.lower())


COCO = "coco/"  # begins the metrics of its evaluation, which are shares


def own_metric(record: Record, cell: Cell) -> str | None:
    """The metric of a cell, or that of corruptions made here where a record has no other."""
    own = (cell.metric or "").replace(CORRUPTED, CORRUPTED_HERE, 1)
    if cell.metric not in record.metrics and own in record.metrics:
        return own
    return cell.metric


def value_of(record: Record, cell: Cell) -> float | None:
    """The record's value for a cell, scaled; None where it has none or it is not defined."""
    name = own_metric(record, cell) or ""
    value: Any = record.metrics.get(name)
    if value is None and name == "duration_seconds":
        value = record.duration_seconds
    if value is None:
        value = record.run_card.get(name)
    return float(value) * cell.scale if is_defined(name, value) else None


def is_defined(metric: str, value: Any) -> bool:
    """Whether a record's value is a number; COCO's -1, an average over no objects, is none."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or math.isnan(value):
        return False
    return not (metric.startswith(COCO) and value == -1)
