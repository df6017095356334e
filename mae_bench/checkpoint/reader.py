"""The one reader of checkpoints: any file, read once, hashed once, executing nothing in it."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..files import sha256_of
from .adapters import ADAPTERS, candidates
from .adapters.adapter import NORMALIZATIONS, UNKNOWN, Adapter, Imported, Tensors
from .array_files import load_npz, load_pickled_arrays
from .containers import AVERAGE, choose, is_average
from .format import (
    METADATA_KEY,
    CheckpointMetadata,
    CheckpointSource,
    is_safetensors,
    load_safetensors,
    stored_metadata,
)
from .hf_folder import settings_beside
from .known import Known
from .limits import check_unpacked
from .locate_checkpoint import locate
from .metadata import Unseen, describe, known_heads, metadata_heads
from .names import ENCODER
from .torch_file import load_torch_file

OURS = "mae_bench"


@dataclass
class Checkpoint:
    """A checkpoint file in memory.

    Args:
        path: the file.
        stored: tensors of the model under the file's own names.
        rest: tensors beside them that belong to no model we know.
        stated: metadata of our format, where the file has any.
        adapter: its foreign format; None where it is ours or unknown.
        notes: how it was read, where that was not plain: entry, prefix, averages left.
        beside: what a config beside the file says, see ``hf_folder``, or the hub's library.
        known: which public checkpoint it is.
        revision: of the hub, the commit it was taken from.
    """

    path: Path
    stored: Tensors
    rest: Tensors
    stated: CheckpointMetadata | None
    adapter: Adapter | None
    notes: list[str] = field(default_factory=list)
    beside: Unseen = Unseen()
    known: Known | None = None
    revision: str | None = None

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, hexadecimal."""
        return sha256_of(self.path)

    @property
    def format(self) -> str:
        """Name of the format."""
        return OURS if self.stated else self.adapter.name if self.adapter else "unknown"

    @cached_property
    def imported(self) -> Imported:
        """Tensors under our names, the foreign names left out, and the number of heads.

        Names of no known format stay as they are.

        Raises:
            ValueError: a tensor with no equal here.
        """
        left = {name: tensor.numel() for name, tensor in self.rest.items()}
        if not self.adapter:
            return Imported(self.stored, left, None)
        try:
            tensors, dropped, heads = self.adapter.to_ours(self.stored)
            return Imported(tensors, {**dropped, **left}, heads)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from None

    @property
    def num_heads(self) -> int | None:
        """Number of heads: stated, seen, or by width; None where nothing tells."""
        if self.stated:
            return metadata_heads(self.stated)
        return self.beside.num_heads or (
            known_heads(self.adapter, self.imported) if self.adapter else None
        )

    @property
    def statistics(self) -> tuple[list[float], list[float]] | None:
        """Mean and std of the input channels on the scale 0..255; None where nothing tells."""
        for said in (self.stated, self.beside):
            if said and said.mean and said.std:
                return list(said.mean), list(said.std)
        name = self.adapter.normalization if self.adapter else None
        return NORMALIZATIONS[name] if name else None

    @property
    def says_input(self) -> bool:
        """Whether the statistics are said of this file, and are not just usual for its format."""
        return bool(self.stated or self.known or self.beside.mean)

    @property
    def facts(self) -> dict[str, Any]:
        """Format, and how the model was trained: as stated or published, or a guess by names.

        A guess says whose method the names are of, ``guessed``. ``known`` is the name of a public
        checkpoint, ``revision`` the commit of the hub.
        """
        said = self.stated or self.known
        guess = self.adapter.guess if self.adapter and not said else None
        claim = self.adapter.claim if self.adapter else UNKNOWN
        facts: dict[str, Any] = {
            "method": said.method if said else claim,
            "data": said.data if said and said.data != UNKNOWN else None,
            "epochs": said.epochs if said else None,
            "format": self.format,
        }
        extra = dict(guessed=guess, known=self.known and self.known.name, revision=self.revision)
        return facts | {key: value for key, value in extra.items() if value}

    def describe(self, unseen: Unseen) -> CheckpointMetadata:
        """Metadata of our format.

        Raises:
            ValueError: something does not show and is not in ``unseen``; names the option.
        """
        if self.stated:
            return self.stated
        if not self.adapter:
            raise ValueError(f"{self.path}: {self.unknown_format()}")
        imported = self.imported
        try:
            return describe(self.adapter, imported, self._with_beside(unseen))
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from None

    def _with_beside(self, unseen: Unseen) -> Unseen:
        """What was given, else what is published or stands beside the file."""
        given = {name: value for name, value in vars(unseen).items() if value is not None}
        beside = dict(vars(self.beside))
        if self.known:
            published = {name: getattr(self.known, name) for name in ("method", "data", "epochs")}
            beside |= published
        if {"mean", "normalization"} & set(given):
            beside |= dict(mean=None, std=None)
        return Unseen(**{**beside, **given})

    @cached_property
    def source(self) -> CheckpointSource | None:
        """Where it was converted from, for the metadata of what it is converted to."""
        if self.stated or not self.adapter:
            return None
        return CheckpointSource(self.path.name, self.sha256, self.adapter.name)

    @cached_property
    def metadata(self) -> CheckpointMetadata | None:
        """What is known of the model without being told; None where that is too little.

        Unknown statistics of the input are said to be ImageNet's: see ``statistics``.
        """
        try:
            return self.describe(Unseen(normalization=None if self.statistics else "imagenet"))
        except ValueError:
            return None

    def fit(self, wanted: Collection[str]) -> tuple[Tensors, CheckpointMetadata | None, dict]:
        """Tensors for a module.

        Under the file's own names where those are the module's, as of timm's own BEiT or a ResNet;
        else under ours.

        Args:
            wanted: names of the module.

        Returns:
            tensors, metadata where it is known, and foreign names left out, with the number of
            values of each.

        Raises:
            ValueError: a tensor with no equal here.
        """
        encoder = [name for name in wanted if ENCODER.match(name)]
        own = self._own_names(encoder)
        try:
            tensors, dropped, _ = self.imported
        except ValueError:
            if own is None or any(n not in wanted and ENCODER.match(n) for n in own):
                raise
            return own, None, {}
        if own is not None and not all(name in tensors for name in encoder):
            return own, None, {}
        return tensors, self.metadata, dropped

    def _own_names(self, encoder: list[str]) -> Tensors | None:
        """The stored tensors, where they have these names or these after one prefix."""
        if self.stated or not encoder:
            return None
        ends = [name for name in self.stored if f".{name}".endswith(f".{encoder[0]}")]
        for prefix in sorted((name.removesuffix(encoder[0]) for name in ends), key=len):
            if all(prefix + name in self.stored for name in encoder):
                return {n.removeprefix(prefix): tensor for n, tensor in self.stored.items()}
        return None

    def unknown_format(self) -> str:
        """Say what was seen in a file of no known format."""
        # Blocks repeat the same names, and layers have their bias beside their weight.
        kinds = dict.fromkeys(
            re.sub(r"\.(weight|bias)$", "", re.sub(r"\d+", "*", name)) for name in self.stored
        )
        seen = f"{len(self.stored)} tensors, such as {', '.join(list(kinds)[:8])}"
        return f"unknown format: {seen}; known are {', '.join(ADAPTERS)}"


