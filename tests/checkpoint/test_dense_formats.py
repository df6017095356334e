"""Segmentors and detectors as a whole, to mmsegmentation's and mmdetection's files and back."""

import copy

import mmdet.models  # noqa: F401
import mmseg.models  # noqa: F401
import pytest
import torch
from mmdet.registry import MODELS as DET_MODELS
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint as mmengine_load
from mmseg.registry import MODELS as SEG_MODELS
from torch import nn

from mae_bench.checkpoint.adapters import ADAPTERS
from mae_bench.checkpoint.adapters.writing import write_foreign_file
from mae_bench.checkpoint.format import CheckpointMetadata
from mae_bench.checkpoint.reader import read_checkpoint
from mae_bench.checkpoint.whole_model import export_model, load_model, start_model
from mae_bench.config.load import load_config

from ..tools.conftest import ROOT
from .test_adapters_forward import close, noisy

DIM = 96
SEG = ROOT / "configs/seg/upernet_vit_mini_miniworld.py"
VITDET = ROOT / "configs/det/vitdet_mask_rcnn_vit_base_coco.py"


def metadata() -> CheckpointMetadata:
    arch = dict(embed_dim=DIM, depth=4, num_heads=4)
    statistics = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
    return CheckpointMetadata(
        dict(arch=arch), img_size=32, patch_size=4, method="x", data="y", **statistics
    )


def seg_config():
    """The mini segmentor, with the levels of ADE20K's: four times as fine as a patch, and so on."""
    cfg = copy.deepcopy(load_config(SEG).model)
    cfg.neck.strides = [1, 2, 4, 8]
    return cfg


def our_segmentor() -> nn.Module:
    init_default_scope("mmseg")
    return noisy(SEG_MODELS.build(seg_config()))


def their_segmentor() -> nn.Module:
    """mmsegmentation's own backbone and neck, and the same heads."""
    cfg = seg_config()
    cfg.backbone = dict(
        type="MAE",
        img_size=(32, 32),
        patch_size=4,
        embed_dims=DIM,
        num_layers=4,
        num_heads=4,
        out_indices=[3, 3, 3, 3],
        norm_cfg=dict(type="LN", eps=1e-6),
        init_values=1.0,
    )
    cfg.neck = dict(type="Feature2Pyramid", embed_dim=DIM, norm_cfg=dict(type="BN"))
    init_default_scope("mmseg")
    model = SEG_MODELS.build(cfg)
    model.eval()
    return model


