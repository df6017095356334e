"""Every backbone class of mmpretrain, mmdet and mmseg: it works as it says, or says why not."""

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.registry import init_default_scope
from mmpretrain.models.backbones import HRNet
from mmpretrain.models.backbones.base_backbone import BaseBackbone

from mae_bench.config.load import load_config
from mae_bench.models.backbone import blank_features
from mae_bench.openmmlab.host_backbone import HostBackbone
from mae_bench.registry import MODELS

from .backbone_cases import check_file

DETECTION = Path(__file__).parents[2] / "configs/det/mask_rcnn_vit_mini_miniworld.py"
ONLY_224 = {"mmpretrain.ConvMixer", "mmpretrain.PyramidVig", "mmpretrain.Vig"}  # pixels
R50 = dict(depth=50)
STAGES = ("num_modules", "num_branches", "block", "num_blocks", "num_channels")
HRNET = dict(
    extra={
        f"stage{i + 1}": dict(zip(STAGES, stage, strict=True))
        for i, stage in enumerate(HRNet.arch_zoo["w18"])
    }
)
SEG_R18 = dict(type="mmseg.ResNet", depth=18, num_stages=4, out_indices=(0, 1, 2, 3))
STDC = dict(
    stdc_type="STDCNet1",
    in_channels=3,
    channels=(32, 64, 256, 512, 1024),
    bottleneck_type="cat",
    norm_cfg=dict(type="BN"),
    act_cfg=dict(type="ReLU"),
)
# What a class needs to be made at all.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "mmpretrain.CAEPretrainViT": dict(layer_scale_init_value=0.1),
    "mmpretrain.CSPDarkNet": dict(depth=53),
    "mmpretrain.CSPResNet": R50,
    "mmpretrain.CSPResNeXt": R50,
    "mmpretrain.LeViT": dict(arch="128s"),
    "mmpretrain.MoCoV3ViT": dict(arch="mocov3-small", patch_size=16),
    "mmpretrain.MobileOne": dict(arch="s0"),
    "mmpretrain.PCPVT": dict(arch="small"),
    "mmpretrain.PyramidVig": dict(arch="tiny"),
    "mmpretrain.RegNet": dict(arch="regnetx_400mf"),
    "mmpretrain.RepLKNet": dict(arch="31B"),
    "mmpretrain.RepMLPNet": dict(arch="B"),
    "mmpretrain.RepVGG": dict(arch="A0"),
    "mmpretrain.Res2Net": R50,
    "mmpretrain.ResNeSt": R50,
    "mmpretrain.ResNeXt": R50,
    "mmpretrain.ResNet": R50,
    "mmpretrain.ResNetV1c": R50,
    "mmpretrain.ResNetV1d": R50,
    "mmpretrain.ResNet_CIFAR": R50,
    "mmpretrain.SEResNeXt": R50,
    "mmpretrain.SEResNet": R50,
    "mmpretrain.SVT": dict(arch="small"),
    "mmpretrain.SparseResNet": R50,
    "mmpretrain.SwinTransformerV2": dict(img_size=256),
    "mmpretrain.TIMMBackbone": dict(model_name="resnet18", features_only=True),
    "mmpretrain.VGG": dict(depth=11),
    "mmpretrain.Vig": dict(arch="tiny"),
    "mmdet.DetectoRS_ResNeXt": R50,
    "mmdet.DetectoRS_ResNet": R50,
    "mmdet.HRNet": HRNET,
    "mmdet.RegNet": dict(arch="regnetx_400mf"),
    "mmdet.Res2Net": R50,
    "mmdet.ResNeSt": R50,
    "mmdet.ResNeXt": R50,
    "mmdet.ResNet": R50,
    "mmdet.ResNetV1d": R50,
    "mmdet.SSDVGG": dict(depth=16),
    "mmdet.TridentResNet": dict(
        depth=50,
        num_branch=3,
        test_branch_idx=1,
        trident_dilations=(1, 2, 3),
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
    ),
    "mmseg.BiSeNetV1": dict(backbone_cfg=SEG_R18),
    "mmseg.HRNet": HRNET,
    "mmseg.ICNet": dict(backbone_cfg={**SEG_R18, "type": "mmseg.ResNetV1c", "depth": 50}),
    "mmseg.ResNeSt": R50,
    "mmseg.ResNeXt": R50,
    "mmseg.ResNet": R50,
    "mmseg.ResNetV1c": R50,
    "mmseg.ResNetV1d": R50,
    "mmseg.STDCContextPathNet": dict(
        backbone_cfg=dict(type="mmseg.STDCNet", num_convs=4, with_final_conv=False, **STDC),
        last_in_channels=(1024, 512),
        out_channels=128,
        ffm_cfg=dict(in_channels=384, out_channels=256, scale_factor=4),
    ),
    "mmseg.STDCNet": STDC,
    "mmseg.TIMMBackbone": dict(model_name="resnet18", features_only=True, pretrained=False),
}
# Abstract, or of another kind of task.
LEFT_OUT = {"mmpretrain.CSPNet", "mmseg.VPD"}


