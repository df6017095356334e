"""Every pre-training config trains two steps at reduced size, and says what its table says."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from PIL import Image
from safetensors.torch import save_file
from torchvision import transforms
from torchvision.io import write_jpeg

from mae_bench.checkpoint.transfer import load_backbone
from mae_bench.config.load import load_config
from mae_bench.models.dvae import DVAEEncoder
from mae_bench.training.runner import TrainRunner

from .recipes import load_recipe
from .shrink import shrink

FOLDER = Path(__file__).parents[1] / "configs/pretrain"
CONFIGS = sorted(FOLDER.glob("*.py"))


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Six pictures in the layout of ImageNet and MiniWorld, and a tokenizer's file."""
    root = tmp_path_factory.mktemp("world")
    generator = torch.Generator().manual_seed(0)
    for i in range(6):
        path = root / f"data/imagenet/train/n{i % 2}/{i}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = torch.randint(0, 256, (3, 40, 48), dtype=torch.uint8, generator=generator)
        write_jpeg(picture, str(path))
    (root / "data/miniworld").mkdir()
    (root / "data/miniworld/imagenet").symlink_to(root / "data/imagenet")
    torch.manual_seed(0)
    save_file(DVAEEncoder(hidden=4).state_dict(), root / "dvae.safetensors")
    return root


def small(path: Path, work_dir: Path, overrides: dict[str, Any] | None = None) -> Config:
    """The config at reduced size, for two steps."""
    cfg = load_config(path, overrides)
    for part in ("model", "train_dataloader", "custom_hooks"):
        cfg[part] = shrink(cfg[part])
    cfg.total_batch_size = None
    if "DVAETarget" in str(cfg.model.get("target")):
        cfg.model.target.hidden = 4
    cfg.work_dir = str(work_dir)
    cfg.train_dataloader.dataset.indices = 4
    cfg.env_cfg.dist_cfg.backend = "gloo"
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if "Draw" not in str(hook["type"])]
    cfg.param_scheduler[0].end = cfg.train_cfg.max_epochs
    cfg.train_cfg.max_epochs = 1
    cfg.optim_wrapper.optimizer.lr = 1.0  # for steps that show, so early in the warm-up
    return cfg


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_trains_two_steps_at_reduced_size(path, world, tmp_path, monkeypatch):
    monkeypatch.chdir(world)
    runner = TrainRunner.from_cfg(small(path, tmp_path))
    before = {}
    losses = []

    original = runner.model.train_step

    def train_step(data, optim_wrapper):
        if not before:
            before.update({k: v.clone() for k, v in runner.model.state_dict().items()})
        logged = original(data, optim_wrapper)
        losses.append(logged["loss"].item())
        return logged

    runner.model.train_step = train_step
    runner.train()
    assert len(losses) == 2
    assert all(0 < loss < 100 for loss in losses)
    # The rate of the very first step is 0, so it is the second one that moves something.
    after = runner.model.state_dict()
    for name, parameter in runner.model.named_parameters():
        moved = not torch.equal(after[name], before[name])
        assert moved == parameter.requires_grad, name
    # What was exported serves the next task.
    load_backbone(runner.model.backbone, tmp_path / "checkpoint.safetensors")


@pytest.mark.parametrize("accumulation", [1, 2])
def test_rate_follows_the_batch_really_used(accumulation, world, tmp_path, monkeypatch):
    monkeypatch.chdir(world)
    cfg = small(FOLDER / "mae_vit_base_p16.py", tmp_path)
    cfg.optim_wrapper.update(accumulative_counts=accumulation)
    cfg.optim_wrapper.optimizer.lr = 1.5e-4
    runner = TrainRunner.from_cfg(cfg)
    runner.train()
    assert runner.run_card["effective_batch"] == 2 * accumulation
    assert runner.run_card["peak_lr"] == pytest.approx(1.5e-4 * 2 * accumulation / 256)


def test_compilation_is_a_key_of_the_runner(world, tmp_path, monkeypatch):
    monkeypatch.chdir(world)
    losses = []
    for i, overrides in enumerate([{}, {"compile": dict(backend="eager")}]):
        compiled = []
        monkeypatch.setattr(
            torch, "compile", lambda step, seen=compiled, **options: seen.append(options) or step
        )
        path = FOLDER / "mae_vit_base_p16.py"
        runner = TrainRunner.from_cfg(small(path, tmp_path / str(i), overrides))
        runner.train()
        losses.append(runner.message_hub.get_scalar("train/loss").current())
        assert compiled == list(overrides.values())
    assert losses[0] == losses[1]


