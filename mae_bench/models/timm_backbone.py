"""Any model of timm behind the contract of our backbones."""

import difflib
import re
from collections.abc import Sequence
from itertools import product
from typing import Any

import timm
import torch
from mmengine.model import BaseModule
from mmengine.model.weight_init import initialize
from timm.models import group_parameters
from torch import Tensor, nn

from ..registry import MODELS
from .backbone import INNER, OUTPUTS, hide_inner, input_error
from .position import Grid

NUM_SCALES = 4  # maps that FPN and UperNet take

# How timm's classes are asked to take images of other sizes than the one they are made for: Swin,
# plain ViTs; the rest takes any or none.
FLEXIBLE: tuple[dict[str, Any], ...] = (
    dict(strict_img_size=False),
    dict(dynamic_img_size=True, dynamic_img_pad=True),
    {},
)


@MODELS.register_module()
class TimmBackbone(BaseModule):
    """A model of timm as backbone of any task.

    A plain ViT, whose maps all have the stride of its patches, is used like our own: one map for
    each block in ``out_indices``, for ``FeaturePyramidAdapter``. A hierarchical model (Swin,
    ConvNeXt, ResNet) hands out its last four scales, finest first, for FPN or UperNet without the
    adapter. Maps come without a final norm. Names in the state dict are timm's, without prefix.

    Args:
        name: as in ``timm.list_models()``. Weights come from ``init_cfg``, never from the network.
        img_size: input side in pixels, or (height, width), for which position tables are made;
            None: the model's own. Other sizes run too where timm's class can.
        output: ``"maps"``; ``"class_token"``: (B, D), normalised; ``"mean"``: (B, D), pooled and
            normalised as the model does it for its classifier; ``"tokens"``: all tokens of a plain
            ViT after its norm, (B, prefix + N, D).
        out_indices: blocks (0-based) of a plain ViT whose outputs are the maps, in this order.
        drop_path_rate: stochastic depth, as timm distributes it.
        frozen: no gradients for the backbone, which stays in evaluation mode.
        model_kwargs: more arguments of ``timm.create_model``.
        init_cfg: ``dict(type="mae_bench.PretrainedBackbone", checkpoint=...)`` or None.

    Attributes:
        num_layers: blocks, of all stages.
        embed_dim: width of the last map, or of what a classifier gets.
        patch_size: stride of the finest map in pixels.
        map_channels, map_strides: of the four maps of a hierarchical model; None of a plain ViT.

    Raises:
        ValueError: an unknown model or ``output``, or one that this model cannot give.
    """

    net: Any

    def __init__(
        self,
        name: str,
        img_size: int | Sequence[int] | None = None,
        output: str = "maps",
        out_indices: Sequence[int] = (),
        drop_path_rate: float = 0.0,
        frozen: bool = False,
        model_kwargs: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if output not in OUTPUTS:
            raise ValueError(f"output={output!r} is not one of {', '.join(OUTPUTS)}")
        self.name, self.output = name, output
        kwargs = dict(model_kwargs or {})
        if drop_path_rate:  # not every class has the argument
            kwargs["drop_path_rate"] = drop_path_rate
        self.net = _create(name, img_size, output, **kwargs)
        scales = [(info["num_chs"], info["reduction"]) for info in self.net.feature_info]
        plain = len({stride for _, stride in scales}) == 1
        self._check_options([stride for _, stride in scales], tuple(out_indices))

        self.indices = list(out_indices) if plain else list(range(len(scales)))[-NUM_SCALES:]
        self.map_channels = None if plain else tuple(scales[i][0] for i in self.indices)
        self.map_strides = None if plain else tuple(scales[i][1] for i in self.indices)
        self.patch_size: int = scales[self.indices[0] if self.indices else 0][1]
        self.img_size = self._image_size(img_size)
        if output == "maps":
            self.embed_dim: int = scales[self.indices[-1]][0]
            # A final norm that no loss depends on would stop distributed training.
            self.net.prune_intermediate_layers(self.indices, prune_norm=True)
        elif output == "mean":
            self.embed_dim = self.net.head_hidden_size  # some have a layer between pool and classes
        else:
            self.embed_dim = self.net.num_features
        self._layers = self._number_layers(len(scales) if plain else None)
        self.num_layers = max(self._layers.values(), default=len(scales))
        # timm's own names, so that its files and ours fit without a prefix.
        hide_inner(self)
        self.frozen = frozen
        if frozen:
            self.requires_grad_(False)

    def _check_options(self, strides: list[int], out_indices: tuple[int, ...]) -> None:
        name = self.name
        num_scales = len(set(strides[-NUM_SCALES:]))
        if len(set(strides)) > 1:
            if self.output in ("class_token", "tokens"):
                raise ValueError(
                    f'{name} has no class token for output={self.output!r}: use "mean"'
                )
            if out_indices:
                raise ValueError(
                    f"{name} hands out its own {NUM_SCALES} scales: leave out out_indices"
                )
            if self.output == "maps" and num_scales < NUM_SCALES:
                raise ValueError(
                    f"{name} has {num_scales} scales, FPN and UperNet need {NUM_SCALES}: it serves "
                    'classification, with output="mean"'
                )
            return
        if self.output == "class_token" and getattr(self.net, "cls_token", None) is None:
            raise ValueError(f'{name} has no class token: use output="mean"')
        if (self.output == "maps") != bool(out_indices):
            raise ValueError('out_indices belongs to output="maps" of a plain ViT, needed there')
        if any(not 0 <= i < len(strides) for i in out_indices):
            raise ValueError(f"out_indices={out_indices} must lie in 0..{len(strides) - 1}")

    def _image_size(self, img_size: int | Sequence[int] | None) -> int | tuple[int, int]:
        """The size that position tables are made for; that of pre-training where there are none."""
        made_for = getattr(getattr(self.net, "patch_embed", None), "img_size", None)
        size = made_for or img_size or self.net.pretrained_cfg.get("input_size", (3, 224, 224))[1:]
        height, width = (size, size) if isinstance(size, int) else tuple(size)
        return height if height == width else (height, width)

    def _number_layers(self, num_blocks: int | None) -> dict[str, int]:
        """Layer of each parameter: timm's groups, with what is neither stem nor block on top.

        timm counts a final norm with the last block in some families and above it in others, and
        the neck of SAM as a block. Empty where timm does not say.
        """
        if not hasattr(self.net, "group_matcher"):
            return {}
        groups = group_parameters(self.net, self.net.group_matcher(coarse=False), reverse=True)
        is_block = re.compile(r".*\d+\.")
        last = num_blocks or max(groups.values())
        return {
            name: layer
            for name, layer in groups.items()
            if layer == 0 or (layer <= last and is_block.match(name))
        }

    def layer_id(self, name: str) -> int:
        """Layer of a parameter, for layer-wise learning-rate decay.

        Args:
            name: parameter name relative to the backbone.

        Returns:
            0 for the stem, i + 1 for block i counted through all stages, ``num_layers + 1`` for
            the rest (norms).

        Raises:
            ValueError: timm does not say which layers this model has.
        """
        if not self._layers:
            raise ValueError(
                f"timm does not say which layers {self.name} has: set layer_decay to 1"
            )
        return self._layers.get(name.removeprefix(INNER), self.num_layers + 1)

    @property
    def grid(self) -> Grid | None:
        """(rows, columns) of an absolute position table; None where there is none to resize."""
        table = getattr(self.net, "pos_embed", None)
        grid = getattr(getattr(self.net, "patch_embed", None), "grid_size", None)
        if table is None or grid is None or table.ndim != 3:
            return None
        rows, columns = grid
        # Registers with positions of their own: no table that other files have.
        return (rows, columns) if table.shape[1] - rows * columns in (0, 1) else None

    @property
    def num_heads(self) -> int | None:
        """Heads of a plain ViT, which shapes do not show; None of others."""
        blocks = getattr(self.net, "blocks", None)
        return getattr(getattr(blocks[0], "attn", None), "num_heads", None) if blocks else None

    def init_weights(self) -> None:
        """Load what ``init_cfg`` names. timm has initialised its model, and would do so again."""
        if not self.is_init:
            if self.init_cfg:
                initialize(self, self.init_cfg)
            self._is_init = True

    def train(self, mode: bool = True) -> "TimmBackbone":
        """A frozen backbone stays in evaluation mode: no stochastic depth, no batch statistics."""
        return super().train(mode and not self.frozen)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Features of normalised images (B, C, H, W); always a tuple, see ``output``.

        Raises:
            ValueError: the model cannot take images of this size.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            try:
                if self.output == "maps":
                    return self._maps(images)
                tokens = self.net.forward_features(images)
            except (AssertionError, RuntimeError) as error:
                raise input_error(error, self.name, images) from None
            if self.output in ("tokens", "class_token"):
                return (tokens if self.output == "tokens" else tokens[:, 0],)
            return (self.net.forward_head(tokens, pre_logits=True),)

    def _maps(self, images: Tensor) -> tuple[Tensor, ...]:
        wanted = sorted(set(self.indices))
        maps = self.net.forward_intermediates(
            images, indices=wanted, norm=False, output_fmt="NCHW", intermediates_only=True
        )
        by_index = dict(zip(wanted, maps, strict=True))
        return tuple(by_index[i].contiguous() for i in self.indices)


def _create(
    name: str, img_size: int | Sequence[int] | None, output: str, **kwargs: Any
) -> nn.Module:
    """A model without classifier, for this image size where its class knows one.

    Raises:
        ValueError: no such model, an argument that it does not have, or an output.
    """
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3)
        raise ValueError(f"timm has no model {name!r}{'; near: ' * bool(close)}{', '.join(close)}")
    if isinstance(img_size, Sequence):
        img_size = tuple(img_size)
    sizes: list[dict[str, Any]] = [] if img_size is None else [dict(img_size=img_size)]
    # Pooling plays no part in maps and tokens, but some classes insist on theirs.
    pools: list[dict[str, Any]] = [dict(global_pool="avg" if output == "mean" else "")]
    pools += [] if output == "mean" else [{}]
    for pool, size, flexible in product(pools, (*sizes, {}), FLEXIBLE):
        try:
            net = timm.create_model(name, num_classes=0, **pool, **size, **flexible, **kwargs)
            break
        except TypeError as error:
            # Other names than those tried are the caller's mistake.
            if not any(f"'{key}'" in str(error) for key in (*size, *flexible)):
                fix = "correct model_kwargs"
                if "'drop_path_rate'" in str(error):
                    fix = "it has no stochastic depth, set drop_path_rate to 0"
                raise ValueError(f"{name}: {error}: {fix}") from None
        except AssertionError as error:
            if pool == pools[-1]:
                raise ValueError(f"{name}: {error}, so it has no output={output!r}") from None
    if output == "maps" and not hasattr(net, "prune_intermediate_layers"):
        raise ValueError(
            f'timm has no maps of {name}: it serves classification, with output="mean"'
        )
    return net
