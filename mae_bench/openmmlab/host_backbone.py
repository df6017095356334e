"""Any backbone class of MMPretrain, MMDetection or MMSegmentation behind our contract."""

import contextlib
import copy
import inspect
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.model import BaseModule
from mmengine.model.weight_init import initialize
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from .. import signature
from ..models.backbone import INNER, OUTPUTS, blank_features, hide_inner, input_error
from ..models.position import Grid
from ..registry import MODELS

SIDE = 224  # of the blank image, where the class has no size of its own
SCOPES = ("mmpretrain", "mmdet", "mmseg")
NUM_SCALES = 4  # maps that FPN and UperNet take
COARSEST = 32  # pixels, stride of the last of them mostly
PREFIX = "backbone."
MOST_INDICES = 24  # MobileNets number their layers, not their stages
# What the classes call the choice of their maps, and the size of their images.
INDICES = ("out_indices", "out_scales")
SIZES = ("img_size", "pretrain_img_size")
# Arguments that make a class give one kind of features; None: as it is.
KINDS: dict[str | None, dict[str, Any]] = {
    None: {},
    "maps": dict(out_type="featmap", gap_before_final_norm=False),
    "mean": dict(out_type="avg_featmap"),
    "class_token": dict(out_type="cls_token"),
    "tokens": dict(out_type="raw"),
}


class Scales(NamedTuple):
    """Maps of a class: which of its outputs, their widths, and their strides in pixels."""

    indices: tuple[int, ...]
    channels: tuple[int, ...]
    strides: tuple[int, ...]


