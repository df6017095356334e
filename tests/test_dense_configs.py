"""What the detection and segmentation configs say, and what their models are."""

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from scipy import stats

from mae_bench.config.load import load_config
from mae_bench.models import VisionTransformer
from mae_bench.openmmlab.multi_scale import MultiScaleSegmentor, views_of_one_picture
from mae_bench.results.claim import recipe_of
from mae_bench.results.shipped import shipped_tables

from .recipes import load_recipe

ROOT = Path(__file__).parents[1]
DET, SEG = (ROOT / "configs" / name for name in ("det", "seg"))


def test_parameters_of_the_published_detector():
    """118.67 M (hustvl/MIMDet, README)."""
    cfg = load_config(DET / "mask_rcnn_vit_base_coco.py")
    init_default_scope(cfg.default_scope)
    with torch.device("meta"):
        model = MODELS.build(cfg.model)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert abs(count / 118.67e6 - 1) < 0.005
    assert f"{count:,}" in (ROOT / "docs/dense.md").read_text()


# Parameters of detectron2's models, counted from its own configs.
DETECTRON2 = {
    "mask_rcnn_vit_base": (768, 110_895_792),
    "mask_rcnn_vit_large": (1024, 330_684_656),
    "mask_rcnn_vit_huge": (1280, 661_203_760),
    "cascade_vit_base": (768, 141_160_990),
    "cascade_vit_large": (1024, 360_949_854),
    "cascade_vit_huge": (1280, 691_468_958),
}


@pytest.mark.parametrize("name", DETECTRON2)
def test_parameters_of_vitdet(name):
    """detectron2's, but for its table of 14 x 14 positions and a class token, ours of 64 x 64."""
    width, theirs = DETECTRON2[name]
    cfg = load_config(DET / f"vitdet_{name}_coco.py")
    init_default_scope(cfg.default_scope)
    with torch.device("meta"):
        model = MODELS.build(cfg.model)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == theirs + (64 * 64 - 197) * width


KINDS_OF = ("weight", "bias")
# First weights of detectron2's heads, by its code: c2_xavier_fill is uniform with a bound of
# sqrt(3 / fan in), c2_msra_fill normal with a variance of 2 / fan out.
DETECTRON2_STARTS = {
    "neck.1.lateral_convs.0.conv.weight": stats.uniform(-0.25, 0.5),  # of 48 channels
    "neck.1.fpn_convs.3.conv.weight": stats.uniform(-(768**-0.5), 2 * 768**-0.5),
    "rpn_head.rpn_conv.1.conv.weight": stats.norm(0, 0.01),
    "rpn_head.rpn_reg.weight": stats.norm(0, 0.01),
    "roi_head.bbox_head.shared_convs.2.conv.weight": stats.norm(0, (2 / 2304) ** 0.5),
    "roi_head.bbox_head.shared_fcs.0.weight": stats.uniform(
        -((3 / 12544) ** 0.5), 2 * (3 / 12544) ** 0.5
    ),
    "roi_head.bbox_head.fc_cls.weight": stats.norm(0, 0.01),
    "roi_head.bbox_head.fc_reg.weight": stats.norm(0, 0.001),
    "roi_head.mask_head.convs.0.conv.weight": stats.norm(0, (2 / 2304) ** 0.5),
    "roi_head.mask_head.upsample.weight": stats.norm(0, (2 / 1024) ** 0.5),
    "roi_head.mask_head.conv_logits.weight": stats.norm(0, 0.001),
}


def test_first_weights_of_the_detector():
    """What the model draws, against detectron2's distributions; the backbone is a narrow one."""
    cfg = load_config(DET / "mask_rcnn_vit_base_coco.py")
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    cfg.model.backbone.update(arch=dict(embed_dim=48, depth=12, num_heads=2), img_size=64)
    cfg.model.neck[0].update(embed_dim=48, norm_cfg=dict(type="GN", num_groups=4))
    cfg.model.neck[1].in_channels = [48] * 4
    check_drawn(cfg.model, DETECTRON2_STARTS)


