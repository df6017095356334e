"""Transfer into a backbone, against timm, torch and tables written out by hand."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import DefaultScope
from safetensors.torch import save_file
from scipy.interpolate import RectBivariateSpline
from timm.models.vision_transformer import VisionTransformer as TimmVisionTransformer
from torch import nn

from mae_bench.checkpoint.format import CheckpointMetadata, load_checkpoint, save_checkpoint
from mae_bench.checkpoint.reader import read_checkpoint
from mae_bench.checkpoint.transfer import PretrainedBackbone, load_backbone
from mae_bench.checkpoint.whole_model import export_model, load_model, start_model
from mae_bench.models import MAE, TimmBackbone, VisionTransformer
from mae_bench.models.position import sincos_position_table
from mae_bench.registry import MODELS

ARCH = dict(embed_dim=16, depth=2, num_heads=2)
BASE = dict(arch=ARCH, img_size=32, patch_size=8, output="tokens")
PIXELS = 3 * 8 * 8


def build(**changes) -> VisionTransformer:
    return VisionTransformer(**{**BASE, **changes})


def noisy(seed: int = 1, **changes) -> VisionTransformer:
    """A backbone whose every value is noise, so that nothing is equal by initialisation."""
    backbone = build(**changes)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return backbone


def describe(**changes) -> CheckpointMetadata:
    architecture = {**BASE, **changes}
    return CheckpointMetadata(
        architecture=architecture,
        img_size=architecture["img_size"],
        patch_size=architecture["patch_size"],
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        method="mae",
        data="noise",
    )


def snapshot(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_untouched(module: nn.Module, before: dict[str, torch.Tensor]) -> None:
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name


def holder(backbone: nn.Module) -> nn.Module:
    """A model that is nothing but its backbone."""
    return nn.ModuleDict({"backbone": backbone})


@pytest.fixture
def exported(tmp_path):
    """Export a noisy backbone; returns the path and the backbone."""

    def export(**changes):
        source = noisy(**changes)
        path = tmp_path / "c.safetensors"
        export_model(holder(source), path, describe(**changes))
        return path, source

    return export


def test_same_architecture_is_copied_bit_exactly(exported):
    path, source = exported()
    target = build()
    report = load_backbone(target, path)
    assert_untouched(target, source.state_dict())
    assert report.checkpoint == str(path)
    assert set(report.loaded) == set(source.state_dict())
    assert report.resized == report.dropped == report.initialised == []
    assert report.share == 1.0


def test_positions_that_are_a_map_go_through_a_file(tmp_path):
    """SAM's, (1, rows, columns, D), which nothing here resizes."""
    options = dict(patch_size=8, embed_dim=16, depth=2, num_heads=2, global_attn_indexes=(1,))
    source, target = (
        TimmBackbone("samvit_base_patch16", 32, "mean", model_kwargs=options) for _ in range(2)
    )
    assert source.net.pos_embed.shape == (1, 4, 4, 16)
    export_model(holder(source), tmp_path / "c.safetensors", describe())
    report = load_backbone(target, tmp_path / "c.safetensors")
    assert_untouched(target, source.state_dict())
    assert report.share == 1.0 and report.resized == []


def test_stride_of_the_maps_is_no_size_of_a_kernel(tmp_path):
    """PVT v2 embeds patches of 7 pixels every 4."""
    options = dict(depths=(1,) * 4, embed_dims=(8,) * 4, num_heads=(1,) * 4)
    source = TimmBackbone("pvt_v2_b0", output="mean", model_kwargs=options)
    assert source.state_dict()["patch_embed.proj.weight"].shape == (8, 3, 7, 7)
    export_model(holder(source), tmp_path / "c.safetensors", describe(patch_size=4))
    with pytest.raises(ValueError, match="metadata says patch_size 8, the backbone has 4"):
        export_model(holder(source), tmp_path / "d.safetensors", describe(patch_size=8))


