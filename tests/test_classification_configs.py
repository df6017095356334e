"""The values of the classification configs beside the published tables, typed in from those."""

import ast
import re
from pathlib import Path

import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS, init_default_scope
from timm.optim import param_groups_layer_decay

from .recipes import load_recipe

ROOT = Path(__file__).parents[1]
CLS = ROOT / "configs/cls"
OWN = sorted(
    [*CLS.glob("vit_*_in1k.py"), *CLS.glob("vit_*_inat*.py"), *CLS.glob("vit_*_places*.py")]
)

# The authors' FINETUNE.md: epochs, lr at 1024, layer decay, drop path, erasing.
COMMANDS = {
    "base": (100, 2e-3, 0.65, 0.1, 0.25),
    "large": (50, 4e-3, 0.75, 0.2, 0.25),
    "huge": (50, 4e-3, 0.75, 0.3, 0.25),
    "huge_448": (50, 4e-3, 0.75, 0.3, 0.25),
}
# Table 9: the same columns.
TABLE_9 = {
    "base": (100, 4e-3, 0.75, 0.1, 0.0),
    "large": (50, 4e-3, 0.75, 0.1, 0.0),
    "huge": (50, 4e-3, 0.75, 0.2, 0.0),
    "huge_448": (50, 4e-3, 0.75, 0.2, 0.0),
}
# Table 11: epochs, lr at 4096, drop path.
TABLE_11 = {"base": (300, 1.6e-3, 0.1), "large": (200, 1.6e-3, 0.2), "huge": (200, 1.6e-3, 0.2)}
# Width, depth, patch and parameters in millions (Table 12 for B, L and H).
MODEL = {"base": (768, 12, 16, 86), "large": (1024, 24, 16, 304), "huge": (1280, 32, 14, 632)}
CLASSES = {"inat2017": 5089, "inat2018": 8142, "inat2019": 1010, "places205": 205, "places365": 365}


def load(name: str) -> Config:
    return load_recipe(f"cls/{name}")


def build(cfg: Config) -> torch.nn.Module:
    init_default_scope(cfg.default_scope)
    with torch.device("meta"):
        return MODELS.build(cfg.model)


def groups(cfg: Config, model: torch.nn.Module) -> list[dict]:
    cfg.optim_wrapper.optimizer.pop("fused", None)
    return build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups


def peak(cfg: Config, batch: int) -> float:
    return cfg.optim_wrapper.optimizer.lr * batch / cfg.auto_scale_lr.base_batch_size