def classes() -> list[str]:
    found = []
    for scope in ("mmpretrain", "mmdet", "mmseg"):
        module = import_module(f"{scope}.models.backbones")
        names = [n for n in dir(module) if inspect.isclass(getattr(module, n))]
        found += [f"{scope}.{name}" for name in names]
    kinds = vars(import_module("mmpretrain.models.selfsup")).values()
    masked = [k for k in kinds if inspect.isclass(k) and issubclass(k, BaseBackbone)]
    found += [f"mmpretrain.{kind.__name__}" for kind in masked]
    return sorted(set(found) - LEFT_OUT)


NOT_TENSORS = {
    "mmpretrain.Conformer": "it gives list where tensors are wanted",
    "mmpretrain.InceptionV3": "it gives NoneType, Tensor where tensors are wanted",
    "mmpretrain.LeNet5": "expected input.* to have 1 channels",
    "mmpretrain.MFFViT": "it gives torch.int64 where features are wanted",  # masked in any case
    "mmpretrain.MILANViT": "missing 1 required positional argument: 'importance'",
    "mmpretrain.SparseConvNeXt": "'NoneType' object has no attribute 'shape'",
    "mmpretrain.SparseResNet": "'NoneType' object has no attribute 'shape'",
}
NO_MEAN = NOT_TENSORS | {
    "mmpretrain.DeiT3": "no attribute 'ln2'",  # mmpretrain's; with its class token it works
    "mmpretrain.EfficientFormer": r"no output='mean': a blank image gives \(1, 448, 49\)",
    "mmpretrain.MlpMixer": r"no output='mean': a blank image gives \(1, 768, 196\)",
}
PLAIN = {  # ViTs and others of one stride
    "mmpretrain.BEiTViT",
    "mmpretrain.DeiT3",
    "mmpretrain.DistilledVisionTransformer",
    "mmpretrain.BEiTPretrainViT",
    "mmpretrain.CAEPretrainViT",
    "mmpretrain.MAEViT",
    "mmpretrain.MaskFeatViT",
    "mmpretrain.MoCoV3ViT",
    "mmpretrain.ViTEVA02",
    "mmpretrain.VisionTransformer",
    "mmseg.BEiT",
    "mmseg.MAE",
    "mmseg.VisionTransformer",
}
NO_SCALES = "has no 4 scales for FPN and UperNet: give out_indices"
FEW_SCALES = PLAIN | {
    "mmdet.SSDVGG",
    "mmpretrain.ConvMixer",
    "mmpretrain.DenseNet",
    "mmpretrain.EfficientFormer",
    "mmpretrain.HiViT",
    "mmpretrain.LeViT",
    "mmpretrain.MAEHiViT",
    "mmpretrain.MlpMixer",
    "mmpretrain.RepMLPNet",
    "mmpretrain.ShuffleNetV1",
    "mmpretrain.ShuffleNetV2",
    "mmpretrain.T2T_ViT",
    "mmpretrain.TinyViT",
    "mmpretrain.ViTSAM",
    "mmpretrain.Vig",
    "mmpretrain.XCiT",
    "mmpretrain.iTPNHiViT",
    "mmseg.BiSeNetV1",
    "mmseg.BiSeNetV2",
    "mmseg.FastSCNN",
    "mmseg.MobileNetV3",
    "mmseg.SVT",
}
NO_MAPS = {
    "mmpretrain.MixMIMTransformer": r"no output='maps': a blank image gives \(1, 1024\)",
    "mmpretrain.MixMIMPretrainTransformer": r"no output='maps': a blank image gives \(1, 1024\)",
    "mmpretrain.TNT": r"no output='maps': a blank image gives \(1, 640\)",
    "mmseg.STDCContextPathNet": r"gives maps of strides \[8, 16, 8, 8\]: .* the finest first",
    "mmseg.UNet": r"gives maps of strides \[16, 8, 4, 2, 1\]: .* take the finest first",
    **NOT_TENSORS,
    **dict.fromkeys(FEW_SCALES, NO_SCALES),
}


