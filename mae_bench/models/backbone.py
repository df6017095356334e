"""What the rest of the package may read of a backbone, all of it.

``VisionTransformer``, ``TimmBackbone`` and ``HostBackbone`` keep this contract; a class of a user's
own keeps it by having the attributes. ``as_backbone`` looks whether it does, and
``optional`` reads what it may leave out; nothing else asks whether an attribute is there.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from .position import Grid

DOCS = 'docs/backbones.md, "The contract"'
OUTPUTS = ("maps", "class_token", "mean", "tokens")
REQUIRED = ("embed_dim", "num_layers", "patch_size")
# What a class may leave out, and what it then is.
OPTIONAL: dict[str, Any] = dict(
    map_channels=None, map_strides=None, grid=None, num_heads=None, img_size=None, fresh=()
)
INNER = "net."
_OTHER_SIZE = ("must match the size of tensor", "is invalid for input of size")  # PyTorch's words


class Backbone(Protocol):
    """Images (B, 3, H, W) to a tuple of features: maps, or one pooled feature, or all tokens.

    Attributes:
        embed_dim: width of the last map, and of pooled features and tokens.
        num_layers: layers that ``layer_id`` tells apart, without stem and top; of a plain ViT
            its blocks.
        patch_size: stride of the (finest) map in pixels.
        map_channels, map_strides: of the maps of a hierarchical backbone, finest first; None of a
            plain ViT, whose maps are all alike.
        grid: (rows, columns) of an absolute position table that may be resized; None without one.
        num_heads: heads where files of another number are to be refused; None: any.
        img_size: pixels, or (height, width), that position tables are made for; None: any.
        fresh: names of tensors that a checkpoint may lack, such as norms that only maps have.
    """

    embed_dim: int
    num_layers: int
    patch_size: int
    map_channels: tuple[int, ...] | None
    map_strides: tuple[int, ...] | None
    grid: Grid | None
    num_heads: int | None
    img_size: int | tuple[int, int] | None
    fresh: Sequence[str]

    def layer_id(self, name: str) -> int:
        """Layer of a parameter, for layer-wise learning-rate decay.

        Args:
            name: of the parameter, relative to the backbone.

        Returns:
            0 for the stem, i + 1 for layer i, ``num_layers + 1`` for what comes after them.
        """

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        """Features; which of them, the class is told when it is made."""


def keeps_contract(kind: type) -> bool:
    """Whether a class says that it keeps the contract: it numbers its layers."""
    return callable(getattr(kind, "layer_id", None))


def as_backbone(module: nn.Module) -> Backbone:
    """The module as what it is.

    Raises:
        ValueError: it lacks what every backbone has.
    """
    lacking = [name for name in REQUIRED if not hasattr(module, name)]
    lacking += [] if keeps_contract(type(module)) else ["layer_id"]
    if lacking:
        raise ValueError(f"{type(module).__name__} lacks {', '.join(lacking)}: see {DOCS}")
    return cast(Backbone, module)


def optional(module: Any, name: str) -> Any:
    """An attribute that a backbone may leave out."""
    return getattr(module, name, OPTIONAL[name])


def blank_features(
    module: nn.Module, height: int, width: int, **options: Any
) -> tuple[Tensor, ...]:
    """What a module gives for one image of zeros, as a tuple; the module stays as it was.

    Args:
        options: further arguments of its ``forward``.

    Raises:
        TypeError: it gives other things than tensors, or tensors of whole numbers.
    """
    first = next(module.parameters())
    images = torch.zeros(1, 3, height, width, dtype=first.dtype, device=first.device)
    with _evaluating(module), torch.no_grad():
        features = module(images, **options)
    features = (features,) if isinstance(features, Tensor) else tuple(features)
    if not features or not all(isinstance(feature, Tensor) for feature in features):
        kinds = ", ".join(type(feature).__name__ for feature in features) or "nothing"
        raise TypeError(f"it gives {kinds} where tensors are wanted")
    for feature in features:
        if not feature.is_floating_point():  # indices or masks
            raise TypeError(f"it gives {feature.dtype} where features are wanted")
    return features


def input_error(error: Exception, name: str, images: Tensor) -> Exception:
    """What a class of another library has against images of this size, as a ValueError in one line;
    the error itself where it is about something else."""
    size = f"{name}: an input of {tuple(images.shape[2:])} pixels"
    if isinstance(error, AssertionError):
        return ValueError(f"{size}: {' '.join(str(error).split())}")
    if "Kernel size can't be greater than actual input size" in str(error):
        return ValueError(
            f"{size} is too small for the strides of this model: take larger images, or smaller "
            "strides, which some models have by their patch_size"
        )
    if any(text in str(error) for text in _OTHER_SIZE):
        return ValueError(f"{size}: {error}: this class may take images of one size only")
    return error


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def hide_inner(module: nn.Module) -> None:
    """Let the state dict of a module that wraps another, ``net``, have the names of that one."""
    module.register_state_dict_post_hook(_strip_inner)
    module.register_load_state_dict_pre_hook(_add_inner)


def _strip_inner(
    module: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any]
) -> None:
    inner = prefix + INNER
    for key in [key for key in state if key.startswith(inner)]:
        state[prefix + key.removeprefix(inner)] = state.pop(key)


def _add_inner(module: nn.Module, state: dict[str, Any], prefix: str, *others: object) -> None:
    for key in [key for key in state if key.startswith(prefix)]:
        state[prefix + INNER + key.removeprefix(prefix)] = state.pop(key)
