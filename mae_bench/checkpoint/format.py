"""The one checkpoint format: tensors and a metadata block in a ``.safetensors`` file.

Nothing in here executes what a file holds. ``docs/checkpoint_format.md`` describes the format.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..files import write_atomic
from .integrity import BLANK, DIGEST_KEY, check_seal, seal
from .limits import check_header, check_tensors, check_unpacked

FORMAT_VERSION = 2
# What files of an earlier version leave out, and what they would say: all were trained so.
ADDED: dict[int, dict[str, Any]] = {2: {"channel_order": "rgb", "classes": None}}
CHANNEL_ORDERS = ("rgb", "bgr", None)

# One key only: safetensors writes several in arbitrary order, and equal checkpoints should have
# equal SHA-256 sums.
METADATA_KEY = "mae_bench"


@dataclass(frozen=True)
class CheckpointSource:
    """Where a converted checkpoint came from.

    Args:
        file_name: name of the file that was converted, without folders.
        sha256: its SHA-256, hexadecimal.
        converter: name of the adapter that converted it.
    """

    file_name: str
    sha256: str
    converter: str


@dataclass(frozen=True)
class CheckpointMetadata:
    """What a checkpoint says about itself.

    Args:
        architecture: arguments of the ``VisionTransformer``; values that JSON can hold. Tuples
            become lists.
        img_size: input side in pixels, or (height, width), that the position tables are for.
        patch_size: side of a patch in pixels.
        mean: mean of each input channel, on the scale 0..255 of the data preprocessor.
        std: standard deviation of each input channel, on the same scale.
        method: how it was trained, such as ``"mae"`` or ``"supervised"``.
        data: what it was trained on, such as ``"imagenet-1k"``.
        epochs: epochs of training; None where unknown.
        source: the foreign file it was converted from; None for one that was trained here.
        channel_order: of the input, ``"rgb"`` or ``"bgr"``; None where unknown.
        classes: names by label, of a model that has a head for them.
        format_version: version of the format; not an argument.

    Raises:
        ValueError: a value that JSON cannot hold, sizes without a patch, heads that do not divide
            the width, or a mean and std that do not fit together or lie on the scale 0..1.
    """

    architecture: dict[str, Any]
    img_size: int | Sequence[int]
    patch_size: int
    mean: Sequence[float]
    std: Sequence[float]
    method: str
    data: str
    epochs: int | None = None
    source: CheckpointSource | None = None
    channel_order: str | None = "rgb"
    classes: Sequence[str] | None = None
    format_version: int = field(default=FORMAT_VERSION, init=False)

    def __post_init__(self) -> None:
        try:
            architecture = json.loads(json.dumps(dict(self.architecture)))
        except (TypeError, ValueError) as error:
            raise ValueError(f"architecture: not a dict of JSON values: {error}") from None
        # Read back equal to what was written: JSON knows lists only, configs have their own dicts.
        size = self.img_size if isinstance(self.img_size, int) else list(self.img_size)
        mean, std = [float(v) for v in self.mean], [float(v) for v in self.std]
        object.__setattr__(self, "architecture", architecture)
        object.__setattr__(self, "img_size", size)
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "std", std)
        if self.classes is not None:
            object.__setattr__(self, "classes", [str(name) for name in self.classes])
        if len(mean) != len(std) or not std or min(std) < 1:
            raise ValueError(
                f"mean={mean} and std={std} need one value per channel on the scale 0..255: "
                "multiply by 255 what is on the scale 0..1"
            )
        channels = architecture.get("in_channels", len(mean))
        if channels != len(mean):
            raise ValueError(f"mean={mean} is of {len(mean)} channels, the model takes {channels}")
        if self.channel_order not in CHANNEL_ORDERS:
            raise ValueError(f"channel_order={self.channel_order!r} is not one of {CHANNEL_ORDERS}")
        if isinstance(arch := architecture.get("arch"), dict):
            width, heads = arch.get("embed_dim"), arch.get("num_heads")
            if isinstance(width, int) and isinstance(heads, int) and (heads < 1 or width % heads):
                raise ValueError(f"num_heads={heads} does not divide the width {width}")
        if isinstance(size, list) and len(size) != 2:
            raise ValueError(f"img_size={size} is neither a side nor (height, width)")
        if self.patch_size < 1 or min(self.grid) < 1:
            raise ValueError(f"img_size={size} has no patch of patch_size={self.patch_size}")

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of patches."""
        size = self.img_size
        height, width = (size, size) if isinstance(size, int) else size
        return height // self.patch_size, width // self.patch_size

    def to_json(self, digest: str | None = None) -> str:
        """Everything as one JSON object, keys sorted, and maybe the file's digest."""
        values = asdict(self) if digest is None else {**asdict(self), DIGEST_KEY: digest}
        return json.dumps(values, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "CheckpointMetadata":
        """Undo ``to_json``; a digest is left to ``.integrity.check_seal``.

        Raises:
            ValueError: not JSON, another version, or a key that is missing or unknown.
        """
        try:
            values = dict(json.loads(text))
        except (TypeError, ValueError, RecursionError):
            raise ValueError("the metadata is not a JSON object; write the file again") from None
        values.pop(DIGEST_KEY, None)
        version = values.pop("format_version", None)
        if version not in range(1, FORMAT_VERSION + 1):
            raise ValueError(
                f"format_version {version} is not one of 1 to {FORMAT_VERSION}, which this "
                "mae_bench reads: use the mae_bench that wrote the file, or a newer one"
            )
        for later in range(version + 1, FORMAT_VERSION + 1):
            values = {**ADDED[later], **values}
        names = {entry.name for entry in fields(cls) if entry.init}
        if set(values) != names:
            raise ValueError(
                f"the metadata lacks {sorted(names - set(values))} and has the unknown keys "
                f"{sorted(set(values) - names)}; write the file again"
            )
        try:
            if values["source"] is not None:
                values["source"] = CheckpointSource(**values["source"])
            return cls(**values)
        except (TypeError, RecursionError) as error:
            raise ValueError(f"the metadata has a value of the wrong type: {error}") from None


def save_checkpoint(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: CheckpointMetadata
) -> None:
    """Write a checkpoint: the whole file, or nothing and the old one stays.

    Args:
        path: file to write, ending in ``.safetensors``; missing folders are made.
        tensors: backbone tensors under timm's names, others under ``decoder.``, ``head.`` and the
            like. Any device and dtype.
        metadata: what the file says about itself.

    Raises:
        ValueError: another suffix, no tensors, or a tensor that holds NaN or infinity.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: a checkpoint needs a name that ends in .safetensors")
    check_tensors(path, tensors)
    # safetensors refuses tensors that share memory or have gaps: clones do neither.
    copies = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    write_atomic(seal(save(copies, {METADATA_KEY: metadata.to_json(BLANK)})), path)


def load_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], CheckpointMetadata]:
    """Read a checkpoint of this format.

    Returns:
        tensors by name, on the CPU in their stored dtype, and the metadata.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is empty, truncated, of another format or a newer version, or holds
            NaN.
    """
    metadata = read_metadata(path)
    tensors = load_safetensors(Path(path))
    check_unpacked(Path(path), tensors)
    return tensors, metadata


def read_metadata(path: str | Path) -> CheckpointMetadata:
    """Read the metadata alone; no tensor is loaded.

    Raises:
        FileNotFoundError: no such file.
        ValueError: as ``load_checkpoint``, but for NaN.
    """
    path = Path(path)
    if not is_safetensors(path):
        raise ValueError(
            f"{path}: not a .safetensors file, so it has no metadata; convert it with "
            "tools/convert_checkpoint.py"
        )
    metadata = stored_metadata(path)
    if metadata is None:
        raise ValueError(
            f"{path}: a .safetensors file without the metadata of mae_bench; convert it with "
            "tools/convert_checkpoint.py"
        )
    return metadata


def is_safetensors(path: Path) -> bool:
    """Whether a file is safetensors by its first bytes, which names do not always tell.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a folder, or an empty file.
    """
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; name the checkpoint file in it")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such checkpoint; check the name")
    if not path.is_file():
        raise ValueError(f"{path}: is a device or a pipe, not a file")
    with path.open("rb") as file:
        start = file.read(9)
    if not start:
        raise ValueError(f"{path}: the file is empty; fetch or write it again")
    # Eight bytes of header length, then the header, a JSON object.
    return start[8:] == b"{" or path.suffix == ".safetensors"


def stored_metadata(path: Path) -> CheckpointMetadata | None:
    """Metadata of a safetensors file; None where it has none of ours.

    Raises:
        ValueError: a damaged file, or another version.
    """
    with _open_safetensors(path) as file:
        text = (file.metadata() or {}).get(METADATA_KEY)
    try:
        return None if text is None else CheckpointMetadata.from_json(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def load_safetensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file by name, memory-mapped.

    Raises:
        ValueError: a damaged file, or a type that PyTorch does not have.
    """
    with _open_safetensors(path) as file:
        metadata = (file.metadata() or {}).get(METADATA_KEY)
        if metadata is not None:
            check_seal(path, metadata)
        names = file.keys()
        return {name: file.get_tensor(name) for name in names}


@contextmanager
def _open_safetensors(path: Path) -> Iterator[Any]:
    check_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, AttributeError) as error:
        raise ValueError(
            f"{path}: truncated, or not a safetensors file ({error}); fetch or write it again"
        ) from None
