"""Overrides of every form: where they end up, and how what cannot be is refused."""

import pytest
from mmengine.hooks import EMAHook
from mmengine.runner import Runner
from mmengine.visualization import LocalVisBackend, TensorboardVisBackend
from torch.optim import SGD

from mae_bench.config.keys import find
from mae_bench.config.load import load_config
from mae_bench.training.hooks import WeightAverage

from ..recipes import CONFIGS

FINETUNE = "cls/vit_base_finetune_in1k"
DETECTION = "det/mask_rcnn_vit_base_coco"


def load(overrides: dict, name: str = FINETUNE):
    return load_config(CONFIGS / f"{name}.py", overrides)


def test_hooks_are_added_changed_and_switched_off():
    cfg = load(
        {
            "default_hooks.ema.type": "EMAHook",
            "default_hooks.ema.momentum": 0.1,  # of the averaged model, to which it is handed
            "default_hooks.logger.interval": 7,
            "default_hooks.run_card": None,
            "default_hooks.timer": None,
            "custom_hooks.0": None,
            "custom_hooks.1.type": "mae_bench.WeightAverage",
            "custom_hooks.1.decay": 0.9,
            "custom_hooks.2": {"type": "EMAHook", "priority": "LOW"},
        }
    )
    assert cfg.default_hooks.ema == dict(type=EMAHook, momentum=0.1)
    assert "run_card" not in cfg.default_hooks
    assert cfg.custom_hooks == [
        dict(type=WeightAverage, decay=0.9),
        dict(type=EMAHook, priority="LOW"),
    ]
    # MMEngine's own six are switched off by None; it fails over None for any other.
    runner = Runner.__new__(Runner)
    runner._hooks = []
    runner.register_hook = lambda hook: runner._hooks.append(hook)
    runner.register_default_hooks(cfg.default_hooks)
    assert None not in runner._hooks and {"interval": 7} in [
        {k: v for k, v in hook.items() if k != "type"} for hook in runner._hooks
    ]


def test_visualizer_has_further_backends():
    cfg = load({"visualizer.vis_backends.1.type": "TensorboardVisBackend"})
    kinds = [backend.type for backend in cfg.visualizer.vis_backends]
    assert kinds == [LocalVisBackend, TensorboardVisBackend]


def test_another_class_keeps_what_it_takes_and_gets_its_own():
    cfg = load({"optim_wrapper.optimizer.type": "SGD", "optim_wrapper.optimizer.momentum": 0.9})
    assert cfg.optim_wrapper.optimizer == dict(
        type=SGD, lr=5e-4, weight_decay=0.05, fused=True, momentum=0.9
    )
    anew = {"type": "SGD", "lr": 0.1, "_delete_": True}
    for overrides in (
        {f"optim_wrapper.optimizer.{key}": value for key, value in anew.items()},
        {"optim_wrapper.optimizer": anew},
    ):
        assert load(overrides).optim_wrapper.optimizer == dict(type=SGD, lr=0.1)


def test_a_dict_is_merged_as_mmengine_merges_it():
    cfg = load({"randomness": {"seed": 3}, "model.head": {"init_cfg": {"std": 0.5}}})
    assert cfg.randomness == dict(seed=3, diff_rank_seed=True)
    assert cfg.model.head.init_cfg == dict(type="Normal", layer="Linear", std=0.5)
    # What it gives is given, what it leaves out still follows.
    cfg = load({"model.backbone": {"arch": "large"}}, DETECTION)
    assert cfg.model.neck[0].embed_dim == 1024


def test_items_of_lists_and_tuples():
    cfg = load({"model.backbone.out_indices.0": 1}, DETECTION)
    assert cfg.model.backbone.out_indices == (1, 5, 8, 11)
    cfg = load({"train_dataloader.dataset.pipeline.5.type": "PackInputs"})
    assert cfg.train_dataloader.dataset.pipeline[5].type.__name__ == "PackInputs"


