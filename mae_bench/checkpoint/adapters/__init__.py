"""Foreign checkpoint formats: one file each, with a declared key map and both directions.

To add one, write its file and name its adapter in :data:`ADAPTERS`.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...files import sha256_of
from ...models.vit import SIZES
from ..format import (
    CheckpointMetadata,
    CheckpointSource,
    is_safetensors,
    load_checkpoint,
    stored_metadata,
)
from ..names import ENCODER, visible_architecture, visible_options
from . import (
    beit,
    deit,
    detectron2,
    dino,
    huggingface,
    jax_vit,
    mmpretrain,
    mmseg,
    moco_v3,
    official_mae,
    timm,
)
from .adapter import NORMALIZATIONS, Adapter, Imported, Tensors
from .foreign_file import read_foreign_file
from .tensors import square_grid

ADAPTERS = {
    adapter.name: adapter
    for adapter in (
        official_mae.ADAPTER,
        timm.ADAPTER,
        deit.ADAPTER,
        moco_v3.ADAPTER,
        dino.ADAPTER,
        dino.STUDENT_ADAPTER,
        dino.BACKBONE_ADAPTER,
        mmpretrain.ADAPTER,
        mmpretrain.MAE_ADAPTER,
        mmpretrain.MOCO_ADAPTER,
        mmpretrain.BEIT_ADAPTER,
        mmseg.ADAPTER,
        mmseg.BEIT_ADAPTER,
        huggingface.MAE_ADAPTER,
        huggingface.ADAPTER,
        detectron2.ADAPTER,
        beit.ADAPTER,
        jax_vit.ADAPTER,
    )
}


@dataclass(frozen=True)
class Unseen:
    """What a foreign file does not show. None: what the format says, or see :func:`describe`.

    Args:
        num_heads: heads.
        img_size: input side in pixels, or (height, width).
        normalization: key of :data:`NORMALIZATIONS`, the input statistics.
        method, data, epochs: as in the metadata.
    """

    num_heads: int | None = None
    img_size: int | tuple[int, int] | None = None
    normalization: str | None = None
    method: str | None = None
    data: str | None = None
    epochs: int | None = None


def candidates(tensors: Tensors) -> list[Adapter]:
    """Formats that foreign tensors can be of, by their names."""
    return [adapter for adapter in ADAPTERS.values() if adapter.fits(tensors)]


def detect(tensors: Tensors) -> Adapter:
    """The one format that foreign tensors can be of.

    Raises:
        ValueError: none or several; says what was seen.
    """
    found = candidates(tensors)
    if len(found) == 1:
        return found[0]
    # Blocks repeat the same names, and layers have their bias beside their weight.
    kinds = dict.fromkeys(
        re.sub(r"\.(weight|bias)$", "", re.sub(r"\d+", "*", name)) for name in tensors
    )
    seen = f"{len(tensors)} tensors, such as {', '.join(list(kinds)[:8])}"
    if not found:
        raise ValueError(f"unknown format: {seen}; known are {', '.join(ADAPTERS)}")
    raise ValueError(
        f"ambiguous: {seen}, fit {', '.join(adapter.name for adapter in found)} alike; name the "
        "format with --from"
    )


def known_heads(adapter: Adapter, imported: Imported) -> int | None:
    """Number of heads: as the tensors show it, else as the format or our sizes have that width."""
    width = visible_architecture(imported.tensors).get("embed_dim", 0)
    by_width = {size["embed_dim"]: size["num_heads"] for size in SIZES.values()}
    return imported.num_heads or {**by_width, **(adapter.heads_by_width or {})}.get(width)


def describe(
    adapter: Adapter, imported: Imported, source: CheckpointSource, unseen: Unseen
) -> CheckpointMetadata:
    """Metadata of converted tensors.

    Heads are taken from :func:`known_heads`, the image from the position table as a square.

    Raises:
        ValueError: something does not show and was not given; names the option.
    """
    tensors = imported.tensors
    seen = visible_architecture(tensors)
    if not {"embed_dim", "depth", "patch_size"} <= set(seen):
        raise ValueError(f"no ViT among the tensors of {adapter.name}")
    heads = unseen.num_heads or known_heads(adapter, imported)
    if heads is None:
        raise ValueError(
            f"the number of heads does not show, and width {seen['embed_dim']} is none of our "
            "sizes: give --num-heads"
        )
    arch: dict[str, int] | str = dict(
        embed_dim=seen["embed_dim"], depth=seen["depth"], num_heads=heads
    )
    arch = next((name for name, size in SIZES.items() if size == arch), arch)
    side = _grid_side(tensors)
    img_size = unseen.img_size or (side and side * seen["patch_size"])
    if not img_size:
        raise ValueError("pos_embed is of no square grid: give --img-size")
    normalization = unseen.normalization or adapter.normalization
    if normalization is None:
        raise ValueError(
            f"files of {adapter.name} differ in their input mean and std: give --normalization "
            f"{' or '.join(NORMALIZATIONS)}"
        )
    architecture: dict[str, Any] = dict(
        arch=arch,
        img_size=img_size,
        patch_size=seen["patch_size"],
        in_channels=seen["in_channels"],
        class_token="cls_token" in tensors,
    )
    architecture.update(visible_options(tensors))
    mean, std = NORMALIZATIONS[normalization]
    return CheckpointMetadata(
        architecture=architecture,
        img_size=img_size,
        patch_size=seen["patch_size"],
        mean=mean,
        std=std,
        method=unseen.method or adapter.method,
        data=unseen.data or adapter.data,
        epochs=unseen.epochs,
        source=source,
    )


def _grid_side(tensors: Tensors) -> int | None:
    """Side of the position table's grid, if it is a table and the grid a square."""
    positions = tensors.get("pos_embed")
    return None if positions is None or positions.ndim != 3 else square_grid(positions.shape[1])