def test_timm_loads_our_file_and_gives_the_same_features(exported):
    path, source = exported()
    tensors, _ = load_checkpoint(path)
    timm_model = TimmVisionTransformer(
        img_size=32, patch_size=8, num_classes=0, embed_dim=16, depth=2, num_heads=2
    )
    timm_model.load_state_dict(tensors, strict=True)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = timm_model.eval().forward_features(images)
        (actual,) = source.eval()(images)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_we_load_timms_plain_file(tmp_path):
    timm_model = TimmVisionTransformer(
        img_size=32, patch_size=8, num_classes=5, embed_dim=16, depth=2, num_heads=2
    )
    path = tmp_path / "timm.pth"
    torch.save({"state_dict": timm_model.state_dict(), "epoch": 9}, path)
    target = build(output="class_token")
    report = load_backbone(target, path)
    assert sorted(report.dropped) == ["head.fc.bias", "head.fc.weight"]
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = timm_model.eval().forward_features(images)[:, 0]
        (actual,) = target.eval()(images)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_positions_are_resized_and_the_class_row_kept(exported):
    path, source = exported()
    target = build(img_size=(48, 24))
    report = load_backbone(target, path)
    stored = source.pos_embed.detach()
    image = stored[0, 1:].T.reshape(1, 16, 4, 4)  # (1, D, rows, columns)
    expected = F.interpolate(image, size=(6, 3), mode="bicubic", align_corners=False)
    for row in range(6):
        for column in range(3):
            torch.testing.assert_close(
                target.pos_embed[0, 1 + row * 3 + column], expected[0, :, row, column]
            )
    assert torch.equal(target.pos_embed[:, :1], stored[:, :1])
    assert [tuple(r) for r in report.resized] == [("pos_embed", [1, 17, 16], [1, 19, 16])]
    assert report.share == 1.0
    assert "pos_embed" not in report.loaded


def test_stored_sincos_table_is_resized_in_its_own_order_of_axes(exported):
    """MoCo v3 has rows and columns of MAE's table in the other order: none is made anew."""
    path, source = exported()
    mae = sincos_position_table(16, (4, 4))
    swapped = torch.cat([mae[..., 8:], mae[..., :8]], dim=2)
    for table in (mae, swapped):
        tensors = {**source.state_dict(), "pos_embed": torch.cat([torch.zeros(1, 1, 16), table], 1)}
        target = build(img_size=64)
        load_backbone(target, tensors)
        image = table[0].T.reshape(1, 16, 4, 4)
        expected = F.interpolate(image, size=(8, 8), mode="bicubic", align_corners=False)
        torch.testing.assert_close(target.pos_embed[0, 1:], expected.flatten(2)[0].T)
    made_anew = sincos_position_table(16, (8, 8))
    assert (target.pos_embed[:, 1:] - made_anew).abs().max() > 0.5


def test_oblong_grid_comes_from_the_metadata(exported):
    """(32, 128) has 4 x 16 patches, as many as the 8 x 8 that the count alone suggests."""
    path, source = exported(img_size=(32, 128))
    target = build(img_size=64)
    load_backbone(target, path)
    image = source.pos_embed.detach()[0, 1:].T.reshape(1, 16, 4, 16)
    expected = F.interpolate(image, size=(8, 8), mode="bicubic", align_corners=False)
    torch.testing.assert_close(target.pos_embed[0, 1:], expected.flatten(2)[0].T)
    same = build(img_size=(32, 128))
    assert load_backbone(same, path).resized == []
    assert torch.equal(same.pos_embed, source.pos_embed)


def test_equal_counts_of_other_grids_are_not_mixed_up(exported):
    path, source = exported(img_size=(16, 64))
    target = build(img_size=(64, 16))
    report = load_backbone(target, path)
    image = source.pos_embed.detach()[0, 1:].T.reshape(1, 16, 2, 8)
    expected = F.interpolate(image, size=(8, 2), mode="bicubic", align_corners=False)
    torch.testing.assert_close(target.pos_embed[0, 1:], expected.flatten(2)[0].T)
    assert [r.name for r in report.resized] == ["pos_embed"]


def test_class_token_goes_where_the_backbone_has_none(exported):
    path, source = exported()
    target = build(output="maps", out_indices=[1], class_token=False)
    report = load_backbone(target, path)
    assert torch.equal(target.pos_embed, source.pos_embed[:, 1:])
    assert sorted(report.dropped) == ["cls_token", "norm.bias", "norm.weight"]
    assert [tuple(r) for r in report.resized] == [("pos_embed", [1, 17, 16], [1, 16, 16])]


