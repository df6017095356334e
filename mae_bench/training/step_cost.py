"""Operations and memory of a training step, from shapes alone: no data, weights or GPU.

The step of the config runs on PyTorch's fake tensors, which have everything but values. They lie on
the CPU, because PyTorch's backward pass asks for the devices of others, but attention is that of a
GPU: one fused kernel, which keeps no logits for the backward pass, whatever bias it has.
"""

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from mmengine.config import Config, ConfigDict
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from ..config.backbone_swap import BLANK_SIDE
from ..models import attention
from ..models.kernels import blockwise
from ..models.targets import PCATarget
from .hooks.run_card import CPU_KERNELS

_kernels: Any = torch.ops.aten


@dataclass(frozen=True)
class StepCost:
    """What a step of one process takes.

    Args:
        batch: images of a forward pass.
        operations: of its forward and backward pass, a multiply-add counting as two.
        parameters: bytes of parameters and buffers.
        gradients: bytes.
        moments: bytes of the optimizer's state.
        peak: bytes that live at once, at most; all of the above among them.
    """

    batch: int
    operations: int
    parameters: int
    gradients: int
    moments: int
    peak: int

    @property
    def activations(self) -> int:
        """Bytes of the peak that are neither parameters nor gradients nor moments."""
        return self.peak - self.parameters - self.gradients - self.moments


