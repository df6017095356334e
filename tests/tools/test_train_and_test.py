"""Each task from its config to its record, two iterations on a tiny MiniWorld."""

import json
import math
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector, init_detector
from mmengine.runner.checkpoint import get_torch_safe_globals
from mmseg.apis import inference_model, init_model
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mae_bench.results.record import read_record
from mae_bench.results.robustness_page import accuracy_by_severity
from mae_bench.training import ResumableEpochLoop

from .conftest import FEW_LABELS, ROOT, SHRINK

PRETRAIN = ROOT / "configs/pretrain/mae_vit_mini_miniworld.py"
FINETUNE = ROOT / "configs/cls/vit_mini_finetune_miniworld.py"
LINEAR = ROOT / "configs/cls/vit_mini_linear_miniworld.py"
ROBUSTNESS = ROOT / "configs/cls/vit_mini_robustness_miniworld.py"
DETECTION = ROOT / "configs/det/mask_rcnn_vit_mini_miniworld.py"
SEGMENTATION = ROOT / "configs/seg/upernet_vit_mini_miniworld.py"


def no_validation(options: list[str]) -> list[str]:
    return [option for option in options if not option.startswith("val_")]


def check_run(work_dir: Path, metrics: set[str]) -> dict:
    """What every training run leaves behind; returns its record."""
    record = read_record(work_dir / "record.json")
    assert record.status == "completed"
    assert metrics <= set(record.metrics)
    assert record.run_card["iterations"] == 2
    assert record.run_card["effective_batch"] == 4
    assert record.run_card["precision"] == "float32"
    assert record.run_card["forward_gflops_per_image"] > 0
    tensors = load_file(work_dir / "checkpoint.safetensors")
    assert "blocks.3.mlp.fc2.weight" in tensors
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    return json.loads((work_dir / "record.json").read_text())


def check_events(work_dir: Path, scalars: dict[str, int], pictures: set[str]) -> None:
    """What TensorBoard itself finds of a run: numbers of each scalar, and pictures."""
    (file,) = work_dir.rglob("events.out.tfevents.*")
    events = EventAccumulator(str(file)).Reload()
    assert {key: len(events.Scalars(key)) for key in scalars} == scalars
    assert all(math.isfinite(event.value) for key in scalars for event in events.Scalars(key))
    assert pictures <= set(events.Tags()["images"])
    for name in pictures:
        written = next(work_dir.rglob(f"{name}.png")).read_bytes()
        sent = events.Images(name)[0].encoded_image_string
        assert (decode(sent) == decode(written)).all()