def test_validation_can_be_switched_off():
    off = {"val_dataloader": None, "val_cfg": None, "val_evaluator": None}
    cfg = load(off)
    assert cfg.val_dataloader is None and cfg.test_dataloader is not None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"default_hooks.ema.momentum": 0.1}, "default_hooks.ema is not set: give .*ema.type too"),
        ({"default_hooks.ema": {"interval": 1}}, "default_hooks.ema has no type"),
        ({"default_hooks.ema": {"type": "EMAHook", "momentumm": 1}}, "did you mean 'momentum'"),
        ({"default_hooks.checkpoint.intervals": 1}, "did you mean 'interval'"),
        ({"custom_hooks.3.type": "EMAHook"}, "custom_hooks is a list of 1: use an index"),
        ({"train_dataloader.dataset.pipeline.2": None}, "None cannot stand in .*: give the whole"),
        ({"optim_wrapper.optimizer._delete_": True}, "give optim_wrapper.optimizer.type too"),
        ({"optim_wrapper.optimizer._delete_": 1}, "write _delete_=True"),
        ({"optim_wrapper.optimizer.type": "SGDD"}, "no class 'SGDD': give its registered name"),
        ({"train_dataloader.dataset.type": "absent.Data"}, "no class 'absent.Data': .*PYTHONPATH"),
        (
            {"model.backbone.init_cfg.checkpoint": "F"},
            "init_cfg is not set: give .*init_cfg.type too",
        ),
        (
            {"model.backbone.out_indices.0": 1},
            r"out_indices is not set: give .*out_indices=\[...\]",
        ),
        ({"model.head": {}}, "an empty dict changes nothing: empty it by _delete_=True"),
        (
            {"model.head": {"num_clases": 3}},
            "'model.head.num_clases': .*did you mean 'num_classes'",
        ),
        ({"model.backbone": 5}, "holds dicts, and 5 is none"),
        ({"model": None}, "there is no run without a model"),
        ({"test_dataloader": "val_dataloader"}, "is made of dicts, and 'val_dataloader' is none"),
        ({"train_dataloader.dataset.pipeline": "abc"}, "is a list, and 'abc' is text"),
        ({"train_cfg.max_epochs": "ten"}, "is 100, and 'ten' is text"),
        ({"train_cfg.max_epochs": True}, "is 100, and True is no number"),
        ({"model.backbone.frozen": "yes"}, "is False, and 'yes' is text"),
        ({"model.backbone.frozen": 1}, "is False: write true or false, not 1"),
        ({"train_dataloader.dataset.data_root": 2012}, "is text: quote it, .*data_root=\"'2012'\""),
        ({"data_preprocessor.mean": [1]}, "that of the model is used: set model.data_preprocessor"),
        ({"compile.mode_": "max-autotune"}, "compile has no key 'mode_'; did you mean 'mode'"),
        ({"work_dir": "x"}, "is the option --work-dir of the command"),
        ({"AdamW": 3}, "is a class that the config imports"),
        ({"lr": 3}, "the config has no key 'lr': set optim_wrapper.optimizer.lr"),
        ({"custom_imports.imports": "absent_module"}, "custom_imports.*absent_module"),
    ],
)
def test_refused_with_what_to_write(overrides, message):
    with pytest.raises(ValueError, match=f"^[^ ]+.py: .*{message}"):
        load(overrides)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optim_wrapper.clip_grad.max_norm", 1.0),
        ("find_unused_parameters", True),
        ("model_wrapper_cfg.type", "MMDistributedDataParallel"),
        ("sync_bn", "torch"),
        ("compile", True),
        ("compile.mode", "max-autotune"),
        ("activation_checkpointing", ["backbone.blocks.0"]),
        ("load_from", "x.pth"),
        ("env_cfg.dist_cfg.timeout", 100),
        ("param_scheduler", []),
        ("log_level", "DEBUG"),
    ],
)
def test_keys_that_the_runner_looks_up(key, value):
    assert find(load({key: value}), key) == value
