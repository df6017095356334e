"""What may be another when a run is resumed, and what may not."""

import re
from pathlib import Path

import pytest

from mae_bench.config.load import load_config
from mae_bench.training.settings import check_settings, default_folder, settings

ROOT = Path(__file__).parents[2]
FINETUNE = ROOT / "configs/cls/vit_mini_finetune_miniworld.py"
DETECTION = ROOT / "configs/det/mask_rcnn_vit_mini_miniworld.py"


def compare(overrides: dict, extend=False, config=FINETUNE, begun: dict | None = None) -> list[str]:
    before = settings(load_config(config, begun))
    return check_settings(before, settings(load_config(config, overrides)), extend, "work")


@pytest.mark.parametrize(
    "overrides",
    [
        {"train_dataloader.num_workers": 3, "train_dataloader.persistent_workers": True},
        {"train_dataloader.prefetch_factor": 4, "val_dataloader.num_workers": 1},
        {"default_hooks.logger.interval": 5},
        {"default_hooks.checkpoint.interval": 3, "default_hooks.checkpoint.max_keep_ckpts": -1},
        {"train_dataloader.dataset.data_root": "/other/disk/imagenet"},
        {"train_dataloader.dataset.ann_file": "/other/disk/imagenet/meta/train_500.txt"},
        {"log_level": "WARNING", "env_cfg.dist_cfg.backend": "gloo"},
        {"val_evaluator.topk": (1, 5), "train_cfg.val_interval": 1},
        {"val_dataloader.batch_size": 7, "val_dataloader.dataset.data_root": "elsewhere"},
        {"load_from": "epoch_2.pth"},
    ],
)
def test_what_changes_no_result_may_change(overrides):
    assert compare(overrides) == []


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"randomness.seed": 4}, "randomness.seed is 4 and was 0. choose another --work-dir"),
        ({"train_dataloader.batch_size": 4}, "train_dataloader.batch_size is 4 and was 50"),
        ({"optim_wrapper.optimizer.lr": 1.0}, "optim_wrapper.optimizer.lr is 1.0 and was 0.005"),
        ({"model.backbone.drop_path_rate": 0.1}, "drop_path_rate is 0.1 and was not set"),
        ({"train_dataloader.dataset.indices": 8}, "dataset.indices is 8 and was not set"),
        ({"custom_hooks.0.data": "x"}, "custom_hooks.ExportCheckpoint.data is x and was MiniWorld"),
        (
            {"model.backbone.arch.depth": 2, "randomness.seed": 1, "model.head.cal_acc": True,
             "train_dataloader.batch_size": 1, "auto_scale_lr.enable": False},
            "; and 3 more. choose another",
        ),
        ({"train_cfg.max_epochs": 61}, "is 61 and was 60. --extend takes another length, choose"),
        (
            {"train_cfg.max_epochs": 61, "randomness.seed": 1},
            r"was 0; train_cfg.max_epochs is 61 and was 60. choose another",
        ),
    ],
)  # fmt: skip
def test_what_changes_the_result_is_named(overrides, message):
    with pytest.raises(ValueError, match=f"work: .*{re.escape(message)}"):
        compare(overrides)


def test_another_length_has_to_be_asked_for():
    longer = {"train_cfg.max_epochs": 61, "param_scheduler.0.warmup": 6}
    assert set(compare(longer, extend=True)) == set(longer)
    with pytest.raises(ValueError, match="randomness.seed is 1"):
        compare({**longer, "randomness.seed": 1}, extend=True)


def test_validation_decides_where_something_waits_for_its_metric():
    best = {"default_hooks.checkpoint.save_best": "accuracy/top1"}
    with pytest.raises(ValueError, match="train_cfg.val_interval is 1 and was 10"):
        compare({**best, "train_cfg.val_interval": 1}, begun=best)


def test_one_more_drawing_hook_is_no_change_of_the_others():
    cfg = load_config(DETECTION)
    before = settings(cfg)
    cfg.custom_hooks = [dict(type="mae_bench.DrawPredictions", interval=1), *cfg.custom_hooks]
    assert check_settings(before, settings(cfg), False, "work") == []
    cfg.custom_hooks = [*cfg.custom_hooks, dict(type="EarlyStoppingHook", monitor="loss")]
    with pytest.raises(ValueError, match="custom_hooks.EarlyStoppingHook.type is EarlyStopping"):
        check_settings(before, settings(cfg), False, "work")


def test_default_folder_tells_runs_apart():
    name = "configs/cls/a.py"
    assert default_folder(name, {}, None) == "work_dirs/a"
    seeds = {default_folder(name, {"randomness.seed": seed}, None) for seed in range(3)}
    assert seeds == {f"work_dirs/a,seed={seed}" for seed in range(3)}
    # where it goes on with other workers is where it began
    workers = {"train_dataloader.num_workers": 8, "train_dataloader.dataset.data_root": "/x"}
    assert default_folder(name, {**workers, "randomness.seed": 1}, None) == "work_dirs/a,seed=1"
    # every run exports a file of one name
    for run in "bc":
        found = default_folder(name, {}, f"{run}/checkpoint.safetensors")
        assert found == f"work_dirs/a,{run}"
    assert default_folder(name, {}, "mae/vit_base.pth") == "work_dirs/a,vit_base"
    assert default_folder(name, {"test_cfg.fp16": True}, None) == "work_dirs/a"
    assert default_folder(name, {"test_cfg.fp16": True}, None, test=True) == "work_dirs/a,fp16=True"
    assert "/" not in Path(default_folder(name, {"model.x": "../../b"}, None)).name
    long = {default_folder(name, {f"model.key_{i}": j for i in range(99)}, None) for j in range(3)}
    assert len(long) == 3 and max(map(len, long)) < 200
