"""What a run starts with: its checkpoint, precision, sharding and work directory."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.optim import AmpOptimWrapper
from torch.utils.data import DataLoader

from mae_bench.config.load import load_config
from mae_bench.datasets import set_checks
from mae_bench.files import write_json_atomic
from mae_bench.training import Bfloat16OptimWrapper, launch
from mae_bench.training.hooks import WeightAverage
from mae_bench.training.runner import TrainRunner
from mae_bench.training.settings import check_settings, settings

ROOT = Path(__file__).parents[2]
FINETUNE = ROOT / "configs/cls/vit_mini_finetune_miniworld.py"

SMALL = """
from torch.nn import Linear
from torch.optim import SGD

default_scope = "mmengine"
model = dict(type=Linear, in_features=2, out_features=3)
optim_wrapper = dict(optimizer=dict(type=SGD, lr=0.1))
"""


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / "config.py"
    path.write_text(SMALL)
    return path


@pytest.mark.parametrize(
    ("bfloat16", "expected"),
    [
        (True, {"type": Bfloat16OptimWrapper}),
        (False, {"type": AmpOptimWrapper, "dtype": "float16", "loss_scale": "dynamic"}),
    ],
)
def test_mixed_precision_follows_the_gpu(config, monkeypatch, bfloat16, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bfloat16)
    cfg = load_config(config)
    launch.use_mixed_precision(cfg)
    found = {key: value for key, value in cfg.optim_wrapper.items() if key != "optimizer"}
    assert found == expected


def test_mixed_precision_without_a_gpu(config, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cfg = load_config(config)
    with pytest.raises(ValueError, match="--amp float16 needs a GPU"):
        launch.use_mixed_precision(cfg, "float16")
    launch.use_mixed_precision(cfg)
    assert cfg.optim_wrapper.type is Bfloat16OptimWrapper


def test_sharding_among_processes(config):
    cfg = load_config(config)
    cfg.launcher = "none"
    with pytest.raises(ValueError, match="--fsdp cuts the weights .* start several with torchrun"):
        launch.use_fully_sharded(cfg)
    cfg.launcher = "pytorch"
    whole = settings(cfg)
    launch.use_fully_sharded(cfg)
    assert cfg.fsdp and check_settings(whole, settings(cfg), False, "work") == []


@pytest.mark.parametrize("hook", [WeightAverage, "mae_bench.WeightAverage", "EMAHook"])
def test_no_average_of_weights_in_pieces(config, hook):
    cfg = load_config(config)
    cfg.update(launcher="pytorch", custom_hooks=[dict(type="mae_bench.RunCard"), dict(type=hook)])
    with pytest.raises(ValueError, match="--fsdp: .* in custom_hooks .* leave --fsdp out"):
        launch.use_fully_sharded(cfg)


def test_processes_that_cannot_share_the_batch(tmp_path, monkeypatch):
    cfg = load_config(FINETUNE, {"train_dataloader.batch_size": 3})
    cfg.update(work_dir=str(tmp_path), resume=True)
    monkeypatch.setattr("mae_bench.training.runner.read_run", lambda folder: {"batch": 15})
    monkeypatch.setattr(TrainRunner, "world_size", 2)
    with pytest.raises(ValueError, match="a batch of 15, which 2 processes cannot share"):
        TrainRunner.from_cfg(cfg)


def test_a_batch_and_its_parts_are_not_both_given(tmp_path):
    cfg = load_config(FINETUNE, {"total_batch_size": 64, "optim_wrapper.accumulative_counts": 2})
    cfg.work_dir = str(tmp_path)
    with pytest.raises(ValueError, match="accumulative_counts=2: total_batch_size=64 decides it"):
        TrainRunner.from_cfg(cfg)


def test_a_loop_that_counts_parts_as_iterations(tmp_path):
    cfg = load_config(FINETUNE, {"total_batch_size": 100})
    cfg.train_cfg = dict(by_epoch=False, max_iters=2)
    cfg.work_dir = str(tmp_path)
    runner = TrainRunner.from_cfg(cfg)
    runner._train_dataloader = DataLoader([0] * 100)
    with pytest.raises(ValueError, match="IterBasedTrainLoop counts the parts of a batch"):
        runner.build_train_loop(runner._train_loop)


SUM = "a" * 64


def record_of(cfg, **changes) -> None:
    content = {
        "checkpoint": {"sha256": SUM},
        "exported": None,
        "config_file": cfg.filename,
        "overrides": dict(cfg.overrides),
    }
    write_json_atomic({**content, **changes}, Path(cfg.work_dir, "record.json"))


@pytest.fixture
def test_cfg(config, tmp_path):
    cfg = load_config(config, {"model.out_features": 4})
    cfg.update(
        work_dir=str(tmp_path / "work"),
        record_file=None,
        launcher="none",
    )
    launch.check_record_file(cfg, SUM)  # nothing there yet
    return cfg


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"checkpoint": {"sha256": "0"}}, "another checkpoint"),
        ({"checkpoint": None}, "another checkpoint"),
        ({"exported": {"file": "b"}}, "of a training"),
        ({"config_file": "other.py"}, "is the record of other.py"),
        ({"overrides": {}}, "model.out_features=not set, which is 4 now"),
        ({"overrides": {"model.out_features": 5}}, "model.out_features=5, which is 4 now"),
    ],
)
def test_no_record_of_another_run_is_replaced(test_cfg, changes, message):
    record_of(test_cfg, **changes)
    with pytest.raises(ValueError, match=f"record.json: .*{message}.*nothing was changed"):
        launch.check_record_file(test_cfg, SUM)


def test_the_same_test_may_be_repeated_with_other_workers(test_cfg):
    record_of(test_cfg)
    test_cfg.overrides["test_dataloader.num_workers"] = 4
    launch.check_record_file(test_cfg, SUM)


def test_record_file_that_is_a_folder_or_something_else(test_cfg, tmp_path):
    test_cfg.record_file = str(tmp_path)
    with pytest.raises(ValueError, match="would go here, and this is a folder"):
        launch.check_record_file(test_cfg, SUM)
    (tmp_path / "a.safetensors").write_bytes(b"weights")
    test_cfg.record_file = str(tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="a.safetensors: unreadable as JSON"):
        launch.check_record_file(test_cfg, SUM)


def test_missing_data_folder(tmp_path):
    cfg = load_config(FINETUNE)
    cfg.train_dataloader.dataset.data_root = str(tmp_path)
    cfg.val_dataloader.dataset.data_root = str(tmp_path / "nowhere")
    message = r"nowhere: no such folder \(val_dataloader.dataset.data_root\): put or link"
    with pytest.raises(FileNotFoundError, match=message):
        launch.check_data_folders(cfg)
    cfg.val_dataloader.dataset.data_root = str(tmp_path / "miniworld/imagenet")
    with pytest.raises(FileNotFoundError, match="run `make data`"):
        launch.check_data_folders(cfg)


def test_data_folder_inside_a_wrapper(tmp_path):
    cfg = load_config(FINETUNE)
    inner = cfg.train_dataloader.dataset
    inner.data_root = str(tmp_path / "nowhere")
    cfg.train_dataloader.dataset = dict(type="RepeatDataset", times=2, dataset=inner)
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        launch.check_data_folders(cfg)


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({"total_batch_size": 30}, "than a batch of 30, .* set total_batch_size=20"),
        ({"total_batch_size": None}, r"than a batch of 50, .* set train_dataloader.batch_size=20"),
        (
            {"train_dataloader.batch_size": 12, "optim_wrapper.accumulative_counts": 2},
            r"than a batch of 24, .* set train_dataloader.batch_size=10",
        ),
    ],
)
def test_fewer_images_than_the_batch_of_a_step(options, fix):
    """Else an epoch has no step, and the run trains nothing."""
    cfg = load_config(FINETUNE, {**options, "train_dataloader.drop_last": True})
    findings = set_checks.check_length(cfg, "train_dataloader", range(20), 1)
    assert [bool(re.search(fix, problem)) for problem in findings.problems] == [True]