def check_drawn(config: Any, starts: dict[str, Any]) -> None:
    """Biases without a distribution start from 0."""
    model = MODELS.build(config)
    model.init_weights()
    drawn = dict(model.named_parameters())
    for name, expected in starts.items():
        values = drawn[name].detach().flatten()
        sample = values[:: max(len(values) // 5000, 1)]
        assert stats.kstest(sample, expected.cdf).pvalue > 0.001, name
        bias = drawn.get(name.replace("weight", "bias"))
        assert bias is None or name.replace("weight", "bias") in starts or not bias.any(), name


def within(bound: float) -> Any:
    return stats.uniform(-bound, 2 * bound)


def test_first_weights_of_the_segmenters():
    """PyTorch's own of transposed convolutions and their biases in BEiT's adapter, whose fan in is
    48 channels x 4; mmsegmentation's of its heads; timm's and PyTorch's in the patch classifier."""
    cfg = load_config(SEG / "upernet_vit_base_ade20k.py")
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    cfg.model.backbone.update(arch=dict(embed_dim=48, depth=12, num_heads=2), img_size=64)
    cfg.model.neck.embed_dim = 48
    cfg.model.decode_head.update(in_channels=[48] * 4, channels=32)
    cfg.model.auxiliary_head.update(in_channels=48, channels=32)
    deconvolution = within(192**-0.5)
    check_drawn(
        cfg.model,
        {
            **{f"neck.levels.0.{i}.{kind}": deconvolution for i in (0, 3) for kind in KINDS_OF},
            **{f"neck.levels.1.{kind}": deconvolution for kind in KINDS_OF},
            "decode_head.conv_seg.weight": stats.norm(0, 0.01),
            "auxiliary_head.conv_seg.weight": stats.norm(0, 0.01),
            "decode_head.bottleneck.conv.weight": stats.norm(0, (2 / (32 * 9)) ** 0.5),
        },
    )
    cfg = load_config(SEG / "patch_classifier_vit_base_imagenet_s.py")
    cfg.model.backbone.update(arch=dict(embed_dim=48, depth=1, num_heads=2), out_indices=[0])
    cfg.model.decode_head.in_channels = 48
    check_drawn(
        cfg.model,
        {
            "decode_head.conv_seg.weight": stats.norm(0, 2e-5),
            "decode_head.conv_seg.bias": within(48**-0.5),
        },
    )


@pytest.mark.parametrize("size", ["base", "large"])
@pytest.mark.parametrize("row", ["supervised", "MoCo v3", "BEiT", "MAE"])
def test_every_row_of_tables_4_and_5_has_a_recipe(row, size, monkeypatch):
    monkeypatch.chdir(ROOT)
    letter = size[0].upper()
    table = shipped_tables()["Table 4"]
    cfg = recipe_of(table, table.cell(row, f"APbox ViT-{letter}"))
    depth = {"base": 12, "large": 24}[size]
    quarter = depth // 4
    last = tuple(range(quarter - 1, depth, quarter))
    assert cfg.model.backbone.arch == size
    assert cfg.model.backbone.global_blocks == cfg.model.backbone.out_indices == last

    table = shipped_tables()["Table 5"]
    cfg = recipe_of(table, table.cell(row, f"ViT-{letter}"))
    blocks = {"base": (3, 5, 7, 11), "large": (7, 11, 15, 23)}[size]
    assert cfg.model.backbone.out_indices == blocks
    scale = cfg.model.backbone.get("layer_scale_init")
    assert (scale is not None) == (row == "BEiT"), "MAE has no layer scale"


def test_the_test_pictures_follow_the_crop_of_vit_huge():
    cfg = load_recipe("seg/upernet_vit_huge_mae_ade20k_160k")
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.pipeline[1]["scale"] == (2072, 518)


TINY = dict(embed_dim=16, depth=2, num_heads=2)
KINDS = {
    "per_block": dict(rel_pos_bias="per_block"),
    "shared": dict(rel_pos_bias="shared", class_token=False, window_size=2, global_blocks=(1,)),
    "decomposed": dict(
        rel_pos_bias="decomposed", class_token=False, window_size=3, global_blocks=(1,)
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_relative_positions_start_as_none_and_learn(kind):
    def backbone(**options: Any) -> VisionTransformer:
        torch.manual_seed(0)
        arguments = dict(arch=TINY, img_size=16, patch_size=4, out_indices=(1,))
        return VisionTransformer(**{**arguments, **options})

    options = dict(KINDS[kind])
    biased = backbone(**options)
    plain = backbone(**{**options, "rel_pos_bias": None})
    plain.load_state_dict(biased.state_dict(), strict=False)
    images = torch.randn(2, 3, 16, 24)  # not square, and not the size it is made for
    (found,), (expected,) = biased(images), plain(images)
    assert torch.allclose(found, expected, atol=1e-6)
    (found * torch.randn(found.shape)).sum().backward()
    tables = [p for name, p in biased.named_parameters() if "rel_pos" in name]
    assert tables
    for table in tables:
        assert not table.any() and table.grad is not None and table.grad.any()


class ByBrightness(MultiScaleSegmentor):
    """Logits that depend on the view: its mean brightness."""

    out_channels = 2

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    @property
    def data_preprocessor(self) -> Any:
        return lambda data, training: data

    def _run_forward(self, data: dict[str, Any], mode: str) -> list[SegDataSample]:
        (image,), (sample,) = data["inputs"], data["data_samples"]
        logits = torch.stack([image.mean() * torch.ones(2, 2), torch.zeros(2, 2)])
        sample.set_data(dict(seg_logits=PixelData(data=logits)))
        sample.set_data(dict(pred_sem_seg=PixelData(data=logits.argmax(0, keepdim=True))))
        return [sample]


def sample_of(name: str) -> SegDataSample:
    return SegDataSample(metainfo=dict(img_path=name))


def test_views_are_averaged_as_probabilities():
    """Two views say class 0 with probability 0.55, one class 1 with 0.9: the mean says class 1."""
    weak, strong = torch.logit(torch.tensor([0.55, 0.1]))
    views = [torch.full((3, 4, 4), float(x)) for x in (weak, weak, strong)]
    data = dict(inputs=views, data_samples=[sample_of("a") for _ in views])
    (merged,) = ByBrightness().test_step(views_of_one_picture([data]))
    assert merged.pred_sem_seg.data.shape == (1, 2, 2)
    assert (merged.pred_sem_seg.data == 1).all()
    (single,) = ByBrightness().test_step(dict(inputs=views[:1], data_samples=[sample_of("a")]))
    assert (single.pred_sem_seg.data == 0).all()


def test_views_of_several_pictures_are_refused():
    views = [torch.zeros(3, 4, 4)] * 2
    with pytest.raises(ValueError, match="2 images"):
        ByBrightness().test_step(dict(inputs=views, data_samples=[sample_of("a"), sample_of("b")]))
    with pytest.raises(ValueError, match="batch_size=1"):
        views_of_one_picture([{}, {}])


def test_multi_scale_config_has_six_scales_and_their_mirror_images():
    cfg = load_config(SEG / "upernet_vit_base_ade20k_ms.py")
    assert cfg.model.type is MultiScaleSegmentor or "MultiScaleSegmentor" in str(cfg.model.type)
    scales, flips = cfg.test_dataloader.dataset.pipeline[1]["transforms"][:2]
    assert [step["scale"] for step in scales] == [512, 512, 512, 640, 768, 896]
    assert [step["prob"] for step in flips] == [0.0, 1.0]
