"""What became of every tensor when a checkpoint was loaded."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from torch import Tensor


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
        share: share of the model's values, by number, that the file provided; 0..1.
        folded: layer scales in the file that were multiplied into the layers before them.
    """

    checkpoint: str
    loaded: list[str]
    resized: list[Resized]
    dropped: list[str]
    initialised: list[str]
    share: float
    folded: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """A few lines for a log."""
        lines = [
            f"{self.checkpoint}: {len(self.loaded)} tensors loaded, {len(self.resized)} resized, "
            f"{len(self.dropped)} dropped, {len(self.initialised)} left at initialisation; "
            f"{self.share:.1%} of the parameters come from the file"
        ]
        lines += [
            f"  resized: {r.name} {tuple(r.source)} -> {tuple(r.target)}" for r in self.resized
        ]
        if self.folded:
            lines.append(f"  layer scale folded into the layers before it: {len(self.folded)}")
        if self.dropped:
            lines.append(f"  dropped: {_grouped(self.dropped)}")
        if self.initialised:
            lines.append(f"  left at initialisation: {_grouped(self.initialised)}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON values, for the record of a run."""
        return {**asdict(self), "resized": [r._asdict() for r in self.resized]}


def _grouped(names: Iterable[str]) -> str:
    groups = Counter(name.split(".")[0] for name in names)
    return ", ".join(f"{group} ({count})" for group, count in groups.items())


def make_report(
    where: str,
    tensors: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    new: Mapping[str, Tensor],
    changed: Sequence[str],
) -> LoadingReport:
    total = sum(tensor.numel() for tensor in state.values())
    return LoadingReport(
        checkpoint=where,
        loaded=[key for key in state if key in new and key not in changed],
        resized=[
            Resized(key, list(tensors[key].shape), list(new[key].shape))
            for key in state
            if key in changed
        ],
        dropped=[key for key in tensors if key not in new],
        initialised=[key for key in state if key not in new],
        share=sum(tensor.numel() for tensor in new.values()) / total,
    )