def check_fine_tuning(cfg: Config, size: str, epochs, lr, decay, drop_path, erase) -> None:
    assert cfg.train_cfg.max_epochs == epochs
    assert peak(cfg, 1024) == pytest.approx(lr)
    assert cfg.param_scheduler[0].warmup == 5
    # The floor, for the head; the schedule scales it with each layer.
    assert cfg.param_scheduler[0].min_lr == 1e-6
    assert cfg.optim_wrapper.paramwise_cfg.layer_decay == decay
    assert cfg.optim_wrapper.optimizer.weight_decay == 0.05
    model = build(cfg)
    width, depth, patch, _ = MODEL[size.removesuffix("_448")]
    backbone = model.backbone
    assert (backbone.embed_dim, backbone.num_layers, backbone.patch_size) == (width, depth, patch)
    rates = [getattr(block.drop_path, "p", 0.0) for block in backbone.blocks]
    assert rates == pytest.approx(torch.linspace(0, drop_path, depth).tolist(), abs=1e-6)
    side = 448 if size == "huge_448" else 224
    assert backbone.grid == (side // patch, side // patch)
    augment = model.data_preprocessor.batch_augments.augments[0]
    assert augment.erase_prob == erase
    assert (augment.mix.mixup_alpha, augment.mix.cutmix_alpha) == (0.8, 1.0)
    assert (augment.mix.mix_prob, augment.mix.switch_prob, augment.mix.mode) == (1, 0.5, "batch")
    loss = model.head.loss_module
    assert (loss.label_smooth_val, loss.mode) == (0.1, "original")
    assert (cfg.train_dataloader.batch_size % 2, cfg.train_dataloader.drop_last) == (0, True)
    sizes = [step.get("size") for step in cfg.train_dataloader.dataset.pipeline]
    assert side in sizes


@pytest.mark.parametrize("size", COMMANDS)
def test_command_line(size):
    check_fine_tuning(load(f"vit_{size}_finetune_in1k"), size, *COMMANDS[size])


@pytest.mark.parametrize("size", TABLE_9)
def test_table_9(size):
    check_fine_tuning(load(f"vit_{size}_finetune_table9_in1k"), size, *TABLE_9[size])


@pytest.mark.parametrize("size", COMMANDS)
@pytest.mark.parametrize("data", CLASSES)
def test_transfer(data, size):
    cfg = load(f"vit_{size}_finetune_{data}")
    # Appendix A.5 follows Table 9, but for lr and epochs: proposals, those of Table 9 and 100.
    check_fine_tuning(cfg, size, 100, *TABLE_9[size][1:])
    places = [cfg.model.head, cfg.model.data_preprocessor]
    places += [cfg[loader].dataset for loader in ("train_dataloader", "val_dataloader")]
    places.append(cfg.test_dataloader.dataset)
    assert {place.num_classes for place in places} == {CLASSES[data]}
    assert cfg.train_dataloader.dataset.ann_file != cfg.val_dataloader.dataset.ann_file


@pytest.mark.parametrize("size", MODEL)
@pytest.mark.parametrize(("kind", "optimizer"), [("linear", "LARS"), ("linear_sgd", "SGD")])
def test_table_10(size, kind, optimizer):
    cfg = load(f"vit_{size}_{kind}_in1k")
    assert cfg.train_cfg.max_epochs == 90 and cfg.param_scheduler[0].warmup == 10
    assert cfg.param_scheduler[0].min_lr == 0
    assert peak(cfg, 16384) == pytest.approx(6.4)
    model = build(cfg)
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {
        "head.fc.weight",
        "head.fc.bias",
    }
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    assert type(wrapper.optimizer).__name__ == optimizer
    assert {(g["weight_decay"], g["momentum"]) for g in wrapper.optimizer.param_groups} == {
        (0, 0.9)
    }
    assert model.backbone.output == "class_token" and model.head.norm.eps == 1e-6
    parameters = sum(p.numel() for p in model.backbone.parameters())
    assert parameters / 1e6 == pytest.approx(MODEL[size][3], rel=0.01)


@pytest.mark.parametrize("size", ["base", "large"])
def test_attentive_probing(size):
    """The logs of Psomas et al. 2026 have the batch, the base rate and the trained parameters."""
    cfg = load_recipe("cls/vit_base_attentive_in1k", {"model.backbone.arch": size})
    assert cfg.train_cfg.max_epochs == 90 and cfg.param_scheduler[0].warmup == 10
    assert cfg.total_batch_size == 4096 and peak(cfg, 4096) == pytest.approx(1.6)
    model = build(cfg)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == {"base": 1_383_400, "large": 2_106_344}[size]
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    assert type(wrapper.optimizer).__name__ == "LARS"
    assert {(g["weight_decay"], g["momentum"]) for g in wrapper.optimizer.param_groups} == {
        (0, 0.9)
    }


@pytest.mark.parametrize("size", TABLE_11)
def test_table_11(size):
    cfg = load(f"vit_{size}_scratch_in1k")
    epochs, lr, drop_path = TABLE_11[size]
    assert cfg.train_cfg.max_epochs == epochs and cfg.param_scheduler[0].warmup == 20
    assert peak(cfg, 4096) == pytest.approx(lr)
    assert tuple(cfg.optim_wrapper.optimizer.betas) == (0.9, 0.95)
    assert cfg.model.backbone.drop_path_rate == drop_path
    assert cfg.custom_hooks[0].decay == 0.9999
    assert cfg.model.train_cfg.augments.erase_prob == 0
    # No layer decay: one rate for all.
    found = {(g["lr"], g["weight_decay"]) for g in groups(cfg, build(cfg))}
    assert found == {(1e-4, 0.3), (1e-4, 0.0)}


@pytest.mark.parametrize("size", MODEL)
def test_layer_decay_of_the_real_sizes_is_that_of_timm(size):
    cfg = load(f"vit_{size}_finetune_in1k")
    width, depth, patch, _ = MODEL[size]
    with torch.device("meta"):
        theirs = timm.models.VisionTransformer(
            patch_size=patch, embed_dim=width, depth=depth, num_heads=16, global_pool="avg"
        )
    decay = COMMANDS[size][2]
    expected = {
        parameter: (group["lr_scale"], group["weight_decay"])
        for group in param_groups_layer_decay(
            theirs, 0.05, no_weight_decay_list=("pos_embed", "cls_token"), layer_decay=decay
        )
        for parameter in group["params"]
    }
    named = {name: expected[parameter] for name, parameter in theirs.named_parameters()}
    model = build(cfg)
    found = {p: (g["lr_scale"], g["weight_decay"]) for g in groups(cfg, model) for p in g["params"]}
    ours = {n.removeprefix("backbone."): found[p] for n, p in model.named_parameters()}
    ours = {name.replace("head.fc.", "head."): value for name, value in ours.items()}
    assert ours.keys() == named.keys()
    for name, (scale, weight_decay) in named.items():
        assert ours[name] == (pytest.approx(scale), weight_decay), name
    assert ours["patch_embed.proj.weight"][0] == pytest.approx(decay ** (depth + 1))


@pytest.mark.filterwarnings("ignore:Detected call of `scheduler.step")
def test_floor_of_the_schedule_is_scaled_with_the_layer():
    """At the end of ViT-B's command the head has 1e-6, the embeddings 0.65 ** 13 of it."""
    cfg = load("vit_base_finetune_in1k")
    model = build(cfg)
    cfg.optim_wrapper.optimizer.pop("fused", None)
    cfg.optim_wrapper.optimizer.lr = 2e-3
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    scheduler = PARAM_SCHEDULERS.build(
        cfg.param_scheduler[0], default_args=dict(optimizer=wrapper, epoch_length=1, end=100)
    )
    for _ in range(100):
        scheduler.step()
    rates = sorted({group["lr"] for group in wrapper.optimizer.param_groups})
    assert rates == pytest.approx([1e-6 * 0.65**i for i in range(13, -1, -1)])


@pytest.mark.parametrize(
    ("name", "std"),
    [
        ("vit_base_finetune_in1k", 2e-5),
        ("vit_huge_448_finetune_table9_in1k", 2e-5),
        ("vit_large_partial_in1k", 2e-5),
        ("vit_base_linear_in1k", 0.01),
        ("vit_large_linear_sgd_in1k", 0.01),
    ],
)
def test_head_starts_small(name, std):
    cfg = load(name)
    # As MMEngine's runner initialises it, but with one block.
    cfg.model.backbone.arch = dict(embed_dim=cfg.model.head.in_channels, depth=1, num_heads=16)
    if "trainable_blocks" in cfg.model.backbone:
        cfg.model.backbone.trainable_blocks = 1
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    model.init_weights()
    assert model.head.fc.weight.std().item() == pytest.approx(std, rel=0.01)
    assert not model.head.fc.bias.any()


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_docstring_has_sources_and_unknowns_and_a_page_names_the_config(path):
    text = ast.get_docstring(ast.parse(path.read_text()))
    assert "UNKNOWN" in text
    assert re.search(r"Sources|as in\s+vit_base_robustness", text)
    pages = [ROOT / "docs/classification.md", ROOT / "docs/robustness.md", ROOT / "docs/frozen.md"]
    pages += [*(ROOT / "docs/tables").glob("*.md")]
    families = r"finetune_(inat|places)|linear_sgd"  # named by a pattern of the page
    assert any(path.name in page.read_text() for page in pages) or re.search(families, path.stem)