class _FusedAttention(torch.autograd.Function):
    """Attention that holds as much as the kernels of a GPU.

    A CPU's has none for a bias that is learned.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        out, sums = _kernels._scaled_dot_product_flash_attention_for_cpu(q, k, v, attn_mask=bias)
        ctx.save_for_backward(q, k, v, bias, out, sums)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, bias, out, sums = ctx.saved_tensors
        grads = _kernels._scaled_dot_product_flash_attention_for_cpu_backward(
            grad, q, k, v, out, sums, 0.0, False, attn_mask=bias
        )
        learned = bias is not None and ctx.needs_input_grad[3]
        return *grads, torch.zeros_like(bias) if learned else None


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    *_: Any,
    **__: Any,
) -> Tensor:
    return _FusedAttention.apply(query, key, value, attn_mask)


@contextmanager
def _as_on_a_gpu() -> Iterator[None]:
    with (
        mock.patch.object(nn.functional, "scaled_dot_product_attention", _attention),
        mock.patch.object(attention, "fused_wins", lambda *_: True),
        mock.patch.object(blockwise, "serves", lambda *_: False),
    ):
        yield


class LiveMemory(TorchDispatchMode):
    """Bytes of all storages that operations have made and that are still held."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._held: dict[int, weakref.ref] = {}

    def add(self, tensor: Tensor) -> None:
        """Count the storage of a tensor, once, until nothing holds it."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._held:
            return

        def gone(_: weakref.ref) -> None:
            self.live -= size
            del self._held[key]

        self._held[key] = weakref.ref(storage, gone)
        self.live += size
        self.peak = max(self.peak, self.live)

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        made = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self.add(tensor)
        return made


def step_cost(
    cfg: Config, batch: int, precision: str = "float32", accumulating: bool = False
) -> StepCost:
    """Measure a step on fake tensors.

    Args:
        cfg: a config that trains.
        batch: images of a forward pass of one process.
        precision: ``"float32"``, or the format of autocast.
        accumulating: whether the batch of a step is more than one forward pass.

    Raises:
        ValueError: the model branches on values of its input, so that shapes are not enough.
    """
    init_default_scope(cfg.default_scope)
    with FakeTensorMode(allow_non_fake_inputs=True), _as_on_a_gpu():
        model = MODELS.build(cfg.model).train()
        for module in model.modules():
            if isinstance(module, PCATarget):
                module.known_fitted = True  # its basis, read once before the first step
            if getattr(module, "class_weight", None) is not None:
                module.class_weight = None  # of mmseg's loss, whose mean then depends on values
        optimizer = build_optimizer(cfg, model)
        memory = LiveMemory()
        for tensor in (*model.parameters(), *model.buffers()):
            memory.add(tensor)
        parameters = memory.live
        counter = FlopCounterMode(display=False, custom_mapping=CPU_KERNELS)
        try:
            with memory:
                for last in (False, True):  # the first one makes the moments
                    memory.peak = memory.live
                    for _ in range(1 + (last and accumulating)):
                        with nullcontext() if last else counter:
                            _backward(cfg, model, batch, precision)
                    gradients = sum(
                        p.grad.untyped_storage().nbytes()
                        for p in model.parameters()
                        if p.grad is not None
                    )
                    optimizer.step()
                    optimizer.zero_grad()
        except _VALUES as error:
            raise ValueError(
                f"{type(model).__name__} cannot be estimated: its step depends on values "
                f"({str(error).splitlines()[0]})"
            ) from None
        return StepCost(
            batch,
            counter.get_total_flops(),
            parameters,
            gradients,
            memory.live - parameters,
            memory.peak,
        )


_VALUES = (
    torch._subclasses.fake_tensor.DynamicOutputShapeException,
    torch._subclasses.fake_tensor.DataDependentOutputException,
)


def build_optimizer(cfg: Config, model: nn.Module) -> torch.optim.Optimizer:
    """The config's optimizer over a model's parameters, by a loop over them."""
    options = ConfigDict(cfg.optim_wrapper)
    options.type = "OptimWrapper"
    for key in ("dtype", "loss_scale"):
        options.pop(key, None)
    options.optimizer = ConfigDict(options.optimizer)
    options.optimizer.pop("fused", None)  # needs a real device; a loop needs no more memory
    return build_optim_wrapper(model, options).optimizer


def _backward(cfg: Config, model: BaseModel, batch: int, precision: str) -> None:
    mixed = precision != "float32"
    with torch.autocast("cpu", getattr(torch, precision)) if mixed else nullcontext():
        loss = training_loss(cfg, model, torch.zeros(batch, 3, *image_side(cfg)))
    loss.backward()


def image_side(cfg: Config) -> tuple[int, int]:
    """Height and width in pixels of the images that the backbone is trained on."""
    size = cfg.model.backbone.get("img_size") or BLANK_SIDE
    return (size, size) if isinstance(size, int) else tuple(size)


def training_loss(cfg: Config, model: BaseModel, images: Tensor) -> Tensor:
    """Loss of images (B, 3, H, W) with annotations of zeros; for a detector what its heads give."""
    if hasattr(model, "roi_head"):
        return _detection_outputs(model, images)
    samples: Any = None
    if cfg.default_scope == "mmseg":
        from mmseg.structures import SegDataSample

        labels = torch.zeros(len(images), 1, *images.shape[2:], dtype=torch.long)
        samples = [SegDataSample(gt_sem_seg=PixelData(data=label)) for label in labels]
    elif "head" in cfg.model:
        from mmpretrain.structures import DataSample

        scores = torch.zeros(len(images), cfg.model.head.num_classes)
        samples = [DataSample().set_gt_score(score) for score in scores]
    return model.parse_losses(model(images, samples, mode="loss"))[0]


def _detection_outputs(model: BaseModel, images: Tensor) -> Tensor:
    """Sum of what the heads give, on as many regions as the samplers keep at most.

    mmdetection's losses choose boxes by their values, which fake tensors do not have. They take
    little beside the maps and regions counted here: 1.3 % of a step of Mask R-CNN with ViT-B.
    """
    maps = model.extract_feat(images)
    found: list[Any] = [model.rpn_head(maps)]
    roi_head = model.roi_head
    stages = _listed(roi_head.train_cfg)
    sampler = stages[0].sampler  # later stages of a cascade take the regions of the first
    for head, extractor in zip(_listed(roi_head.bbox_head), _extractors(roi_head), strict=True):
        found.append(head(_regions(extractor, maps, sampler.num)))
    if roi_head.with_mask:
        kept = int(sampler.num * sampler.pos_fraction)
        extractor = _listed(roi_head.mask_roi_extractor)[0]
        found += [head(_regions(extractor, maps, kept)) for head in _listed(roi_head.mask_head)]
    return sum(tensor.float().sum() for tensor in tree_leaves(found))


def _listed(value: Any) -> list:
    return list(value) if isinstance(value, (list, tuple, nn.ModuleList)) else [value]


def _extractors(roi_head: Any) -> list[nn.Module]:
    found = _listed(roi_head.bbox_roi_extractor)
    return found if len(found) > 1 else found * len(_listed(roi_head.bbox_head))


def _regions(extractor: Any, maps: Sequence[Tensor], count: int) -> Tensor:
    """Features of ``count`` regions an image, shared evenly by the levels."""
    levels = maps[: extractor.num_inputs]
    boxes = torch.zeros(len(maps[0]) * count, 5).chunk(len(levels))
    parts = [
        layer(level.float(), share)
        for layer, level, share in zip(extractor.roi_layers, levels, boxes, strict=True)
    ]
    return torch.cat(parts).to(levels[0].dtype)