def test_class_token_that_the_file_lacks_starts_afresh_when_allowed(exported):
    path, source = exported(class_token=False)
    target = build()
    before = snapshot(target)
    with pytest.raises(ValueError, match="the file has no class token: set class_token=False"):
        load_backbone(target, path)
    assert_untouched(target, before)
    report = load_backbone(target, path, allow_unfilled=["cls_token"])
    assert report.initialised == ["cls_token"]
    assert torch.equal(target.cls_token, before["cls_token"])
    assert torch.equal(target.pos_embed[:, :1], before["pos_embed"][:, :1])
    assert torch.equal(target.pos_embed[:, 1:], source.pos_embed)


def test_fc_norm_and_relative_tables_start_afresh(exported):
    path, _ = exported()
    target = build(output="mean", rel_pos_bias="per_block")
    report = load_backbone(target, path)
    table = "attn.rel_pos_bias.relative_position_bias_table"
    assert set(report.initialised) == {
        "fc_norm.weight",
        "fc_norm.bias",
        f"blocks.0.{table}",
        f"blocks.1.{table}",
    }
    assert target.get_parameter(f"blocks.0.{table}").abs().max() == 0
    assert target.fc_norm.weight.tolist() == [1.0] * 16
    # 49 offsets and 3 class-token rows, two heads, two blocks; fc_norm
    fresh = 2 * 52 * 2 + 2 * 16
    total = sum(p.numel() for p in target.parameters())
    assert report.share == pytest.approx(1 - fresh / total)


def expected_relative(table: torch.Tensor, source: int, target: int) -> torch.Tensor:
    """The offsets of a square table, as an image resized so that its corners stay corners."""
    side, new_side = 2 * source - 1, 2 * target - 1
    plane = table[: side**2].T.reshape(1, -1, side, side)
    plane = F.interpolate(plane, size=(new_side, new_side), mode="bicubic", align_corners=True)
    return plane.flatten(2)[0].T


@pytest.mark.parametrize("plain", [False, True])
def test_relative_tables_are_resized(exported, tmp_path, plain):
    path, source = exported(rel_pos_bias="per_block")
    if plain:
        path = tmp_path / "plain.safetensors"
        save_file(source.state_dict(), path)
    target = build(img_size=56, rel_pos_bias="per_block")
    report = load_backbone(target, path)
    name = "blocks.1.attn.rel_pos_bias.relative_position_bias_table"
    stored, actual = source.get_parameter(name).detach(), target.get_parameter(name)
    # Nothing but numbers by hand: offsets 1, 1 + q, 1 + q + q^2 = 6 of the new grid, q = 1.7913,
    # which is more than the 1.5 that BEiT allows.
    places = np.array([1, 2.5, 4.75])
    places = np.concatenate([-places[::-1], [0], places])
    for head in range(2):
        spline = RectBivariateSpline(places, places, stored[:49, head].reshape(7, 7))
        expected = torch.from_numpy(spline(np.arange(-6, 7), np.arange(-6, 7))).float()
        torch.testing.assert_close(
            actual[:-3, head].detach(), expected.flatten(), atol=1e-4, rtol=1e-4
        )
    assert torch.equal(actual[-3:], stored[-3:])
    assert (name, [52, 2], [172, 2]) in [tuple(r) for r in report.resized]


def test_relative_tables_without_the_class_token(exported):
    path, source = exported(rel_pos_bias="shared")
    target = build(
        output="maps",
        out_indices=[1],
        class_token=False,
        rel_pos_bias="shared",
        window_size=2,
        global_blocks=[1],
        img_size=48,
    )
    report = load_backbone(target, path)
    stored = source.rel_pos_bias.relative_position_bias_table.detach()
    actual = target.rel_pos_bias.relative_position_bias_table
    torch.testing.assert_close(actual, expected_relative(stored, 4, 6))
    windowed = target.rel_pos_bias_window.relative_position_bias_table
    torch.testing.assert_close(windowed, expected_relative(stored, 4, 2))
    assert report.initialised == []


