"""Ablations are pre-trained, fine-tuned and reported: each stands in its own row alone."""

import subprocess
import sys
from csv import DictReader
from pathlib import Path

import pytest
import yaml

from mae_bench.datasets.miniworld.world import MiniWorldSize, build
from mae_bench.results.record import read_record

REPOSITORY = Path(__file__).resolve().parents[2]
SHORT = {"train_cfg.max_epochs": 1, "param_scheduler.0.warmup": 0, "train_dataloader.batch_size": 5}
ROWS = {
    "decoder-depth-2": ({"model.decoder.depth": 2}, 84.9),
    "masking-50": ({"model.mask_ratio": 0.5}, 85.0),
    "un-normalised": ({"model.norm_pix": False}, 84.8),
    "default": ({}, 85.9),
}
FINETUNE = {
    "config": "configs/cls/vit_mini_finetune_miniworld.py",
    "overrides": {**SHORT, "train_dataloader.dataset.ann_file": "meta/train_10.txt"},
}
SUITE = {
    "name": "Ablations",
    "source": "a paper",
    "heading": "pre-training",
    "starts": {
        "default": {
            "pretrain": "configs/pretrain/mae_vit_mini_miniworld.py",
            "overrides": SHORT,
            "method": "mae",
            "data": "MiniWorld",
        },
        **{
            name: {"like": "default", "overrides": overrides}
            for name, (overrides, _) in ROWS.items()
            if name != "default"
        },
    },
    "tasks": {"finetune": FINETUNE},
    "columns": {
        "ft": {"quantity": "top-1 accuracy", "task": "finetune", "metric": "accuracy/top1"}
    },
    "rows": {name: {"published": [value], "start": name} for name, (_, value) in ROWS.items()},
}


def command(name: str, *arguments: str) -> str:
    line = [sys.executable, str(REPOSITORY / "tools" / f"{name}.py"), *arguments]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_three_ablations_and_the_default_land_in_four_rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    Path("configs").symlink_to(REPOSITORY / "configs")
    Path("tools").symlink_to(REPOSITORY / "tools")
    size = MiniWorldSize(20, 10, 10, train_lists=(10,), train_scenes=5, val_scenes=2)
    build(Path("data/miniworld"), processes=1, size=size)
    Path("suite.yaml").write_text(yaml.safe_dump(SUITE, sort_keys=False))
    command("run_suite", "suite.yaml", "--work-dir", "work")
    # the default's recipe once more, by hand: it claims no cell
    default = Path("work/seed0/default/pretrain/checkpoint.safetensors")
    options = [f"{key}={value}" for key, value in FINETUNE["overrides"].items()]
    recipe = [FINETUNE["config"], "--checkpoint", str(default), "--work-dir", "work/by_hand"]
    command("train", *recipe, "--cfg-options", *options)
    csv = command("report", "work", "--format", "csv")
    lines = {line["row"]: line for line in DictReader(csv.splitlines())}
    assert lines.keys() == ROWS.keys()
    for name, (overrides, published) in ROWS.items():
        tuned, made = f"seed0/{name}/finetune", f"seed0/{name}/pretrain"
        assert lines[name]["runs"] == tuned
        assert float(lines[name]["published"]) == published
        record, origin = (read_record(Path("work", run, "record.json")) for run in (tuned, made))
        assert lines[name]["measured"] == f"{record.metrics['accuracy/top1']:.1f}"
        # the file that it started from is that of the row's own pre-training
        assert record.checkpoint["sha256"] in origin.exported_sums()
        assert origin.overrides == {**SHORT, **overrides, "randomness.seed": 0}
    by_hand = command("report", "work", "--format", "md").partition("Runs by hand")[2]
    assert "| seed0/default/pretrain, " in by_hand