def import_file(path: str | Path, adapter: Adapter | None = None) -> tuple[Adapter, Imported]:
    """Read a foreign file.

    Args:
        path: the file.
        adapter: its format; detected where None.

    Returns:
        the format, and the tensors under our names.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a bad file, an unknown or ambiguous format, or a tensor with no equal here.
    """
    tensors = read_foreign_file(path)
    try:
        adapter = adapter or detect(tensors)
        return adapter, adapter.to_ours(tensors)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def metadata_heads(metadata: CheckpointMetadata) -> int | None:
    """Number of heads of a checkpoint of our format; None where it does not say."""
    arch = metadata.architecture.get("arch")
    size = SIZES.get(arch) if isinstance(arch, str) else arch
    return size.get("num_heads") if isinstance(size, dict) else None


def read_any(
    path: str | Path, wanted: Collection[str] = ()
) -> tuple[Tensors, CheckpointMetadata | None, dict[str, int]]:
    """Backbone tensors under our names, from our format or from any other.

    Names that several formats share are ours too, timm's: such tensors need no conversion. So do
    those of no known format, which whoever asked for a backbone then misses by name, and those of
    a model that has the foreign names itself, such as timm's own BEiT.

    Args:
        path: the file.
        wanted: names of the backbone that the tensors are for.

    Returns:
        tensors, the metadata where the number of heads is known, and foreign names left out, with
        the number of values of each.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a bad file, or one that has no equal in our backbone.
    """
    path = Path(path)
    if is_safetensors(path) and stored_metadata(path) is not None:
        return *load_checkpoint(path), {}
    tensors = read_foreign_file(path)
    found = candidates(tensors)
    if len(found) != 1:
        return tensors, None, {}
    adapter = found[0]
    encoder = [name for name in wanted if ENCODER.match(name)]
    as_it_is = bool(encoder) and all(name in tensors for name in encoder)
    try:
        imported = adapter.to_ours(tensors)
        if as_it_is and not all(name in imported.tensors for name in encoder):
            return tensors, None, {}
        metadata = None
        if known_heads(adapter, imported) and _grid_side(imported.tensors):
            source = CheckpointSource(path.name, sha256_of(path), adapter.name)
            # The input statistics belong to the config of the task: these are never read.
            metadata = describe(adapter, imported, source, Unseen(normalization="imagenet"))
    except ValueError as error:
        if as_it_is:
            return tensors, None, {}
        raise ValueError(f"{path}: {error}") from None
    return imported.tensors, metadata, imported.dropped