def test_windowed_tables_follow_the_window_not_the_image(exported):
    windowed = dict(
        output="maps",
        out_indices=[1],
        class_token=False,
        rel_pos_bias="shared",
        global_blocks=[1],
        img_size=(32, 48),
    )
    path, source = exported(**windowed, window_size=2)
    target = build(**windowed, window_size=3)
    load_backbone(target, path)
    stored = source.rel_pos_bias_window.relative_position_bias_table.detach()
    actual = target.rel_pos_bias_window.relative_position_bias_table
    torch.testing.assert_close(actual, expected_relative(stored, 2, 3))
    assert torch.equal(
        target.rel_pos_bias.relative_position_bias_table,
        source.rel_pos_bias.relative_position_bias_table,
    )


def test_decoder_is_exported_and_dropped(tmp_path):
    mae = MAE(dict(type="VisionTransformer", **BASE), dict(embed_dim=8, depth=1, num_heads=2))
    path = tmp_path / "mae.safetensors"
    export_model(mae, path, describe())
    tensors, _ = load_checkpoint(path)
    assert torch.equal(tensors["decoder.mask_token"], mae.decoder.mask_token)
    assert tensors["decoder.pred.weight"].shape == (PIXELS, 8)
    assert not any(name.startswith("backbone.") for name in tensors)
    report = load_backbone(build(), path)
    decoder = [name for name in tensors if name.startswith("decoder.")]
    assert sorted(report.dropped) == sorted(decoder)
    assert f"decoder ({len(decoder)})" in report.summary()


def test_lower_precision_is_widened(tmp_path):
    halves = {name: value.bfloat16() for name, value in noisy().state_dict().items()}
    target = build()
    load_backbone(target, halves)
    assert target.norm.weight.dtype == torch.float32
    assert torch.equal(target.norm.weight, halves["norm.weight"].float())


def test_report_is_json_and_names_everything(exported):
    path, _ = exported()
    report = load_backbone(build(output="mean", img_size=48), path)
    values = json.loads(json.dumps(report.as_dict()))
    assert values["resized"] == [
        {"name": "pos_embed", "source": [1, 17, 16], "target": [1, 37, 16]}
    ]
    assert values["dropped"] == ["norm.bias", "norm.weight"]
    assert values["initialised"] == ["fc_norm.weight", "fc_norm.bias"]
    assert len(values["loaded"]) == 1 + 2 + 2 * 12  # class token, patch embedding, blocks
    # By hand: patches, class token and two blocks of width 16; 37 positions; norms.
    block = 4 * 16 + 17 * 48 + 17 * 16 + 17 * 64 + 65 * 16
    loaded, resized, norm = PIXELS * 16 + 16 + 16 + 2 * block, 37 * 16, 2 * 16
    total = loaded + resized + norm
    assert values["shares"] == {
        "loaded": pytest.approx(loaded / total),
        "resized": pytest.approx(resized / total),
        "initialised": pytest.approx(norm / total),
        "dropped": pytest.approx(norm / total),  # of the file, whose norm is as large
    }
    assert values["share"] == pytest.approx(1 - norm / total)
    lines = report.summary().splitlines()
    assert lines[0] == (
        f"{path}: 27 tensors loaded (93.9% of the model's parameters), 1 resized (5.8%), "
        "2 left at initialisation (0.3%); 2 dropped (0.3% of the file's)"
    )
    assert lines[1].startswith(
        "  loaded: cls_token (1), patch_embed (2), blocks.*.norm1.weight (2)"
    )
    assert lines[2:] == [
        "  resized: pos_embed (1, 17, 16) -> (1, 37, 16)",
        "  dropped: norm (2)",
        "  left at initialisation: fc_norm (2)",
    ]


def prefixed(prefix: str):
    return lambda state: {f"{prefix}{name}": value for name, value in state.items()}


def without(start: str):
    return lambda state: {k: v for k, v in state.items() if not k.startswith(start)}


def with_entry(name: str, *shape: int):
    return lambda state: {**state, name: torch.zeros(shape)}


def with_deep_decoder(state):
    """A decoder as deep as the model, whose names must not pass for prefixed ones."""
    return {**state, "decoder.blocks.2.norm1.weight": torch.zeros(16)}


