"""A training step of UperNet against mmsegmentation's MAE UperNet.

The model of configs/seg/upernet_vit_base_ade20k.py with layer scale, which is the peer's, forward,
backward and AdamW, on noise. Both have the same weights and pictures, and their losses are
compared. Each comes with the constructor of its optimizer; ours has the fused AdamW.
"""

import argparse
import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn

from mae_bench.checkpoint.adapters import ADAPTERS
from mae_bench.config.load import load_config
from mae_bench.models.vit import SIZES
from mae_bench.training.launch import use_mixed_precision

from .det import add_common_arguments, print_steps

CONFIG = Path("configs/seg/upernet_vit_base_ade20k.py")
VARIANTS = ("ours", "ours, checkpointed", "mmsegmentation")
# Our adapter's level and layer -> the peer's.
NECK = {
    "levels.0.0": "upsample_4x.0",
    "levels.0.1": "upsample_4x.1",
    "levels.0.3": "upsample_4x.3",
    "levels.1": "upsample_2x.0",
}


def build_models(arch: str, size: int, with_cp: bool) -> tuple[nn.Module, nn.Module, Any]:
    """Ours and the peer's with the same weights, without randomness, and our config."""
    cfg = load_config(CONFIG, {"model.backbone.layer_scale_init": 1.0})
    sizes = SIZES[arch]
    width, depth, heads = sizes["embed_dim"], sizes["depth"], sizes["num_heads"]
    taps = tuple(cfg.model.backbone.out_indices)
    if depth != 12:
        taps = (depth // 3 - 1, depth // 2 - 1, 2 * depth // 3 - 1, depth - 1)
    cfg.model.backbone.update(
        arch=arch, img_size=size, out_indices=taps, drop_path_rate=0.0, with_cp=with_cp
    )
    cfg.model.neck.embed_dim = width
    cfg.model.decode_head.update(in_channels=[width] * 4, channels=width, dropout_ratio=0.0)
    cfg.model.auxiliary_head.update(in_channels=width, dropout_ratio=0.0)
    cfg.model.data_preprocessor.size = (size, size)
    init_default_scope("mmseg")
    torch.manual_seed(0)
    ours = MODELS.build(cfg.model)
    peer_cfg = cfg.copy()
    peer_cfg.model.backbone = dict(
        type="MAE",
        img_size=(size, size),
        patch_size=16,
        embed_dims=width,
        num_layers=depth,
        num_heads=heads,
        mlp_ratio=4,
        init_values=1.0,
        drop_path_rate=0.0,
        out_indices=list(taps),
        norm_cfg=dict(type="LN", eps=1e-6),
    )
    peer_cfg.model.neck = dict(
        type="Feature2Pyramid",
        embed_dim=width,
        rescales=[4, 2, 1, 0.5],
        norm_cfg=cfg.model.neck.norm_cfg,
    )
    peer = MODELS.build(peer_cfg.model)
    copy_weights(ours, peer)
    return ours, peer, cfg


def copy_weights(ours: nn.Module, peer: nn.Module) -> None:
    """Give the peer our weights.

    Raises:
        RuntimeError: a tensor of the peer's gets none.
    """
    backbone = dict(ours.get_submodule("backbone").state_dict())
    exported = ADAPTERS["mmseg_mae"].from_ours(backbone).tensors
    state = {f"backbone.{k.removeprefix('backbone.')}": v for k, v in exported.items()}
    for name, tensor in ours.state_dict().items():
        if name.startswith("neck."):
            layer, _, kind = name.removeprefix("neck.").rpartition(".")
            state[f"neck.{NECK[layer]}.{kind}"] = tensor
        elif not name.startswith("backbone."):
            state[name] = tensor
    missing, unexpected = peer.load_state_dict(state, strict=False)
    missing = [name for name in missing if not name.endswith("relative_position_index")]
    if missing or unexpected:
        raise RuntimeError(f"the peer lacks {missing[:3]}; it does not know {unexpected[:3]}")


def build_step(
    variant: str, arch: str, size: int, batch: int, dtype: str = "float32"
) -> Callable[[], float]:
    """A training step of one of :data:`VARIANTS`; returns its loss."""
    ours, peer, cfg = build_models(arch, size, "checkpointed" in variant)
    if dtype != "float32":
        use_mixed_precision(cfg, dtype)
    wrapper_cfg = cfg.optim_wrapper
    model = ours
    if variant == "mmsegmentation":
        model = peer
        wrapper_cfg = dict(
            type=cfg.optim_wrapper.type,
            optimizer=dict(type="AdamW", lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
            constructor="LayerDecayOptimizerConstructor",
            paramwise_cfg=dict(num_layers=SIZES[arch]["depth"], layer_decay_rate=0.65),
        )
    model = revert_sync_batchnorm(model).train()
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    with contextlib.redirect_stdout(io.StringIO()):  # the peer's constructor prints every parameter
        wrapper = build_optim_wrapper(model, wrapper_cfg)
    generator = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(batch):
        labels = torch.randint(150, (1, size // 8, size // 8), generator=generator)
        labels = labels.repeat_interleave(8, 1).repeat_interleave(8, 2)
        samples.append(SegDataSample(gt_sem_seg=PixelData(data=labels)))
    shape = (batch, 3, size, size)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    data = dict(inputs=list(images), data_samples=samples)
    return lambda: model.train_step(data, wrapper)["loss"].item()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``tools/benchmark.py seg``."""
    parser.add_argument("--size", type=int, default=512, help="side of the pictures, of 16")
    parser.add_argument("--batch", type=int, default=2, help="pictures in a step, at least 2")
    add_common_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Measure and print.

    Raises:
        ValueError: the losses of the first step differ.
    """
    print_steps(build_step, VARIANTS, args, f"UperNet, {args.arch}")
