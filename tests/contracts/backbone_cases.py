"""Small backbones of every registered class, for tests that all of them have to pass."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mae_bench.checkpoint.format import CheckpointMetadata
from mae_bench.checkpoint.transfer import load_backbone
from mae_bench.checkpoint.whole_model import export_model
from mae_bench.models.backbone import optional
from mae_bench.registry import MODELS

SIDE = 32
ARCH = dict(embed_dim=24, depth=2, num_heads=2)


def vit(**options: Any) -> dict[str, Any]:
    shared = dict(type="mae_bench.VisionTransformer", arch=ARCH, img_size=SIDE, patch_size=4)
    return shared | options


def timm(name: str, **options: Any) -> dict[str, Any]:
    return dict(type="mae_bench.TimmBackbone", name=name) | options


def host(host_class: str, **options: Any) -> dict[str, Any]:
    return dict(type="mae_bench.HostBackbone", host_class=host_class) | options


MAPS = dict(out_indices=[0, 1])
PLAIN = dict(class_token=False, **MAPS)
HOST_VIT = dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48)
TIMM_VIT = dict(img_size=SIDE, model_kwargs=dict(patch_size=4))
CASES = {
    "vit-mean": vit(output="mean"),
    "vit-class-token": vit(output="class_token", layer_scale_init=0.5),
    "vit-maps-bias-per-block": vit(rel_pos_bias="per_block", **MAPS),
    "vit-maps-shared-bias-windows": vit(rel_pos_bias="shared", window_size=3, **PLAIN),
    "vit-maps-decomposed-windows": vit(
        rel_pos_bias="decomposed", window_size=4, global_blocks=[1], **PLAIN
    ),
    "timm-vit-mean": timm("test_vit", output="mean", **TIMM_VIT),
    "timm-vit-maps": timm("test_vit", out_indices=[1, 3], **TIMM_VIT),
    "timm-resnet-maps": timm("test_resnet"),
    "timm-convnext-mean": timm("test_convnext", output="mean"),
    "host-vit-mean": host(
        "mmpretrain.VisionTransformer", output="mean", arch=HOST_VIT, img_size=SIDE, patch_size=4
    ),
    "host-resnet-maps": host("mmdet.ResNet", output="maps", depth=18, base_channels=8),
}


def build(name: str, **options: Any) -> nn.Module:
    """A backbone in evaluation mode, every parameter of which has an effect."""
    torch.manual_seed(0)
    module = MODELS.build({**CASES[name], **options}).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return module


def images(count: int = 2, height: int = SIDE, width: int = SIDE, seed: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, height, width, generator=generator)


def check_file(backbone: Any, other: Any, path: Path) -> None:
    """Export a backbone as runs do, and start another one of the same class from the file."""
    metadata = CheckpointMetadata(
        architecture={},
        img_size=optional(backbone, "img_size") or 224,
        patch_size=backbone.patch_size,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        method="supervised",
        data="noise",
    )
    export_model(nn.ModuleDict(dict(backbone=backbone)), path, metadata)
    report = load_backbone(other, path)
    assert report.share == 1.0 and report.resized == []
    state = other.state_dict()
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, state[name]), name