# What the file is exported from, what is done to its tensors, the model, and the message.
REFUSED = {
    "prefix backbone.": ({}, prefixed("backbone."), {}, "names in the file start with 'backbone.'"),
    "prefix module.": ({}, prefixed("module."), {}, "'module.': save them without it"),
    "foreign names": (
        {},
        lambda state: {"layers.0.ln1.weight": torch.ones(16)},
        {},
        r"the file has layers\.0\.ln1\.weight: give its tensors timm's names",
    ),
    "block missing": (
        {},
        without("blocks.1.mlp"),
        {},
        r"4 tensors not filled: blocks\.1\.mlp\.fc1\.weight, .* and 1 more",
    ),
    "positions missing": ({}, without("pos_embed"), {}, "not filled: pos_embed"),
    "patches missing": ({}, without("patch_embed"), {}, r"not filled: patch_embed\.proj\.weight"),
    "norm missing": ({}, without("norm"), {}, r"not filled: norm\.weight"),
    "model deeper": (
        {},
        with_deep_decoder,
        dict(arch={**ARCH, "depth": 3}),
        r"12 tensors not filled: blocks\.2\..*; checkpoint is depth 2, model 3",
    ),
    "model shallower": (
        {},
        None,
        dict(arch={**ARCH, "depth": 1}),
        r"no place for blocks\.1\..*; checkpoint is depth 2, model 1",
    ),
    "model narrower": (
        {},
        None,
        dict(arch={**ARCH, "embed_dim": 8}),
        r"cls_token is \(1, 1, 16\), model needs \(1, 1, 8\); checkpoint is embed_dim 16, model 8",
    ),
    "other patches": (
        {},
        None,
        dict(patch_size=16),
        r"patch_embed\.proj\.weight is \(16, 3, 8, 8\), model needs \(16, 3, 16, 16\); "
        "checkpoint is patch_size 8, model 16",
    ),
    "other heads": (
        {},
        None,
        dict(arch={**ARCH, "num_heads": 4}),
        "checkpoint has num_heads 2, model 4",
    ),
    "layer scale": (
        {},
        with_entry("blocks.0.ls1.gamma", 8),
        {},
        r"blocks\.0\.ls1\.gamma is \(8,\), of another width",
    ),
    "register tokens": ({}, with_entry("reg_token", 1, 4, 16), {}, "no place for reg_token"),
    "bias tables": (
        dict(rel_pos_bias="shared"),
        None,
        {},
        r"no place for rel_pos_bias\.relative_position_bias_table",
    ),
    "metadata of another grid": (
        {},
        with_entry("pos_embed", 1, 20, 16),
        {},
        r"pos_embed has 20 rows, the grid \(4, 4\) of the metadata needs 16",
    ),
    "bias tables of no grid": (
        dict(rel_pos_bias="shared"),
        with_entry("rel_pos_bias.relative_position_bias_table", 40, 2),
        dict(rel_pos_bias="shared"),
        "relative_position_bias_table has 40 rows, which is no square grid",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_name_the_cause_and_change_nothing(tmp_path, case):
    stored, change, wanted, match = REFUSED[case]
    state = noisy(**stored).state_dict()
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, change(state) if change else state, describe(**stored))
    target = build(**wanted)
    before = snapshot(target)
    with pytest.raises(ValueError, match=match) as caught:
        load_backbone(target, path)
    assert_untouched(target, before)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).endswith("; the model was not changed")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("stored", "wanted", "match"),
    [
        (dict(img_size=(32, 24)), {}, "pos_embed has 13 rows, which is no square grid"),
        (dict(img_size=(16, 64)), dict(img_size=(16, 64)), r"of the grid \(4, 4\) or of \(2, 8\)"),
    ],
)
def test_plain_tensors_of_an_uncertain_grid_are_refused(stored, wanted, match):
    target = build(**wanted)
    before = snapshot(target)
    with pytest.raises(ValueError, match=match):
        load_backbone(target, noisy(**stored).state_dict())
    assert_untouched(target, before)


