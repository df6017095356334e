"""What a run leaves in its record, from a runner that is no more than the hook reads of one."""

from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import EpochBasedTrainLoop
from torch import nn

from mae_bench.checkpoint.format import CheckpointMetadata, read_metadata, save_checkpoint
from mae_bench.files import sha256_of
from mae_bench.models import VisionTransformer
from mae_bench.results.record import read_record
from mae_bench.training.hooks import ExportCheckpoint, WriteRecord
from mae_bench.training.hooks.recording import SECONDS_KEY, trained_blocks
from mae_bench.training.start import find_start

ARCH = dict(embed_dim=16, depth=2, num_heads=2)
BACKBONE = dict(arch=ARCH, img_size=16, patch_size=8, output="class_token")


def checkpoint(path, method="mae"):
    model = VisionTransformer(**BACKBONE)
    metadata = CheckpointMetadata(
        architecture=dict(arch=ARCH),
        img_size=16,
        patch_size=8,
        mean=[0.0] * 3,
        std=[255.0] * 3,
        method=method,
        data="imagenet-1k",
        epochs=800,
    )
    save_checkpoint(path, model.state_dict(), metadata)
    return path


class Samples(torch.utils.data.Dataset):
    """A data set that only counts."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count


@pytest.fixture
def runner(tmp_path):
    """A training run of one backbone, with the config on disk."""

    def make(checkpoint=None, **values):
        config = tmp_path / "config.py"
        config.write_text("lr = 1.0\n")
        cfg = Config(dict(overrides={"lr": 2.0}, **values), filename=str(config))
        cfg.model = dict(
            backbone=dict(type="VisionTransformer", arch=ARCH, img_size=16, patch_size=8),
            data_preprocessor=dict(mean=[0.0] * 3, std=[255.0] * 3),
        )
        model = nn.Module()
        model.backbone = VisionTransformer(**BACKBONE)
        start = find_start(cfg, checkpoint)
        if start:
            start.load_into(model)
        return SimpleNamespace(
            cfg=cfg,
            start=start,
            work_dir=str(tmp_path),
            model=model,
            seed=3,
            epoch=4,
            max_epochs=5,
            train_loop=EpochBasedTrainLoop.__new__(EpochBasedTrainLoop),
            run_card={"effective_batch": 8},
            train_dataloader=SimpleNamespace(dataset=Samples(40)),
            val_dataloader=SimpleNamespace(dataset=Samples(10)),
            val_loop=object(),
            logger=SimpleNamespace(info=lambda message: None),
            hooks=[],
        )

    return make


def run(runner):
    """The hooks of a training run in MMEngine's order; returns the record."""
    export, record = ExportCheckpoint(method="supervised", data="coco"), WriteRecord()
    record.before_run(runner)
    export.before_train(runner)
    record.after_val_epoch(runner, {"top1": 50.0})
    export.after_train(runner)
    record.after_train(runner)
    return read_record(f"{runner.work_dir}/record.json")


def test_provenance_is_in_record_and_checkpoint(runner, tmp_path):
    source = checkpoint(tmp_path / "mae.safetensors")
    entries = [dict(table="Table 5", row="MAE", column="ViT-B")]
    record = run(runner(source, cells=entries))
    assert record.checkpoint["sha256"] == sha256_of(source)
    assert record.checkpoint["metadata"] == {
        "method": "mae",
        "data": "imagenet-1k",
        "epochs": 800,
        "format": "mae_bench",
    }
    assert record.checkpoint["report"]["share"] == 1.0
    assert record.cells == entries
    exported = tmp_path / "checkpoint.safetensors"
    assert record.exported == {"file": exported.name, "sha256": sha256_of(exported)}
    assert read_metadata(exported).method == "mae + supervised"
    assert read_metadata(exported).epochs == 5
    assert record.run_card == {"effective_batch": 8, "trained_blocks": 2.0}
    assert record.data_counts == {"train": 40, "val": 10}
    assert (record.seed, record.overrides, record.metrics) == (3, {"lr": 2.0}, {"top1": 50.0})


def test_run_from_random_weights(runner, tmp_path):
    record = run(runner())
    assert record.checkpoint is None
    assert record.cells == []
    assert read_metadata(tmp_path / "checkpoint.safetensors").method == "supervised"


@pytest.mark.faults
def test_duration_of_a_resumed_run_is_that_of_all_starts(runner):
    first, second, third = WriteRecord(), WriteRecord(), WriteRecord()
    saved: dict = {}
    for hook, seconds in ((first, 100), (second, 20)):
        resumed = runner(resume=True)
        hook.before_run(resumed)
        if saved:
            hook.after_load_checkpoint(resumed, saved)
        hook.start -= seconds
        hook.started += timedelta(hours=2)  # the clock on the wall was set back
        hook.before_save_checkpoint(resumed, saved)
    assert saved[SECONDS_KEY] == pytest.approx(120, abs=5)
    third.before_run(resumed)
    third.after_load_checkpoint(resumed, {})  # of a version that did not keep it
    assert third.seconds() == pytest.approx(0, abs=5)
    for damaged in (-7195.0, float("inf"), float("nan")):
        third.after_load_checkpoint(resumed, {SECONDS_KEY: damaged})
        assert third.seconds() == pytest.approx(0, abs=5)
    third.after_load_checkpoint(runner(), saved)  # weights alone, no resumed run
    assert third.seconds() == pytest.approx(0, abs=5)


def test_what_is_no_single_number_is_left_out_by_name(runner):
    training, hook, warnings = runner(), WriteRecord(), []
    training.logger.warning = warnings.append
    hook.before_run(training)
    metrics = {
        "top1": torch.tensor([61.5]),
        "count": np.int64(3),
        "matrix": torch.ones(2, 2),
        "classes": [1.0, 2.0],
        "note": "7",
        "nothing": None,
    }
    hook.after_val_epoch(training, metrics)
    hook.after_train(training)
    record = read_record(f"{training.work_dir}/record.json")
    assert record.metrics == {"top1": 61.5, "count": 3.0}
    others = ["matrix", "classes", "note", "nothing"]
    assert record.run_card["no_single_number"] == others
    assert warnings == [f"not in the record, as no single number: {', '.join(others)}"]


def test_loop_over_several_sets_counts_them_one_by_one(runner):
    several = runner(record_file=None)
    several.test_loop = SimpleNamespace(data_counts={"imagenet_a": 7, "imagenet_r": 9})
    several.test_dataloader = SimpleNamespace(dataset=range(16))
    hook = WriteRecord()
    hook.before_run(several)
    hook.after_test_epoch(several, {"imagenet_a/top1": 1.0})
    record = read_record(f"{several.work_dir}/record.json")
    assert record.data_counts == {"imagenet_a": 7, "imagenet_r": 9}
    assert record.exported is None
    assert "trained_blocks" not in record.run_card


@pytest.mark.parametrize("blocks", [0, 0.5, 1, 1.5, 2])
def test_blocks_that_train(blocks):
    backbone = VisionTransformer(**BACKBONE, trainable_blocks=blocks)
    assert trained_blocks(backbone) == blocks


def test_backbone_without_blocks():
    assert trained_blocks(nn.Linear(1, 1)) is None
