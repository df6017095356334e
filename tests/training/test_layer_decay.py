"""Parameter groups beside timm's, and beside the closed form of the paper's code."""

import pytest
import timm
import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper, build_optim_wrapper
from mmengine.optim.optimizer import amp_optimizer_wrapper
from timm.layers import LayerNorm2d
from timm.optim import param_groups_layer_decay
from torch import nn

from mae_bench.models import VisionTransformer
from mae_bench.training.layer_decay import LayerDecayConstructor, parameter_groups

DEPTH, WIDTH, CLASSES = 12, 32, 5
DECAY, LR, WEIGHT_DECAY = 0.65, 0.1, 0.05


class Classifier(nn.Module):
    """A ViT and a linear head, the least that has a ``backbone``."""

    def __init__(self, **options) -> None:
        super().__init__()
        self.backbone = VisionTransformer(
            arch=dict(embed_dim=WIDTH, depth=DEPTH, num_heads=4),
            img_size=16,
            patch_size=4,
            **{"output": "mean", **options},
        )
        self.head = nn.Linear(WIDTH, CLASSES)


def settings_by_name(model: nn.Module, groups: list[dict]) -> dict[str, tuple[float, float]]:
    """(lr scale, weight decay) of each parameter name; every parameter must occur once."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    found: dict[str, tuple[float, float]] = {}
    for group in groups:
        for parameter in group["params"]:
            assert names[parameter] not in found
            found[names[parameter]] = (group["lr_scale"], group["weight_decay"])
    return found


@pytest.mark.parametrize("no_decay", [(), ("pos_embed", "cls_token")])
def test_same_groups_as_timm(no_decay):
    ours = Classifier()
    theirs = timm.models.VisionTransformer(
        img_size=16,
        patch_size=4,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=4,
        num_classes=CLASSES,
        global_pool="avg",
    )
    expected = settings_by_name(
        theirs,
        param_groups_layer_decay(
            theirs,
            weight_decay=WEIGHT_DECAY,
            no_weight_decay_list=no_decay,
            layer_decay=DECAY,
        ),
    )
    groups = parameter_groups(ours, LR, WEIGHT_DECAY, DECAY, no_decay)
    found = {
        name.removeprefix("backbone."): value
        for name, value in settings_by_name(ours, groups).items()
    }
    assert found.keys() == expected.keys()
    for name, (scale, weight_decay) in expected.items():
        assert found[name] == (pytest.approx(scale), weight_decay), name


def test_closed_form():
    model = Classifier()
    found = settings_by_name(model, parameter_groups(model, LR, WEIGHT_DECAY, DECAY))
    scales = {name: scale for name, (scale, _) in found.items()}
    assert scales["head.weight"] == scales["head.bias"] == 1
    assert scales["backbone.fc_norm.weight"] == 1
    for block in range(DEPTH):
        expected = pytest.approx(DECAY ** (DEPTH - block))
        assert scales[f"backbone.blocks.{block}.attn.qkv.weight"] == expected
        assert scales[f"backbone.blocks.{block}.norm2.bias"] == expected
    for name in ("cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"):
        # 0.65 ** 13, the scale of ViT-B's embeddings in the paper's recipe
        assert scales[f"backbone.{name}"] == pytest.approx(3.6972e-3, rel=1e-4)


def test_weight_decay_only_where_it_belongs():
    model = Classifier()
    for name, (_, decay) in settings_by_name(
        model, parameter_groups(model, LR, WEIGHT_DECAY)
    ).items():
        bias_or_norm = name.endswith(".bias") or "norm" in name
        assert decay == (0.0 if bias_or_norm else WEIGHT_DECAY), name


class Detector(Classifier):
    """With the norms of both detectors: GroupNorm, BatchNorm, and LayerNorm over channels."""

    def __init__(self) -> None:
        super().__init__(output="maps", out_indices=(11,))
        self.neck = nn.Sequential(nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4), nn.BatchNorm2d(4))
        self.rpn = nn.Sequential(nn.Conv2d(4, 4, 1), LayerNorm2d(4))


@pytest.mark.parametrize("exempt", ["norms", "named"])
def test_weight_decay_of_detectron2(exempt):
    """By its rules: norms of PyTorch's own classes where they are exempt; all biases decay."""
    model = Detector()
    groups = parameter_groups(model, LR, WEIGHT_DECAY, DECAY, ("pos_embed",), exempt)
    for name, (_, decay) in settings_by_name(model, groups).items():
        norm = "norm" in name or name.startswith(("neck.1", "neck.2"))
        spared = name.endswith("pos_embed") or (norm and exempt == "norms")
        assert decay == (0.0 if spared else WEIGHT_DECAY), name
    with pytest.raises(ValueError, match="exempt='norm' is not one of"):
        parameter_groups(model, LR, WEIGHT_DECAY, exempt="norm")