def test_allowed_modules_keep_their_initialisation(exported):
    path, source = exported()
    target = build(patch_size=16, img_size=64)
    before = snapshot(target)
    report = load_backbone(target, path, allow_unfilled=["patch_embed.proj.weight", "norm"])
    assert report.initialised == report.dropped == ["patch_embed.proj.weight"]
    assert torch.equal(target.patch_embed.proj.weight, before["patch_embed.proj.weight"])
    assert torch.equal(target.patch_embed.proj.bias, source.patch_embed.proj.bias)
    with pytest.raises(ValueError, match="no tensor or module named 'patch_embd'"):
        load_backbone(target, path, allow_unfilled=["patch_embd"])


@pytest.mark.parametrize(
    ("changes", "match"),
    [(dict(patch_size=4), "says patch_size 4, the backbone has 8"), (dict(img_size=64), "17 rows")],
)
def test_export_refuses_metadata_of_another_backbone(tmp_path, changes, match):
    with pytest.raises(ValueError, match=match):
        export_model(holder(build()), tmp_path / "c.safetensors", describe(**changes))
    assert not list(tmp_path.iterdir())


class Detector(BaseModel):
    """A model whose own init_cfg overwrites every linear layer before its children load."""

    def __init__(self, backbone: dict) -> None:
        super().__init__(init_cfg=dict(type="Constant", layer=["Linear", "LayerNorm"], val=9.0))
        self.backbone = MODELS.build(backbone)
        self.head = nn.Linear(16, 3)

    def forward(self, inputs, data_samples=None, mode="tensor"):
        return self.head(self.backbone(inputs)[0])


def test_mmengine_loads_after_every_other_initialisation(exported):
    path, source = exported()
    config = dict(type="mae_bench.VisionTransformer", **BASE)
    config["init_cfg"] = dict(type="mae_bench.PretrainedBackbone", checkpoint=str(path))
    model = Detector(config)
    model.init_weights()
    assert_untouched(model.backbone, source.state_dict())
    assert model.head.weight.unique().tolist() == [9.0]
    assert model.backbone.loading_report.share == 1.0
    model.init_weights()  # a second call, as of a runner, must not start over
    assert_untouched(model.backbone, source.state_dict())


def test_mmpretrain_classifier_loads_under_its_own_scope(exported):
    path, source = exported()
    import mmpretrain.models  # noqa: F401  (registers ImageClassifier)

    config = dict(
        type="mmpretrain.ImageClassifier",
        backbone=dict(
            type="mae_bench.VisionTransformer",
            **{**BASE, "output": "mean"},
            init_cfg=dict(type="mae_bench.PretrainedBackbone", checkpoint=str(path)),
        ),
        head=dict(type="LinearClsHead", in_channels=16, num_classes=4),
        init_cfg=[dict(type="TruncNormal", layer="Linear", std=0.02)],
    )
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = ROOT_MODELS.build(config)
        model.init_weights()
    stored = source.state_dict()
    for name, value in model.backbone.state_dict().items():
        if not name.startswith("fc_norm"):
            assert torch.equal(value, stored[name]), name
    assert model.backbone.loading_report.initialised == ["fc_norm.weight", "fc_norm.bias"]


def test_init_cfg_on_the_whole_model_is_refused(exported):
    path, _ = exported()
    model = nn.Module()
    model.backbone = build()
    with pytest.raises(ValueError, match="in the model start with 'backbone': load into that"):
        PretrainedBackbone(path)(model)


def test_whole_model_round_trip(tmp_path):
    config = dict(type="VisionTransformer", **BASE)
    source, target = Detector(config), Detector(config)
    path = tmp_path / "c.safetensors"
    export_model(source, path, describe())
    report = load_model(target, path)
    assert_untouched(target, source.state_dict())
    assert report.share == 1.0 and "head.weight" in report.loaded
    assert target.backbone.loading_report is report
    # The same file serves as initialisation, without its head.
    assert load_backbone(build(), path).dropped == ["head.bias", "head.weight"]