@MODELS.register_module()
class HostBackbone(BaseModule):
    """A backbone class of another library, with what our tasks need to know of one measured.

    A config names the class itself, ``type="mmpretrain.ConvNeXt"``, in a file or by option, and
    ``load_config`` puts this one around it. Names in the state dict are those of the class, so
    that files of its library fit.

    Args:
        host_class: registry name with scope, such as ``"mmdet.ResNet"``, or module and class.
        output: ``"maps"``, ``"mean"``, ``"class_token"`` or ``"tokens"``, as of
            ``VisionTransformer``; None: whatever the class gives, as in its own library.
        out_indices: as the class takes them; None: of a hierarchical class its last four scales,
            finest first. Maps of a plain ViT need them.
        img_size: side of the image in pixels, or (height, width), for classes that want to know.
        frozen: no gradients for the backbone, which stays in evaluation mode.
        layers: regular expression whose groups of digits number the layers in the names of
            parameters, such as ``"blocks.([0-9]+)"``: for layer-wise learning-rate decay of a
            class without ``get_layer_depth``.
        init_cfg: applied after the class's own initialisation.
        arguments: of the class.

    Raises:
        ValueError: arguments that the class refuses; a class that does not take a blank image; an
            output that it cannot give.
    """

    net: Any
    num_heads = None

    def __init__(
        self,
        host_class: str,
        output: str | None = None,
        out_indices: Sequence[int] | None = None,
        img_size: int | Sequence[int] | None = None,
        frozen: bool = False,
        layers: str | None = None,
        init_cfg: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(init_cfg)
        if output not in (None, *OUTPUTS):
            raise ValueError(f"output={output!r} is not one of {', '.join(OUTPUTS)}")
        kind = MODELS.get(host_class)
        if kind is None:
            raise ValueError(f"model.backbone: nobody knows the class {host_class!r}")
        self.host_class, self.output, self.frozen = host_class, output, frozen
        self._kind, self._arguments = kind, arguments
        self._takes = set(signature.arguments(kind)[0])
        # Classes for masked pre-training, whose own default hides patches, then see all of them.
        masks = "mask" in inspect.signature(kind.forward).parameters
        self._whole: dict[str, Any] = dict(mask=None) if masks else {}
        self.img_size: Any = img_size
        given = next((arguments[key] for key in SIZES if key in arguments), img_size)
        side = (given if self._takes & set(SIZES) else None) or SIDE
        self._size = (side, side) if isinstance(side, int) else tuple(side)

        fixed: tuple[int, ...] = ()  # places of the maps that are taken of a class without choice
        if output == "maps" and out_indices is None:
            scales = self._scales
            if scales is None and self._index_name:
                self._features_of(self._make("maps", None))  # says it where that is not the reason
                raise ValueError(
                    f"{host_class} has no {NUM_SCALES} scales for FPN and UperNet: give "
                    'out_indices, or take it for classification, with output="mean"'
                )
            if scales and self._index_name:
                out_indices = scales.indices
            elif scales:
                fixed = scales.indices
        # A class gives each map once and in its own order, whatever is asked for.
        wanted = sorted(set(out_indices or ()))
        asked = list(out_indices or ())
        repeated = output == "maps" and bool(self._index_name) and wanted != asked
        self._places = [wanted.index(i) for i in out_indices or ()] if repeated else list(fixed)
        self.net = self._make(output, wanted if repeated else out_indices)
        _plain_numbers(self.net)
        self._measure(self._features_of(self.net), out_indices)
        # Norms of the finer maps, which no file of a classifier has.
        self.fresh: list[str] = []
        if output == "maps" and out_indices:
            with torch.random.fork_rng(devices=[]):
                coarsest = self._make(output, [max(out_indices)]).state_dict()
            self.fresh = [key for key in self.net.state_dict() if key not in coarsest]
        self._layers = self._number_layers(layers)
        hide_inner(self)
        if frozen:
            self.requires_grad_(False)

    @property
    def _index_name(self) -> str | None:
        """What the class calls the choice of its maps."""
        return next((name for name in INDICES if name in self._takes), None)

    def _make(self, output: str | None, out_indices: Sequence[int] | None) -> nn.Module:
        wanted = dict(KINDS[output])
        if out_indices is not None and self._index_name:
            wanted[self._index_name] = list(out_indices)  # HiViT changes it
        if self.img_size is not None:
            wanted |= {name: self._size_for(name) for name in SIZES}
        given = {name: value for name, value in wanted.items() if name in self._takes}
        scope = self.host_class.partition(".")[0]
        try:
            # Parts are looked up in its own library, whichever runs the task.
            with DefaultScope.overwrite_default_scope(scope if scope in SCOPES else None):
                return self._kind(**given | self._arguments)
        except Exception as error:
            raise self._refusal("with these arguments", error) from error

    def _size_for(self, name: str) -> Any:
        """The size of the images in the form of the argument's default."""
        default, size = signature.arguments(self._kind)[0].get(name), self.img_size
        pair = isinstance(default, (list, tuple)) and isinstance(size, int)
        return (size, size) if pair else size

    def _features_of(self, net: nn.Module) -> tuple[Tensor, ...]:
        with contextlib.suppress(Exception):  # of classes that look at values
            return blank_features(copy.deepcopy(net).to("meta"), *self._size, **self._whole)
        try:
            return blank_features(net, *self._size, **self._whole)
        except Exception as error:
            sides = "x".join(map(str, self._size))
            raise self._refusal(f"for a blank image of {sides} pixels", error) from error

    def _refusal(self, when: str, error: Exception) -> Exception:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        # On the meta device a class may look at values that are not there; the caller knows.
        kind = RuntimeError if torch.empty(0).device.type == "meta" else ValueError
        return kind(f"{self.host_class} {when}: {first}")

    @cached_property
    def _scales(self) -> Scales | None:
        """The last four scales of a hierarchical class, finest first; None where it has none."""
        found: Scales | None = None
        with torch.random.fork_rng(devices=[]):
            counts = range(NUM_SCALES, MOST_INDICES + 1) if self._index_name else [0]
            for count in counts:
                try:
                    indices = range(count) if self._index_name else None
                    maps = self._features_of(self._make("maps", indices))
                except ValueError:
                    break
                if any(feature.ndim != 4 for feature in maps) or len(maps) < count:
                    break
                strides = [self._stride(feature) for feature in maps]
                if len(set(strides)) == 1 and count == NUM_SCALES:
                    break  # a plain ViT
                # the last map of each scale
                last = {stride: i for i, stride in enumerate(strides)}
                kept = sorted(last.values())[-NUM_SCALES:]
                rising = sorted(strides) == strides
                if rising and len(kept) == NUM_SCALES:
                    found = Scales(
                        tuple(kept),
                        tuple(maps[i].shape[1] for i in kept),
                        tuple(strides[i] for i in kept),
                    )
                    if len(set(strides)) == count and strides[-1] >= COARSEST:
                        break  # its stages, all of them
        return found

    def _stride(self, feature: Tensor) -> int:
        height, rows = self._size[0], feature.shape[2]
        return round(height / rows)

    def _measure(self, features: tuple[Tensor, ...], out_indices: Sequence[int] | None) -> None:
        """Set widths and strides, after looking whether the class gives what is asked for."""
        last = features[-1]
        shapes = " and ".join(str(tuple(feature.shape)) for feature in features)
        wrong = {
            "maps": any(feature.ndim != 4 for feature in features),
            "mean": last.ndim not in (2, 4),
            "class_token": last.ndim != 2 or "out_type" not in self._takes,
            "tokens": last.ndim != 3,
        }
        if self.output and wrong[self.output]:
            raise ValueError(
                f"{self.host_class} has no output={self.output!r}: a blank image gives {shapes}"
            )
        self.embed_dim = last.shape[-1] if last.ndim == 3 else last.shape[1]
        maps = [feature for feature in features if feature.ndim == 4]
        self.maps = [(feature.shape[1], self._stride(feature)) for feature in maps]
        asked = set(out_indices or ())
        if self.output == "maps" and self._index_name and len(maps) != len(asked):
            raise ValueError(
                f"{self.host_class} gives {len(maps)} maps for {self._index_name}={sorted(asked)}"
            )
        if self._places and self.output == "maps":
            self.maps = [self.maps[i] for i in self._places]
        pooled = last.ndim == 4 and self.output == "mean"
        self.last_shape = tuple(last.shape[:2] if pooled else last.shape)
        strides = [stride for _, stride in self.maps]
        fixed = self.output == "maps" and out_indices and not self._index_name
        if fixed and len(maps) not in (len(out_indices or ()), NUM_SCALES):
            raise ValueError(
                f"{self.host_class} gives {len(maps)} maps and has no choice of them, where "
                f"out_indices={list(out_indices or ())}"
            )
        if self.output == "maps" and strides != sorted(strides):
            raise ValueError(
                f"{self.host_class} gives maps of strides {strides}: FPN and UperNet "
                "take the finest first"
            )

    @property
    def _hierarchy(self) -> tuple[tuple[int, int], ...] | None:
        """Widths and strides of the maps of a hierarchical class, also where it pools them now."""
        if self.output == "maps":
            return tuple(self.maps) if len({stride for _, stride in self.maps}) > 1 else None
        return tuple(zip(*self._scales[1:], strict=True)) if self._scales else None

    @property
    def map_channels(self) -> tuple[int, ...] | None:
        """Widths of those maps."""
        return tuple(width for width, _ in self._hierarchy) if self._hierarchy else None

    @property
    def map_strides(self) -> tuple[int, ...] | None:
        """Strides of those maps in pixels."""
        return tuple(stride for _, stride in self._hierarchy) if self._hierarchy else None

    @cached_property
    def patch_size(self) -> int:
        """Stride of the finest map; where the class has none that of the first convolution."""
        strides = [stride for _, stride in self._hierarchy or self.maps]
        if not strides and self._index_name:
            with torch.random.fork_rng(devices=[]), contextlib.suppress(ValueError, RuntimeError):
                maps = self._features_of(self._make("maps", [self.num_layers - 1]))
                strides = [self._stride(feature) for feature in maps if feature.ndim == 4]
        stem = (m.stride[0] for m in self.net.modules() if isinstance(m, nn.Conv2d))
        return int(min(strides) if strides else next(stem, 1))

    def _number_layers(self, pattern: str | None) -> dict[str, int]:
        """Layer of each parameter by the class's own rule or the one given; empty without any."""
        names = [name for name, _ in self.net.named_parameters()]
        if pattern is not None:
            numbers = {}
            for name in names:
                if match := re.search(pattern, name):
                    numbers[name] = tuple(int(group) for group in match.groups())
            if not numbers:
                raise ValueError(
                    f"layers={pattern!r} is found in no parameter of {self.host_class}, such as "
                    f"{names[0]}"
                )
            ranks = {number: i + 1 for i, number in enumerate(sorted(set(numbers.values())))}
            self.num_layers = len(ranks)
            first = names.index(next(iter(numbers)))
            return {
                name: ranks[numbers[name]] if name in numbers else (i > first) * (len(ranks) + 1)
                for i, name in enumerate(names)
            }
        lists = [m for m in self.net.modules() if isinstance(m, nn.ModuleList)]
        self.num_layers = max(map(len, lists), default=1)
        if hasattr(self.net, "get_layer_depth"):
            try:
                # as mmpretrain calls it; that of its ResNets knows this prefix only
                depths = {n: self.net.get_layer_depth(f"{PREFIX}{n}", PREFIX) for n in names}
            except NotImplementedError:  # ResNet-18, for one
                return {}
            total = next(iter(depths.values()))[1]
            if 2 * len(set(depths.values())) >= total:  # HiViT's rule finds none of its blocks
                self.num_layers = total - 2  # they count stem and head
                return {name: depth for name, (depth, _) in depths.items()}
        return {}

    def layer_id(self, name: str) -> int:
        """Layer of a parameter, for layer-wise learning-rate decay; see ``Backbone``.

        Raises:
            ValueError: the class has no layers to tell.
        """
        if not self._layers:
            raise ValueError(
                f"{self.host_class} does not number its layers: set layer_decay to 1, or say with "
                r"model.backbone.layers where the numbers are in the names, such as layer(\d+)\."
            )
        return self._layers[name.removeprefix(INNER)]

    @property
    def grid(self) -> Grid | None:
        """(rows, columns) of an absolute position table, as mmpretrain's ViTs have it."""
        size = getattr(getattr(self.net, "patch_embed", None), "init_out_size", None)
        table = getattr(self.net, "pos_embed", None)
        # That of ViTSAM is a map, which the class resizes itself.
        if not size or table is None or table.ndim != 3:
            return None
        rows, columns = size
        # A distillation token has a position too: no table that other files have.
        return (rows, columns) if table.shape[1] - rows * columns in (0, 1) else None

    def __getattr__(self, name: str) -> Any:
        # Detectors of the hosts read attributes of their own backbones.
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "net" or name.startswith("_"):
                raise
            return getattr(super().__getattr__("net"), name)

    def init_weights(self) -> None:
        """Initialise the class as it does itself, then apply ``init_cfg``."""
        if self.is_init:
            return
        if hasattr(self.net, "init_weights"):
            self.net.init_weights()
        if self.init_cfg:
            initialize(self, self.init_cfg)
        self._is_init = True

    def train(self, mode: bool = True) -> "HostBackbone":
        """Stages that the class freezes, and norms that it evaluates, stay as it says."""
        return super().train(mode and not self.frozen)

    def forward(self, images: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Features of normalised images (B, 3, H, W); a tuple, see ``output``.

        Raises:
            ValueError: the class cannot take images of this size.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            try:
                features = self.net(images, *args, **self._whole | kwargs)
            except (AssertionError, RuntimeError) as error:
                raise input_error(error, self.host_class, images) from None
        if self.output is None:
            return features
        features = (features,) if isinstance(features, Tensor) else tuple(features)
        if self.output == "maps":
            return tuple(features[i] for i in self._places) if self._places else features
        last = features[-1]
        return (last.mean(dim=(2, 3)) if last.ndim == 4 else last,)


def _plain_numbers(net: nn.Module) -> None:
    """Make Python's own of NumPy's numbers, such as rates of stochastic depth by ``linspace``.

    torch.compile and torch.export take those for tensors, on whose values nothing can branch.
    """
    for module in net.modules():
        for name, value in vars(module).items():
            if isinstance(value, np.number):
                vars(module)[name] = value.item()