def decode(png: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.slow
def test_processes_that_share_the_weights_leave_what_one_leaves(run_tool):
    options = [*no_validation(SHRINK), "train_cfg.max_epochs=2"]
    options += ["train_dataloader.dataset.indices=4"]
    ended = run_tool("train.py", PRETRAIN, "--work-dir", "one", "--cfg-options", *options)
    assert ended.code == 0, ended.stderr
    one = check_run(Path("one"), {"loss"})

    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [ROOT / "tools/train.py", PRETRAIN, "--work-dir", "two", "--fsdp"]
    options.append("train_dataloader.batch_size=2")
    command += ["--launcher", "pytorch", "--cfg-options", *options]
    subprocess.run(command, check=True)
    two = check_run(Path("two"), {"loss"})

    assert two["run_card"] == {**one["run_card"], "processes": 2}
    assert two.keys() == one.keys() and two["exported"].keys() == one["exported"].keys()
    files = [{p.name for p in Path(name).iterdir() if p.is_file()} for name in ("two", "one")]
    assert files[0] == files[1]
    found, expected = (load_file(f"{name}/checkpoint.safetensors") for name in ("two", "one"))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    pictures = [cv2.imread(f"{name}/reconstructions.png").astype(int) for name in ("two", "one")]
    assert abs(pictures[0] - pictures[1]).max() <= 1

    for name in ("epoch_2.pth", "checkpoint.safetensors"):
        Path("two", name).unlink()
    command = ["--work-dir", "two", "--resume", "--cfg-options", *options]
    ended = run_tool("train.py", PRETRAIN, *command)
    assert ended.code == 0, ended.stderr
    assert check_run(Path("two"), {"loss"})["run_card"] == one["run_card"]
    found = load_file("two/checkpoint.safetensors")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_pretrain_then_finetune_then_robustness(run_tool):
    options = [*no_validation(SHRINK), "default_hooks.logger.interval=1"]
    ended = run_tool(
        *("train.py", PRETRAIN, "--work-dir", "pre", "--logger", "tensorboard"),
        *("--cfg-options", *options),
    )
    assert ended.code == 0, ended.stderr
    record = check_run(Path("pre"), {"loss"})
    check_events(Path("pre"), scalars={"loss": 2, "lr": 2}, pictures={"reconstructions"})
    assert math.isfinite(record["metrics"]["loss"])
    assert record["checkpoint"] is None
    assert Path("pre/reconstructions.png").is_file()

    pretrained = "pre/checkpoint.safetensors"
    for name, config in (("fine", FINETUNE), ("linear", LINEAR)):
        ended = run_tool(
            "train.py",
            config,
            "--work-dir",
            name,
            "--checkpoint",
            pretrained,
            "--cfg-options",
            *SHRINK,
            *FEW_LABELS,
        )
        assert ended.code == 0, ended.stderr
        record = check_run(Path(name), {"accuracy/top1"})
        assert record["checkpoint"]["file"] == pretrained
        assert "blocks.0.norm1.weight" in record["checkpoint"]["report"]["loaded"]
        assert any("decoder." in key for key in record["checkpoint"]["report"]["dropped"])
        assert record["data_counts"] == {"train": 8, "val": 10}

    before, after = load_file(pretrained), load_file("linear/checkpoint.safetensors")
    # A linear probe leaves the encoder as it was.
    assert all(torch.equal(after[key], before[key]) for key in before if key in after)

    ended = run_tool(
        "test.py", ROBUSTNESS, "fine/checkpoint.safetensors", "--out", "robustness.json"
    )
    assert ended.code == 0, ended.stderr
    record = read_record("robustness.json")
    curves = accuracy_by_severity(record)
    assert len(curves) == 6 and {tuple(c.points) for c in curves.values()} == {(0, 1, 2, 3, 4, 5)}
    metrics = record.metrics
    # errors by severity, by corruption, their mean, top-1 and top-5, calibration of both sets
    assert len(metrics) == 6 * 5 + 6 + 1 + 2 + 2 * 2
    by_severity = [v for k, v in metrics.items() if k.count("/") == 3]
    assert len(by_severity) == 6 * 5
    assert metrics["imagenet_c/mean_error"] == pytest.approx(sum(by_severity) / len(by_severity))
    assert "imagenet_c/mCE" not in metrics


@pytest.mark.parametrize(
    ("config", "metrics"),
    [
        (DETECTION, {"coco/bbox_mAP", "coco/segm_mAP"}),
        (SEGMENTATION, {"mIoU"}),
    ],
    ids=["detection", "segmentation"],
)
def test_dense_task(run_tool, config, metrics):
    options = ["--logger", "tensorboard", "--cfg-options", *SHRINK]
    ended = run_tool("train.py", config, "--work-dir", "dense", *options)
    assert ended.code == 0, ended.stderr
    check_run(Path("dense"), metrics)
    check_events(Path("dense"), dict.fromkeys(metrics, 1), {"predictions/sample_0000"})
    trained = read_record("dense/record.json").metrics

    test = ["--out", "test.json", "--work-dir", "test"]
    ended = run_tool("test.py", config, "dense/checkpoint.safetensors", *test)
    assert ended.code == 0, ended.stderr
    assert read_record("test.json").metrics == pytest.approx(trained, abs=1e-4)

    # The hosts' own inference: of a file and of an array.
    if config is DETECTION:
        path = next(Path("data/miniworld/coco/val2017").iterdir())
        model = init_detector(config, "dense/epoch_1.pth", device="cpu")
        found = [
            inference_detector(model, i).pred_instances for i in (str(path), cv2.imread(str(path)))
        ]
        assert torch.equal(found[0].scores, found[1].scores) and found[0].masks.shape[0] > 0
    else:
        path = next(Path("data/miniworld/ade20k/images/validation").iterdir())
        model = init_model(config, "dense/epoch_1.pth", device="cpu")
        found = [
            inference_model(model, i).pred_sem_seg.data for i in (str(path), cv2.imread(str(path)))
        ]
        assert torch.equal(*found) and found[0].shape == (1, *cv2.imread(str(path)).shape[:2])


def test_interrupted_run_goes_on_where_it_stopped(run_tool, monkeypatch):
    base = [option for option in SHRINK if "max_epochs" not in option]
    arguments = ["--work-dir", "work", "--cfg-options", *base, *FEW_LABELS]
    arguments.append("train_cfg.max_epochs=3")
    started: list[int] = []
    run_epoch = ResumableEpochLoop.run_epoch

    def interrupted_once(loop: ResumableEpochLoop) -> None:
        started.append(loop.epoch)
        if started == [0, 1]:
            raise KeyboardInterrupt
        run_epoch(loop)

    monkeypatch.setattr(ResumableEpochLoop, "run_epoch", interrupted_once)
    ended = run_tool("train.py", FINETUNE, *arguments)
    assert ended.code == 130
    assert "Traceback" not in ended.stdout + ended.stderr
    assert not Path("work/record.json").exists()

    ended = run_tool("train.py", FINETUNE, "--resume", *arguments)
    assert ended.code == 0, ended.stderr
    assert started == [0, 1, 1, 2]
    assert Path("work/checkpoint.safetensors").is_file()
    # As MMEngine reads it at first; where this fails it falls back to a loader that runs code.
    with torch.serialization.safe_globals(get_torch_safe_globals()):
        state = torch.load("work/epoch_3.pth", weights_only=True)
    assert {int(s["step"]) for s in state["optimizer"]["state"].values()} == {6}
    assert read_record("work/record.json").run_card["iterations"] == 6