def test_whole_model_refuses_another_model(tmp_path):
    config = dict(type="VisionTransformer", **BASE)
    source, path = Detector(config), tmp_path / "c.safetensors"
    source.neck = nn.Linear(2, 2)
    export_model(source, path, describe())
    target = Detector(config)
    before = snapshot(target)
    with pytest.raises(ValueError, match=r"lacks nothing; has besides neck\.bias, neck\.weight"):
        load_model(target, path)
    target.neck = nn.Linear(3, 2)
    before = snapshot(target)
    with pytest.raises(ValueError, match=r"neck\.weight is \(2, 2\), model needs \(2, 3\)"):
        load_model(target, path)
    assert_untouched(target, before)


def classifier(classes: int, seed: int, **backbone) -> Detector:
    model = Detector(dict(type="VisionTransformer", **{**BASE, **backbone}))
    model.head = nn.Linear(16, classes)
    model.neck = nn.Linear(16, 16)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


def test_whole_model_of_other_heads_is_refused_in_a_test(tmp_path):
    """Heads show in no shape: the metadata's number counts."""
    source, path = classifier(3, 0), tmp_path / "c.safetensors"
    export_model(source, path, describe())
    target = classifier(3, 1, arch={**ARCH, "num_heads": 4})
    with pytest.raises(ValueError, match="checkpoint has num_heads 2, model 4"):
        load_model(target, path)


def test_whole_model_starts_another_with_other_classes(tmp_path):
    source, path = classifier(3, 0), tmp_path / "c.safetensors"
    export_model(source, path, describe())
    target = classifier(5, 1, img_size=48)
    head = target.head.weight.clone()
    report = start_model(target, path)
    assert torch.equal(target.neck.weight, source.neck.weight)
    assert torch.equal(target.backbone.cls_token, source.backbone.cls_token)
    assert torch.equal(target.head.weight, head)
    assert [entry.name for entry in report.resized] == ["backbone.pos_embed"]
    assert report.initialised == ["head.weight", "head.bias"]
    assert "another number of classes: head.weight (3, 16) -> (5, 16)" in report.summary()
    same = classifier(3, 1)
    assert start_model(same, path).share == 1.0
    assert_untouched(same, source.state_dict())


def test_parts_that_a_file_lacks_stay_and_those_of_another_structure_are_refused(tmp_path):
    source, path = classifier(3, 0), tmp_path / "c.safetensors"
    del source.neck
    export_model(source, path, describe())
    target = classifier(3, 1)
    assert start_model(target, path).initialised == ["neck.weight", "neck.bias"]
    target.head = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 3))
    before = snapshot(target)
    with pytest.raises(ValueError, match=r"its head is of another structure: lacks head\.0\."):
        start_model(target, path)
    target.head = nn.Linear(8, 3)
    with pytest.raises(ValueError, match=r"head\.weight is \(3, 16\), model needs \(3, 8\)"):
        start_model(target, path)
    target.head = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 3))
    assert_untouched(target.backbone, {k[9:]: v for k, v in before.items() if k[:9] == "backbone."})


def test_training_state_and_mmengines_average(tmp_path):
    """What MMEngine saves of a model is read like its export; with EMAHook the average comes."""
    source, average = classifier(3, 0), classifier(3, 1)
    content = dict(meta=dict(epoch=2), state_dict=source.state_dict(), optimizer={"state": {}})
    path = tmp_path / "epoch_2.pth"
    torch.save(content, path)
    target = classifier(3, 2)
    assert load_model(target, path).share == 1.0
    assert_untouched(target, source.state_dict())
    backbone = build()
    assert load_backbone(backbone, path).share == 1.0
    assert torch.equal(backbone.cls_token, source.backbone.cls_token)
    plain = {f"module.{name}": value for name, value in source.state_dict().items()}
    plain["steps"] = torch.ones(())
    content |= dict(state_dict=average.state_dict(), ema_state_dict=plain)
    torch.save(content, path)
    report = load_model(target, path)
    assert_untouched(target, average.state_dict())
    assert report.notes == [
        "read with --key state_dict",
        "took the average of the weights (EMA)",
        "has plain weights too: --key ema_state_dict --prefix module.",
    ]
    backbone = build()
    load_backbone(backbone, read_checkpoint(path, key="ema_state_dict"))
    assert torch.equal(backbone.cls_token, source.backbone.cls_token)