def test_activation_checkpointing_is_a_key_of_the_runner(world, tmp_path, monkeypatch):
    monkeypatch.chdir(world)
    norms = []
    names = ["backbone.blocks.0", "decoder.blocks.0", "decoder.blocks.1"]
    for i, overrides in enumerate([{}, {"activation_checkpointing": names}]):
        runner = TrainRunner.from_cfg(
            small(FOLDER / "mae_vit_base_p16.py", tmp_path / str(i), overrides)
        )
        runner.train()
        blocks = [runner.model.get_submodule(name) for name in names]
        assert [hasattr(block.forward, "__wrapped__") for block in blocks] == [bool(i)] * 3
        norms.append([parameter.norm().item() for parameter in runner.model.parameters()])
    assert norms[1] == norms[0]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled_steps_are_those_that_are_not(world, tmp_path, monkeypatch):
    monkeypatch.chdir(world)
    losses = []
    for i, overrides in enumerate([{}, {"compile": True}]):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        cfg = small(FOLDER / "mae_vit_base_p16.py", tmp_path / str(i), overrides)
        cfg.optim_wrapper.optimizer.lr = 1e-2
        runner = TrainRunner.from_cfg(cfg)
        runner.train()
        losses.append(runner.message_hub.get_scalar("train/loss").data[0])
        assert bool(torch._dynamo.utils.counters["stats"]["unique_graphs"]) == bool(i)
    assert len(losses[0]) == 2
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


# What the tables of the paper say, by the name of the config.
LARGE_PLAIN = {"backbone.arch": "large", "norm_pix": False, "epochs": 800}
BASE = {
    "backbone.arch": "base",
    "backbone.patch_size": 16,
    "decoder": dict(embed_dim=512, depth=8, num_heads=16),
    "mask_ratio": 0.75,
    "sampling": "random",
    "target": None,
    "encoder_mask_tokens": False,
    "loss_on_all": False,
    "norm_pix": True,
    "epochs": 800,
}
HUGE = {"backbone.arch": "huge", "backbone.patch_size": 14}
SAYS: dict[str, dict[str, Any]] = {
    "mae_vit_base_p16_1600e": {"epochs": 1600},
    "mae_vit_large_p16_1600e": {"backbone.arch": "large", "epochs": 1600},
    "mae_vit_huge_p14_800e": HUGE,
    "mae_vit_huge_p14_1600e": {**HUGE, "epochs": 1600},
    "mae_vit_base_p16_300e": {"epochs": 300},
    "mae_vit_large_p16_400e": {"backbone.arch": "large", "epochs": 400},
    "table1_default": LARGE_PLAIN,
    "table1c_mask_tokens": {**LARGE_PLAIN, "encoder_mask_tokens": True},
    "table1d_normalised_pixels": {**LARGE_PLAIN, "norm_pix": True},
    "table1f_block_50": {**LARGE_PLAIN, "sampling": "block", "mask_ratio": 0.5},
    "table1f_block_75": {**LARGE_PLAIN, "sampling": "block"},
    "table1f_grid_75": {**LARGE_PLAIN, "sampling": "grid"},
    "footnote1_loss_on_all_pixels": {**LARGE_PLAIN, "loss_on_all": True},
    "table2_huge_mask_tokens": {**HUGE, "norm_pix": False, "encoder_mask_tokens": True},
    "table7_plain_pixels_large": {**LARGE_PLAIN, "epochs": 1600},
}
SAYS |= {
    f"table1a_decoder_depth_{depth}": {
        **LARGE_PLAIN,
        "decoder": dict(embed_dim=512, depth=depth, num_heads=16),
    }
    for depth in (1, 2, 4, 12)
}
SAYS |= {
    f"table1b_decoder_width_{width}": {
        **LARGE_PLAIN,
        "decoder": dict(embed_dim=width, depth=8, num_heads=16),
    }
    for width in (128, 256, 768, 1024)
}
SAYS |= {
    f"figure5_ratio_{percent}": {**LARGE_PLAIN, "mask_ratio": percent / 100}
    for percent in range(10, 100, 10)
}