# Neither four scales of their own nor maps of blocks, all alike.
NO_PYRAMID = {
    "mmdet.HourglassNet",
    "mmdet.SSDVGG",
    "mmdet.TridentResNet",
    "mmpretrain.AlexNet",
    "mmpretrain.Conformer",
    "mmpretrain.DeiT3",
    "mmpretrain.DenseNet",
    "mmpretrain.EfficientFormer",
    "mmpretrain.InceptionV3",
    "mmpretrain.LeNet5",
    "mmpretrain.MFFViT",
    "mmpretrain.MILANViT",
    "mmpretrain.MixMIMPretrainTransformer",
    "mmpretrain.MixMIMTransformer",
    "mmpretrain.MlpMixer",
    "mmpretrain.RevVisionTransformer",
    "mmpretrain.SparseConvNeXt",
    "mmpretrain.SparseResNet",
    "mmpretrain.TNT",
    "mmpretrain.TinyViT",
    "mmseg.BiSeNetV1",
    "mmseg.BiSeNetV2",
    "mmseg.CGNet",
    "mmseg.DDRNet",
    "mmseg.ERFNet",
    "mmseg.FastSCNN",
    "mmseg.ICNet",
    "mmseg.MobileNetV3",
    "mmseg.PIDNet",
    "mmseg.STDCContextPathNet",
    "mmseg.STDCNet",
    "mmseg.SVT",
    "mmseg.UNet",
}


def made(name: str, output: str, **options: Any) -> HostBackbone:
    init_default_scope(name.partition(".")[0])
    return HostBackbone(name, **{**ARGUMENTS.get(name, {}), **options}, output=output).eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", classes())
def test_pooled_features(name, tmp_path):
    if name in NO_MEAN:
        with pytest.raises(ValueError, match=f"{name} .*{NO_MEAN[name]}") as raised:
            made(name, "mean")
        assert "\n" not in str(raised.value)
        return
    backbone = made(name, "mean")
    (feature,) = blank_features(backbone, *sides(name))
    assert feature.shape == (1, backbone.embed_dim)
    check_file(backbone, made(name, "mean"), tmp_path / "c.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("name", classes())
def test_maps(name):
    if name in NO_MAPS:
        with pytest.raises(ValueError, match=f"{name} .*{NO_MAPS[name]}") as raised:
            made(name, "maps")
        assert "\n" not in str(raised.value)
        if name not in PLAIN:
            return
    backbone = made(name, "maps", **(dict(out_indices=[1, 2]) if name in PLAIN else {}))
    maps = blank_features(backbone, *sides(name))
    strides = backbone.map_strides or (backbone.patch_size,) * len(maps)
    widths = backbone.map_channels or (backbone.embed_dim,) * len(maps)
    found = [(m.shape[1], round(sides(name)[0] / m.shape[2])) for m in maps]
    assert found == list(zip(widths, strides, strict=True))
    assert strides == tuple(sorted(strides))


@pytest.mark.slow
@pytest.mark.parametrize("name", classes())
def test_by_option_in_detection(name):
    """Anchors have the strides of the maps that a detector gets, or one line says why not."""
    side = 224 if name in ONLY_224 else 256
    arguments = {"type": name, "img_size": side, **ARGUMENTS.get(name, {})}
    options = {f"model.backbone.{key}": value for key, value in arguments.items()}
    if name in NO_PYRAMID:
        with pytest.raises(ValueError, match=name) as raised:
            load_config(DETECTION, options)
        assert "\n" not in str(raised.value)
        return
    cfg = load_config(DETECTION, options)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model).eval()
    with torch.no_grad():
        maps = model.extract_feat(torch.zeros(1, 3, side, side))
    strides = cfg.model.rpn_head.anchor_generator.strides
    assert [feature.shape[-1] for feature in maps] == [side // stride for stride in strides]


def sides(name: str) -> tuple[int, int]:
    return (ARGUMENTS.get(name, {}).get("img_size", 224),) * 2
