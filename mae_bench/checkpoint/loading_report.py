"""What became of every tensor when a checkpoint was loaded."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from ..text import printable

DROPPED = "dropped"


class Resized(NamedTuple):
    """A tensor that was made to fit: its name, its shape in the file and in the model."""

    name: str
    source: list[int]
    target: list[int]


@dataclass(frozen=True)
class LoadingReport:
    """What became of every tensor of a checkpoint and of a model.

    Args:
        checkpoint: file, or ``"tensors"`` where they were given directly.
        loaded: names that were copied as they are.
        resized: position tables that were made to fit the grid or the class token.
        dropped: names in the file that the model has no use for.
        initialised: names in the model that stay at their initialisation.
        values: how many numbers are in the tensors of each of the four lists.
        folded: layer scales in the file that were multiplied into the layers before them.
        notes: how the file was read, where that was not plain.
    """

    checkpoint: str
    loaded: list[str]
    resized: list[Resized]
    dropped: list[str]
    initialised: list[str]
    values: dict[str, int]
    folded: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Share of the model's values, by number, that the file provided; 0..1."""
        provided = self.values["loaded"] + self.values["resized"]
        return provided / (provided + self.values["initialised"])

    @property
    def shares(self) -> dict[str, float]:
        """Share of each of the four lists; 0..1. Of the model's values, ``dropped`` of the file's.

        Resized tensors count with their size in the model on either side.
        """
        provided = self.values["loaded"] + self.values["resized"]
        return {
            kind: number / (provided + self.values[DROPPED if kind == DROPPED else "initialised"])
            for kind, number in self.values.items()
        }

    def summary(self) -> str:
        """A few lines for log and run card."""
        shares = self.shares
        lines = [
            f"{self.checkpoint}: {len(self.loaded)} tensors loaded ({shares['loaded']:.1%} of the "
            f"model's parameters), {len(self.resized)} resized ({shares['resized']:.1%}), "
            f"{len(self.initialised)} left at initialisation ({shares['initialised']:.1%}); "
            f"{len(self.dropped)} dropped ({shares[DROPPED]:.1%} of the file's)"
        ]
        lines += [f"  {note}" for note in self.notes]
        if self.loaded:
            lines.append(f"  loaded: {_grouped(self.loaded)}")
        lines += [
            f"  resized: {r.name} {tuple(r.source)} -> {tuple(r.target)}" for r in self.resized
        ]
        if self.folded:
            lines.append(f"  layer scale folded into the layers before it: {len(self.folded)}")
        if self.dropped:
            lines.append(f"  dropped: {_grouped(self.dropped)}")
        if self.initialised:
            lines.append(f"  left at initialisation: {_grouped(self.initialised)}")
        return printable("\n".join(lines))

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON values, for the record of a run."""
        values = {**asdict(self), "resized": [r._asdict() for r in self.resized]}
        del values["values"]
        return {**values, "share": self.share, "shares": self.shares}


def _grouped(names: Iterable[str]) -> str:
    """Names by their first part; of an encoder's blocks by what they are in a block."""
    groups = Counter(
        re.sub(r"\.\d+\.", ".*.", name) if name.startswith("blocks.") else name.split(".")[0]
        for name in names
    )
    return ", ".join(f"{group} ({count})" for group, count in groups.items())


def make_report(
    where: str,
    tensors: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    new: Mapping[str, Tensor],
    changed: Sequence[str],
    left_out: Mapping[str, int] | None = None,
) -> LoadingReport:
    """What became of every tensor.

    Args:
        where: the file.
        tensors: of the file, under the model's names.
        state: of the model.
        new: tensors that it got.
        changed: names of those that were made to fit.
        left_out: names in the file that have no equal among ours, with their number of values.
    """
    left_out = left_out or {}
    dropped = {key: tensor.numel() for key, tensor in tensors.items() if key not in new}
    values = {
        "loaded": sum(new[key].numel() for key in new if key not in changed),
        "resized": sum(new[key].numel() for key in changed),
        DROPPED: sum(dropped.values()) + sum(left_out.values()),
        "initialised": sum(state[key].numel() for key in state if key not in new),
    }
    return LoadingReport(
        checkpoint=where,
        loaded=[key for key in state if key in new and key not in changed],
        resized=[
            Resized(key, list(tensors[key].shape), list(new[key].shape))
            for key in state
            if key in changed
        ],
        dropped=[*dropped, *left_out],
        initialised=[key for key in state if key not in new],
        values=values,
    )