@pytest.mark.parametrize("name", sorted(SAYS))
def test_config_says_what_its_table_says(name):
    cfg = load_recipe(f"pretrain/{name}")
    for key, value in {**BASE, **SAYS[name]}.items():
        if key == "epochs":
            assert cfg.train_cfg.max_epochs == value
            assert "end" not in cfg.param_scheduler[0], "the cosine ends with the run"
            continue
        node = cfg.model
        for part in key.split("."):
            node = node.get(part, BASE[key])
        assert node == value, key
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.lr, optimizer.betas, optimizer.weight_decay) == (1.5e-4, (0.9, 0.95), 0.05)
    assert cfg.param_scheduler[0].warmup == 40
    assert cfg.total_batch_size == 8 * cfg.train_dataloader.batch_size == 4096
    assert cfg.auto_scale_lr.base_batch_size == 256


@pytest.mark.parametrize(("name", "decayed"), [("800e", True), ("400e", False)])
def test_tokens_are_decayed_as_in_the_official_code_unless_told(name, decayed):
    cfg = load_recipe(f"pretrain/mae_vit_base_p16_{name}")
    shrink(cfg.model)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    decay = {
        id(parameter): group["weight_decay"]
        for group in wrapper.optimizer.param_groups
        for parameter in group["params"]
    }
    assert decay[id(model.backbone.cls_token)] == (0.05 if decayed else 0)
    assert decay[id(model.decoder.mask_token)] == (0.05 if decayed else 0)
    assert decay[id(model.backbone.patch_embed.proj.weight)] == 0.05
    assert decay[id(model.backbone.blocks[0].attn.qkv.bias)] == 0
    assert decay[id(model.decoder.norm.weight)] == 0


@pytest.mark.parametrize(
    ("name", "transforms"),
    [
        ("table1_default", ["RandomResizedCropTensor"]),
        ("table1e_no_augmentation", ["Resize", "CenterCrop"]),
        ("table1e_fixed_crop", ["Resize", "RandomCrop", "RandomHorizontalFlip"]),
        ("table1e_colour_jitter", ["RandomResizedCropTensor", "ColorJitter"]),
    ],
)
def test_augmentations_of_table_1e(name, transforms):
    cfg = load_recipe(f"pretrain/{name}")
    pipeline = cfg.train_dataloader.dataset.pipeline
    assert [step["type"].__name__ for step in pipeline[1:-1]] == transforms


def pixels(name: str, source: Path, seed: int) -> torch.Tensor:
    """What a config makes of a picture, in the layout of the model's input."""
    cfg = load_recipe(f"pretrain/{name}")
    init_default_scope(cfg.default_scope)
    torch.manual_seed(seed)
    pipeline = Compose(cfg.train_dataloader.dataset.pipeline)
    return pipeline(dict(img_path=str(source), sample_idx=0))["inputs"]


@pytest.mark.parametrize("name", ["mae_vit_base_p16_800e", "table1e_no_augmentation"])
def test_pixels_are_those_of_the_official_transforms(name, tmp_path):
    """Against torchvision's on Pillow images, which the authors' code has; flips in both."""
    x, y = torch.meshgrid(torch.arange(330.0), torch.arange(290.0), indexing="xy")
    waves = torch.stack([x / 2, y / 2, 128 + 100 * torch.sin(x / 9) * torch.cos(y / 14)])
    write_jpeg(waves.clamp(0, 255).byte(), str(tmp_path / "a.JPEG"), quality=90)
    bicubic = dict(interpolation=transforms.InterpolationMode.BICUBIC)
    steps = [transforms.Resize(256, **bicubic), transforms.CenterCrop(224)]
    if name == "mae_vit_base_p16_800e":
        steps = [transforms.RandomResizedCrop(224, (0.2, 1.0), **bicubic)]
        steps.append(transforms.RandomHorizontalFlip(0.5))
    reference = transforms.Compose([*steps, transforms.PILToTensor()])
    for seed in range(4):
        torch.manual_seed(seed)
        with Image.open(tmp_path / "a.JPEG") as image:
            expected = reference(image.convert("RGB")).float()
        found = pixels(name, tmp_path / "a.JPEG", seed)
        assert found.dtype == torch.uint8 and found.shape == (3, 224, 224)
        assert (found.float() - expected).abs().mean() < 0.05