def read_checkpoint(
    path: str | Path,
    key: str | None = None,
    prefix: str | None = None,
    adapter: Adapter | None = None,
) -> Checkpoint:
    """Read a checkpoint of any format.

    The entry of the file and a prefix that wrappers put before names, such as ``module.``, are
    found where exactly one reading is of a known format.

    Args:
        path: ``.safetensors``, ``.npz``, ``.pkl``, a file of ``torch.save``, a folder of Hugging
            Face, or a name (see ``locate_checkpoint.locate``).
        key: entry to take, with dots between levels.
        prefix: of names, taken off; others are left out.
        adapter: the format; detected where None.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged file, NaN, anything but tensors and what is harmless, or several
            ways to read it.
    """
    source = locate(path)
    path, known = source.path, source.known
    adapter = adapter or (ADAPTERS[known.format] if known else None)
    content, stated = _read(path)
    if stated and METADATA_KEY not in content:
        key, prefix = "", ""  # of our format, which has neither
    try:
        reading, others = choose(content, key, prefix)
        adapter = adapter or _detect(reading.tensors, stated, content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    check_unpacked(path, {**reading.tensors, **reading.rest})
    notes = [f"read with {reading.options}"] if reading.options else []
    if is_average(reading, content):
        notes.append("took the average of the weights (EMA)")
    for other in others:
        kind = "an average of the weights (EMA)" if is_average(other, content) else "plain weights"
        notes.append(f"has {kind} too: {other.options}")
    hidden = [name for name in reading.rest if AVERAGE.search(name)]
    if hidden and not any(is_average(other, content) for other in others):
        notes.append(f"left out an average of the weights (EMA) by its name: {hidden[0]}, ...")
    beside = source.beside
    if adapter and adapter.name.startswith("hf_"):
        beside, differing = settings_beside(path)
        notes += differing
    return Checkpoint(
        path,
        reading.tensors,
        reading.rest,
        stated,
        adapter,
        notes,
        beside,
        known,
        source.revision,
    )


def _read(path: Path) -> tuple[Any, CheckpointMetadata | None]:
    """What a file holds, and metadata of our format where it has any."""
    if is_safetensors(path):
        stated = stored_metadata(path)
        return load_safetensors(path), stated
    if path.suffix == ".npz":
        return load_npz(path), None
    if path.suffix == ".pkl":
        return load_pickled_arrays(path), None
    content = load_torch_file(path)
    return content, _metadata_of_run(path, content)


def _metadata_of_run(path: Path, content: Any) -> CheckpointMetadata | None:
    """What ``ExportCheckpoint`` leaves in MMEngine's checkpoints."""
    text = content.get(METADATA_KEY) if isinstance(content, Mapping) else None
    try:
        return CheckpointMetadata.from_json(text) if isinstance(text, str) else None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _detect(tensors: Tensors, stated: CheckpointMetadata | None, content: Any) -> Adapter | None:
    if stated:
        return ADAPTERS["openmmlab"] if METADATA_KEY in content else None
    found = candidates(tensors)
    if len(found) > 1:
        names = ", ".join(adapter.name for adapter in found)
        raise ValueError(f"fits several formats: name one with --from: {names}")
    return found[0] if found else None
