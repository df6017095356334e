"""Which data set of a config a test evaluates."""

from pathlib import Path

import pytest

from mae_bench.cli.test import choose_split
from mae_bench.config.load import load_config

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("name", ["cls/vit_mini_finetune"])
def test_a_config_without_a_test_set_is_validated(name):
    cfg = load_config(CONFIGS / f"{name}_miniworld.py")
    choose_split(cfg, None)
    assert cfg.test_dataloader == cfg.val_dataloader and cfg.test_evaluator == cfg.val_evaluator
    assert cfg.test_cfg == {"fp16": False}
    cfg = load_config(CONFIGS / f"{name}_miniworld.py")
    with pytest.raises(ValueError, match="the config has no test_dataloader"):
        choose_split(cfg, "test")


def test_either_split_where_there_are_both():
    for split, expected in ((None, "test"), ("test", "test"), ("val", "val")):
        cfg = load_config(CONFIGS / "cls/vit_base_finetune_own.py")
        cfg.test_dataloader = {**cfg.val_dataloader, "batch_size": 7}
        choose_split(cfg, split)
        assert (cfg.test_dataloader["batch_size"] == 7) == (expected == "test")


def test_nothing_to_evaluate():
    cfg = load_config(CONFIGS / "pretrain/mae_vit_mini_miniworld.py")
    with pytest.raises(ValueError, match="the config has no val_dataloader"):
        choose_split(cfg, None)


@pytest.mark.parametrize(
    ("split", "key"),
    [
        ("val", "test_evaluator.classwise"),
        ("val", "test_dataloader.batch_size"),
        ("test", "val_dataloader.batch_size"),
    ],
)
def test_an_override_of_the_other_set_is_refused(split, key):
    path, other = CONFIGS / "det/mask_rcnn_vit_base_own.py", "val" if split == "test" else "test"
    options = {"test_dataloader.num_workers": 3, key: 5 if "batch" in key else True}
    cfg = load_config(path, options)
    here = key.replace(other, split, 1)
    if split == "test":  # where the sets differ, an override of one does not reach the other
        cfg.test_dataloader.batch_size = 1
    with pytest.raises(ValueError, match=f"override '{key}': the {split} set .* write '{here}'"):
        choose_split(cfg, split, [key])
    cfg = load_config(path, {**options, here: options[key]})
    choose_split(cfg, split, [key, here])