def test_relative_position_tables_can_be_exempt():
    model = Classifier(output="maps", out_indices=(11,), rel_pos_bias="per_block")
    name = "backbone.blocks.3.attn.rel_pos_bias.relative_position_bias_table"
    plain = settings_by_name(model, parameter_groups(model, LR, WEIGHT_DECAY, DECAY))
    exempt = settings_by_name(
        model,
        parameter_groups(model, LR, WEIGHT_DECAY, DECAY, ("relative_position_bias_table",)),
    )
    assert plain[name] == (pytest.approx(DECAY ** (DEPTH - 3)), WEIGHT_DECAY)
    assert exempt[name] == (pytest.approx(DECAY ** (DEPTH - 3)), 0.0)


def test_learning_rate_is_the_scaled_one_and_nothing_is_grouped_twice():
    model = Classifier()
    groups = parameter_groups(model, LR, WEIGHT_DECAY, DECAY)
    for group in groups:
        assert group["lr"] == pytest.approx(LR * group["lr_scale"])
    kinds = [(group["lr_scale"], group["weight_decay"]) for group in groups]
    assert len(kinds) == len(set(kinds)) == 2 * (DEPTH + 2)


def test_frozen_parameters_are_left_out():
    model = Classifier(output="class_token", frozen=True)
    found = settings_by_name(model, parameter_groups(model, LR, WEIGHT_DECAY))
    assert found == {"head.weight": (1.0, WEIGHT_DECAY), "head.bias": (1.0, 0.0)}


def test_layer_decay_needs_layers():
    model = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"layer_decay=0.65: Sequential has no backbone"):
        parameter_groups(model, LR, WEIGHT_DECAY, DECAY)
    with pytest.raises(ValueError, match="Linear lacks embed_dim, .*, layer_id: see docs/backb"):
        parameter_groups(nn.ModuleDict({"backbone": model[0]}), LR, WEIGHT_DECAY, DECAY)
    assert len(parameter_groups(model, LR, WEIGHT_DECAY)) == 2


@pytest.mark.filterwarnings("ignore:torch.cuda.amp.GradScaler")
@pytest.mark.parametrize(
    ("kind", "options", "wrapper"),
    [
        ("OptimWrapper", {}, OptimWrapper),
        ("AmpOptimWrapper", {"dtype": "bfloat16"}, AmpOptimWrapper),
    ],
)
def test_through_mmengine(kind, options, wrapper, monkeypatch):
    # MMEngine refuses mixed precision without a GPU; the groups are made on the CPU all the same.
    monkeypatch.setattr(amp_optimizer_wrapper, "is_cuda_available", lambda: True)
    model = Classifier()
    built = build_optim_wrapper(
        model,
        dict(
            type=kind,
            constructor=LayerDecayConstructor,
            paramwise_cfg=dict(layer_decay=DECAY),
            optimizer=dict(type="AdamW", lr=LR, weight_decay=WEIGHT_DECAY),
            accumulative_counts=2,
            **options,
        ),
    )
    assert type(built) is wrapper
    assert type(built.optimizer) is torch.optim.AdamW
    assert settings_by_name(model, built.optimizer.param_groups) == settings_by_name(
        model, parameter_groups(model, LR, WEIGHT_DECAY, DECAY)
    )


def test_constructor_by_name_and_wrapped_model():
    class Wrapper(nn.Module):
        """Stands for DistributedDataParallel."""

        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

    from mmengine.registry import MODEL_WRAPPERS

    MODEL_WRAPPERS.register_module(name="TestWrapper", module=Wrapper)
    try:
        model = Classifier()
        built = build_optim_wrapper(
            Wrapper(model),
            dict(
                constructor="mae_bench.LayerDecayConstructor",
                paramwise_cfg=dict(layer_decay=DECAY),
                optimizer=dict(type="SGD", lr=LR),
            ),
        )
    finally:
        MODEL_WRAPPERS.module_dict.pop("TestWrapper")
    lowest = min(group["lr"] for group in built.optimizer.param_groups)
    assert lowest == pytest.approx(LR * DECAY ** (DEPTH + 1))


def test_unknown_key_is_refused():
    config = dict(
        constructor=LayerDecayConstructor,
        paramwise_cfg=dict(layer_decay_rate=0.65),
        optimizer=dict(type="SGD", lr=LR),
    )
    with pytest.raises(ValueError, match=r"layer_decay_rate.*'layer_decay', 'no_decay'"):
        build_optim_wrapper(Classifier(), config)
