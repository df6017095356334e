"""Where in a file a model lies: the entry that holds it, and what its names start with."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import Tensor

from .adapters import ADAPTERS, candidates
from .adapters.adapter import Tensors, pattern_text

# What training files keep side by side comes as one entry, in which these names are prefixes.
SIDE_BY_SIDE = ("teacher", "student", "encoder", "target_encoder", "predictor")
# Of several entries of which none is of a known format, the one that is usual.
USUAL = ("model", "state_dict")
DEPTH = 3  # of entries in entries
# What entries and prefixes that hold a moving average of the weights are called.
AVERAGE = re.compile(r"(?<![a-z])(ema|swa|avg|averaged?)(?![a-z])", re.IGNORECASE)
# What takes one of several models out of a file. A run has no such option: its record, by which
# tables tell models apart, says the SHA-256 of the whole file.
CHOOSE = "tools/convert_checkpoint.py FILE model.safetensors"
# What is put before the names in a block that was compiled, sharded or checkpointed by itself.
WRAPPED_BLOCK = re.compile(
    r"(?<=\.\d\.|\d\d\.)(?:(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.)+"
)


@dataclass(frozen=True)
class Reading:
    """One way to read a file.

    Args:
        key: the entry, with dots between levels; "" for the file itself.
        prefix: what the names of ``tensors`` start with in the file.
        tensors: by name without the prefix.
        rest: what has no such prefix.
    """

    key: str
    prefix: str
    tensors: Tensors
    rest: Tensors

    @property
    def averaged(self) -> bool:
        """Whether its key or prefix says that it is an average of the weights."""
        return AVERAGE.search(f"{self.key}/{self.prefix}") is not None

    @property
    def options(self) -> str:
        """The options of a command that ask for it."""
        given = {"--key": self.key, "--prefix": self.prefix}
        return " ".join(f"{option} {value}" for option, value in given.items() if value)


def entries(
    content: Any, key: str = "", depth: int = DEPTH, together: bool = True
) -> dict[str, Tensors]:
    """Entries of a file that hold tensors by name, by their keys.

    Args:
        content: of the file, or of an entry.
        key: of that entry.
        depth: how many levels of entries are looked at below.
        together: make one entry of :data:`SIDE_BY_SIDE`.
    """
    if not isinstance(content, Mapping):
        return {}
    found = {}
    own = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if own and all(isinstance(name, str) for name in own):
        found[key] = {WRAPPED_BLOCK.sub("", name): value for name, value in own.items()}
    inner = {
        name: entries(value, f"{key}.{name}".lstrip("."), depth - 1, together)
        for name, value in content.items()
        if depth and isinstance(name, str) and not name.startswith("optim")
    }
    beside = {name: inner.pop(name) for name in SIDE_BY_SIDE if together and inner.get(name)}
    if beside:
        found[key] = {
            f"{name}.{inside}": tensor
            for name, tensors in beside.items()
            for inside, tensor in next(iter(tensors.values())).items()
        }
    for deeper in inner.values():
        found |= deeper
    return found


def without_prefix(key: str, prefix: str, tensors: Tensors) -> Reading:
    """The tensors of an entry whose names start with a prefix, without it."""
    inside = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    rest = {n: t for n, t in tensors.items() if not n.startswith(prefix)}
    return Reading(key, prefix, inside, rest)


def readings(key: str, tensors: Tensors) -> list[Reading]:
    """Ways to read an entry as one of the known formats."""
    if candidates(tensors):
        return [without_prefix(key, "", tensors)]
    found: list[Reading] = []
    for prefix in sorted(_wrappers(tensors), key=lambda prefix: (len(prefix), prefix)):
        # A longer prefix would be the same tensors without what the format knows beside them.
        if not any(prefix.startswith(shorter.prefix) for shorter in found):
            reading = without_prefix(key, prefix, tensors)
            found += [reading] if candidates(reading.tensors) else []
    return found


def choose(content: Any, key: str | None, prefix: str | None) -> tuple[Reading, list[Reading]]:
    """The one way to read a file, and averages of its weights that lie beside.

    Args:
        content: what the file holds.
        key, prefix: as asked for; None: found, where exactly one is of a known format.

    Raises:
        ValueError: nothing of that name, no tensors, or several ways to read the file.
    """
    if not isinstance(content, Mapping):
        raise ValueError(
            f"holds a {type(content).__name__}, not tensors by name; save the model's state_dict()"
        )
    found = entries(content)
    if not found:
        raise ValueError("no tensors by name; save the model's state_dict()")
    if key is not None:
        if key not in found:
            found = entries(content, together=False)
        if key not in found:
            raise ValueError(f"has no entry {key!r} of tensors by name; has {_listed(found)}")
        found = {key: found[key]}
    if prefix is not None:
        prefix = prefix if not prefix or prefix.endswith((".", "/")) else f"{prefix}."
        ways = [without_prefix(key, prefix, tensors) for key, tensors in found.items()]
        ways = [way for way in ways if way.tensors]
        if not ways:
            names = [name for tensors in found.values() for name in tensors]
            raise ValueError(f"no name starts with {prefix!r}: the first is {names[0]}")
    else:
        ways = [way for key, tensors in found.items() for way in readings(key, tensors)]
    if not ways:
        usual = [key for key in (*USUAL, "") if key in found] or list(found)
        if len(usual) > 1 and usual[0] not in USUAL:
            raise ValueError(f"holds tensors in {_listed(found)}: take one with {CHOOSE} --key")
        ways = [without_prefix(usual[0], "", found[usual[0]])]
    plain = [way for way in ways if not way.averaged] or ways
    if len(plain) > 1:
        options = " or ".join(way.options for way in plain)
        raise ValueError(f"holds several models: take one with {CHOOSE} {options}")
    return plain[0], [way for way in ways if way is not plain[0]]


def is_average(reading: Reading, content: Any) -> bool:
    """Whether a reading is a moving average of the weights."""
    # MMEngine's hook swaps them before it saves.
    if isinstance(content, Mapping) and {"state_dict", "ema_state_dict"} <= set(content):
        return reading.key == "state_dict"
    return reading.averaged


def _listed(found: Mapping[str, Tensors]) -> str:
    return ", ".join(key or "tensors of its own" for key in found)


@cache
def _anchors() -> list[re.Pattern]:
    """Of each format a name that occurs in its files, after anything that ends in a dot."""
    found = []
    for adapter in ADAPTERS.values():
        bare = re.escape(adapter.bare_prefix)
        sign = pattern_text(adapter.signs[0].removeprefix(adapter.bare_prefix))
        found.append(re.compile(rf"((?:[^./]+\.)+?)(?:{bare})?{sign}"))
    return found


def _wrappers(tensors: Tensors) -> set[str]:
    """Prefixes of names behind which a known format may be."""
    matches = (anchor.fullmatch(name) for anchor in _anchors() for name in tensors)
    return {match[1] for match in matches if match}