def logits(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Of both heads, one behind the other."""
    with torch.no_grad():
        features = model.extract_feat(images)
        heads = (model.decode_head, model.auxiliary_head)
        return torch.cat([head(features).flatten(1) for head in heads], dim=1)


IMAGES = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def same_maps(model: nn.Module) -> nn.Module:
    """mmsegmentation hands out each block once: all four levels from one map."""
    forward = model.backbone.forward
    model.backbone.forward = lambda x: forward(x)[-1:] * 4
    return model


def test_a_segmentor_goes_to_mmsegmentation_and_back(tmp_path):
    model = our_segmentor()
    ours = tmp_path / "c.safetensors"
    export_model(model, ours, metadata())
    adapter = ADAPTERS["mmseg_mae"]
    exported = adapter.from_ours(read_checkpoint(ours).imported.tensors)
    assert exported.dropped == []
    path = tmp_path / "segmentor.pth"
    write_foreign_file(path, exported.tensors, adapter)
    peer = their_segmentor()
    # as mmsegmentation's own tools load it
    mmengine_load(peer, str(path), strict=False)
    loaded = set(exported.tensors)
    assert {n for n in peer.state_dict() if "relative_position_index" not in n} <= loaded
    close(logits(same_maps(peer), IMAGES), logits(model, IMAGES))

    back = our_segmentor()
    with torch.no_grad():
        for parameter in back.parameters():
            parameter.zero_()
    assert load_model(back, path).share == 1.0
    close(logits(back, IMAGES), logits(model, IMAGES))
    # and starts another, with heads for other classes
    other = seg_config()
    for head in (other.decode_head, other.auxiliary_head):
        head.num_classes = 5
        head.loss_decode.class_weight = None
    started = SEG_MODELS.build(other)
    report = start_model(started, path)
    assert report.initialised == [
        "decode_head.conv_seg.weight",
        "decode_head.conv_seg.bias",
        "auxiliary_head.conv_seg.weight",
        "auxiliary_head.conv_seg.bias",
    ]
    assert torch.equal(started.neck.levels[0][0].weight, model.neck.levels[0][0].weight)


def small_vitdet() -> nn.Module:
    cfg = copy.deepcopy(load_config(VITDET).model)
    cfg.backbone.update(
        arch=dict(embed_dim=16, depth=2, num_heads=2),
        img_size=64,
        window_size=2,
        global_blocks=(1,),
        out_indices=(1,),
    )
    cfg.neck.embed_dim = 16
    init_default_scope("mmdet")
    return noisy(DET_MODELS.build(cfg))


# Layer of our neck -> its name in mmdetection's project, written out by hand.
PYRAMID = {
    "levels.0.0": "fpn1.0",
    "levels.0.1": "fpn1.1",
    "levels.0.3": "fpn1.3",
    "levels.0.4": "lateral_convs.0.conv",
    "levels.0.5": "lateral_convs.0.norm_layer",
    "levels.0.6": "fpn_convs.0.conv",
    "levels.0.7": "fpn_convs.0.norm_layer",
    "levels.1.0": "fpn2.0",
    "levels.1.1": "lateral_convs.1.conv",
    "levels.1.2": "lateral_convs.1.norm_layer",
    "levels.1.3": "fpn_convs.1.conv",
    "levels.1.4": "fpn_convs.1.norm_layer",
    "levels.2.0": "lateral_convs.2.conv",
    "levels.2.1": "lateral_convs.2.norm_layer",
    "levels.2.2": "fpn_convs.2.conv",
    "levels.2.3": "fpn_convs.2.norm_layer",
    "levels.3.1": "lateral_convs.3.conv",
    "levels.3.2": "lateral_convs.3.norm_layer",
    "levels.3.3": "fpn_convs.3.conv",
    "levels.3.4": "fpn_convs.3.norm_layer",
}


def as_mmdet(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A detector's tensors under the names of mmdetection's project."""
    renamed = {}
    for name, tensor in state.items():
        if name.startswith("neck."):
            layer, _, kind = name.removeprefix("neck.").rpartition(".")
            name = f"neck.{PYRAMID[layer]}.{kind}"
        elif name.startswith("roi_head."):
            name = name.replace(".ln.", ".norm_layer.")
        renamed[name] = tensor
    return renamed


def test_a_detector_goes_to_mmdetection_and_back(tmp_path):
    model = small_vitdet()
    state = {n: t for n, t in model.state_dict().items() if not n.startswith("data_preproc")}
    expected = as_mmdet(state)
    tensors = {n.removeprefix("backbone."): t for n, t in state.items()}
    exported = ADAPTERS["mmdet_vitdet"].from_ours(tensors)
    assert exported.dropped == [] and set(exported.tensors) == set(expected)
    path = tmp_path / "vitdet.pth"
    write_foreign_file(path, exported.tensors, ADAPTERS["mmdet_vitdet"])
    stored = torch.load(path, weights_only=True)["state_dict"]
    assert all(torch.equal(stored[name], tensor) for name, tensor in expected.items())
    back = small_vitdet()
    with torch.no_grad():
        for parameter in back.parameters():
            parameter.zero_()
    assert read_checkpoint(path).format == "mmdet_vitdet"
    assert load_model(back, path).share == 1.0
    for name, tensor in state.items():
        assert torch.equal(back.state_dict()[name], tensor), name


@pytest.mark.parametrize("classes", [80, 3])
def test_a_detector_starts_another(tmp_path, classes):
    """From its export and from its training state; output layers of other classes start afresh."""
    model = small_vitdet()
    export_model(model, tmp_path / "c.safetensors", metadata_of_detector())
    torch.save({"meta": {}, "state_dict": model.state_dict()}, tmp_path / "epoch_1.pth")
    for file in ("c.safetensors", "epoch_1.pth"):
        other = small_vitdet()
        other.roi_head.bbox_head.fc_cls = nn.Linear(1024, classes + 1)
        other.roi_head.bbox_head.fc_reg = nn.Linear(1024, 4 * classes)
        other.roi_head.mask_head.conv_logits = nn.Conv2d(256, classes, 1)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.zero_()
        report = start_model(other, tmp_path / file)
        assert len(report.initialised) == (0 if classes == 80 else 6)
        state = other.state_dict()
        for name, tensor in model.state_dict().items():
            if name not in report.initialised:
                assert torch.equal(state[name], tensor), name
            else:
                assert not state[name].any()


def metadata_of_detector() -> CheckpointMetadata:
    values = {**vars(metadata()), "img_size": 64, "patch_size": 16}
    values["architecture"] = dict(arch=dict(embed_dim=16, depth=2, num_heads=2))
    values.pop("format_version", None)
    return CheckpointMetadata(**values)
