"""What differs between two configs, by key."""

from mmengine.config import Config

from mae_bench.config.difference import differences
from mae_bench.config.load import load_config

from ..recipes import CONFIGS

FINETUNE = CONFIGS / "cls/vit_base_finetune_in1k.py"


def test_published_recipe_against_table_9():
    """As the docstrings of the two say: base lr, layer decay, random erasing."""
    other = load_config(CONFIGS / "cls/vit_base_finetune_table9_in1k.py")
    found = {key: values for key, *values in differences(load_config(FINETUNE), other)}
    assert found == {
        "model.train_cfg.augments.erase_prob": ["0.25", "0.0"],
        "optim_wrapper.paramwise_cfg.layer_decay": ["0.65", "0.75"],
        "optim_wrapper.optimizer.lr": ["0.0005", "0.001"],
    }


def test_options_and_what_follows_from_them():
    changed = load_config(FINETUNE, {"model.backbone.arch": "large"})
    found = [(d.key, d.one, d.other) for d in differences(changed, load_config(FINETUNE))]
    assert found == [
        ("model.backbone.arch", "large", "base"),
        ("model.head.in_channels", "1024", "768"),
    ]
    assert differences(load_config(FINETUNE), load_config(FINETUNE)) == []


def of(*steps: dict, **optimizer) -> Config:
    optimizer = dict(type="SGD", lr=0.1) | optimizer
    return Config(dict(default_scope="mmengine", optimizer=optimizer, pipeline=list(steps)))


def test_a_step_more_is_no_change_of_those_after_it():
    crop, flip = dict(type="mmcv.CenterCrop", crop_size=3), dict(type="mmcv.RandomFlip", prob=0.5)
    found = differences(of(crop, flip), of(flip))
    assert [(key, one) for key, one, _ in found] == [
        ("pipeline.CenterCrop", "mmcv.CenterCrop"),
        ("pipeline.CenterCrop.crop_size", "3"),
    ]
    assert [d.key for d in differences(of(crop, crop), of(crop))] == [
        "pipeline.CenterCrop[2]",
        "pipeline.CenterCrop[2].crop_size",
    ]


def test_defaults_beside_what_is_set_and_classes_of_one_name():
    (momentum,) = differences(of(momentum=0.9), of())
    assert momentum == ("optimizer.momentum", "0.9", "0 (default)")
    assert differences(of(momentum=0), of()) == []  # the default, written down
    (kind,) = differences(of(dict(type="mmcv.Resize")), of(dict(type="mmdet.Resize")))
    assert kind == ("pipeline.Resize", "mmcv.Resize", "mmdet.Resize")
