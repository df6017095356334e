"""A config as the text of one file, read back as the same."""

import re
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from mae_bench.config.config_text import config_text
from mae_bench.config.load import load_config

from ..recipes import CONFIGS

RECIPES = [
    path
    for task in ("pretrain", "cls", "det", "seg")
    for path in sorted((CONFIGS / task).glob("*.py"))
    # own ones need a folder; those of other sizes differ from the base's in numbers
    if not re.search("_own$|_large|_huge", path.stem)
]


def plain(node: Any) -> Any:
    """What MMEngine builds from: objects themselves, and no placeholders of theirs."""
    if hasattr(node, "keys"):
        return {key: plain(node[key]) for key in node if key != "overrides"}
    if isinstance(node, (list, tuple)):
        return type(node)(plain(item) for item in node)
    return node


def again(cfg: Config, folder: Path) -> Config:
    path = folder / "written.py"
    path.write_text(config_text(cfg), encoding="utf-8")
    return load_config(path)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_recipe_is_read_back_as_it_is(path, tmp_path):
    cfg = load_config(path)
    assert plain(again(cfg, tmp_path)) == plain(cfg)


def test_options_and_what_follows_are_in_the_text(tmp_path):
    overrides = {"model.backbone.arch": "large", "train_cfg.max_epochs": 7}
    cfg = load_config(CONFIGS / "cls/vit_base_finetune_in1k.py", overrides)
    text = config_text(cfg)
    assert "train_cfg.max_epochs=7\n" in text.partition('"""\n')[0]
    read = again(cfg, tmp_path)
    assert read.model.head.in_channels == 1024 and read.train_cfg.max_epochs == 7


def test_values_that_python_writes_in_their_own_way(tmp_path):
    values = {"a": float("inf"), "b": (1,), "c.d": [True, None], "e": "it's\n", "class": {}}
    (tmp_path / "own.py").write_text(
        "default_scope = 'mmengine'\n"
        "model = dict(type='MyModel')\n"
        "custom_imports = dict(imports=['json'])\n"
    )
    cfg = load_config(tmp_path / "own.py")
    cfg.env_cfg = values
    read = again(cfg, tmp_path)
    assert plain(read.env_cfg) == values and isinstance(read.env_cfg.b, tuple)
    assert "custom_imports = dict(imports=['json'])" in config_text(cfg)


def test_classes_of_one_name_are_told_apart(tmp_path):
    import mmcv.transforms
    import mmdet.datasets.transforms

    cfg = load_config(CONFIGS / "pretrain/mae_vit_mini_miniworld.py")
    kinds = [mmcv.transforms.Resize, mmdet.datasets.transforms.Resize, mmcv.transforms.Resize]
    cfg.train_dataloader.dataset.pipeline = [dict(type=kind) for kind in kinds]
    read = again(cfg, tmp_path).train_dataloader.dataset.pipeline
    assert [step.type for step in read] == kinds


@pytest.mark.parametrize("value", [object(), type("Local", (), {"__qualname__": "f.<locals>.C"})])
def test_what_no_file_can_say_is_refused(value):
    cfg = load_config(CONFIGS / "pretrain/mae_vit_mini_miniworld.py")
    cfg.env_cfg = dict(mp_cfg=value)
    with pytest.raises(ValueError, match=r"^env_cfg\.mp_cfg: "):
        config_text(cfg)
