"""What a file says or proves of its model, as metadata of our format."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..models.vit import SIZES
from .adapters.adapter import NORMALIZATIONS, UNKNOWN, Adapter, Imported
from .adapters.tensors import square_grid
from .fit import position_grid
from .format import CheckpointMetadata
from .names import visible_architecture, visible_options

MLP_RATIO = 4  # of our ViT


@dataclass(frozen=True)
class Unseen:
    """What a foreign file does not show. None: what the format says, or see :func:`describe`.

    Args:
        num_heads: heads.
        img_size: input side in pixels, or (height, width).
        normalization: key of :data:`NORMALIZATIONS`, the input statistics.
        mean, std: the statistics themselves, on the scale 0..255.
        method, data, epochs: as in the metadata.
    """

    num_heads: int | None = None
    img_size: int | tuple[int, int] | None = None
    normalization: str | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    method: str | None = None
    data: str | None = None
    epochs: int | None = None

    def __post_init__(self) -> None:
        for name in ("num_heads", "epochs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name.replace('_', '-')} {value} is less than 1")
        if (self.mean is None) != (self.std is None) or (self.mean and self.normalization):
            raise ValueError("give --mean and --std together, or --normalization")


def known_heads(adapter: Adapter, imported: Imported) -> int | None:
    """Number of heads: as the tensors show it, else as the format or our sizes have that width."""
    width = visible_architecture(imported.tensors).get("embed_dim", 0)
    by_width = {size["embed_dim"]: size["num_heads"] for size in SIZES.values()}
    return imported.num_heads or {**by_width, **(adapter.heads_by_width or {})}.get(width)


def metadata_heads(metadata: CheckpointMetadata) -> int | None:
    """Number of heads of a checkpoint of our format; None where it does not say."""
    arch = metadata.architecture.get("arch")
    size = SIZES.get(arch) if isinstance(arch, str) else arch
    return size.get("num_heads") if isinstance(size, dict) else None


def describe(adapter: Adapter, imported: Imported, unseen: Unseen) -> CheckpointMetadata:
    """Metadata of converted tensors, without their source.

    Heads are taken from :func:`known_heads`, the image from the position table as a square.

    Raises:
        ValueError: something does not show and was not given; names the option.
    """
    tensors = imported.tensors
    seen = visible_architecture(tensors)
    if not {"embed_dim", "depth", "patch_size"} <= set(seen):
        raise ValueError(f"no ViT among the tensors of {adapter.name}")
    hidden = tensors.get("blocks.0.mlp.fc1.weight")
    if hidden is not None and hidden.ndim == 2 and len(hidden) != MLP_RATIO * seen["embed_dim"]:
        raise ValueError(
            f"its MLP is {len(hidden)} wide, that of our ViT {MLP_RATIO * seen['embed_dim']}: no "
            "place for it, a timm model may have one (docs/backbones.md)"
        )
    heads = unseen.num_heads or known_heads(adapter, imported)
    if heads is None:
        raise ValueError(
            f"the number of heads does not show, and width {seen['embed_dim']} is none of our "
            "sizes: give --num-heads when converting"
        )
    arch: dict[str, int] | str = dict(
        embed_dim=seen["embed_dim"], depth=seen["depth"], num_heads=heads
    )
    arch = next((name for name, size in SIZES.items() if size == arch), arch)
    positions = tensors.get("pos_embed")
    if positions is None or positions.ndim != 3:
        shape = "none" if positions is None else tuple(positions.shape)
        raise ValueError(f"needs absolute positions as (1, rows, width), and has {shape}")
    side = square_grid(positions.shape[1])
    img_size = unseen.img_size or (side and side * seen["patch_size"])
    if not img_size:
        raise ValueError("pos_embed is of no square grid: give --img-size when converting")
    mean, std = _statistics(adapter, unseen, seen["in_channels"])
    architecture: dict[str, Any] = dict(
        arch=arch,
        img_size=img_size,
        patch_size=seen["patch_size"],
        in_channels=seen["in_channels"],
        class_token="cls_token" in tensors,
    )
    architecture.update(visible_options(tensors))
    metadata = CheckpointMetadata(
        architecture=architecture,
        img_size=img_size,
        patch_size=seen["patch_size"],
        mean=mean,
        std=std,
        method=unseen.method or adapter.claim,
        data=unseen.data or UNKNOWN,
        epochs=unseen.epochs,
    )
    position_grid(positions.shape[1], metadata, metadata.grid)
    return metadata


def _statistics(
    adapter: Adapter, unseen: Unseen, channels: int
) -> tuple[Sequence[float], Sequence[float]]:
    if unseen.mean is not None and unseen.std is not None:
        return unseen.mean, unseen.std
    name = unseen.normalization or adapter.normalization
    if name is None:
        raise ValueError(
            f"files of {adapter.name} differ in their input mean and std: give --normalization "
            f"{' or '.join(NORMALIZATIONS)}, or --mean and --std"
        )
    mean, std = NORMALIZATIONS[name]
    if len(mean) != channels:
        raise ValueError(
            f"the model takes {channels} channels, {name} has statistics of {len(mean)}: give "
            "--mean and --std"
        )
    return mean, std
