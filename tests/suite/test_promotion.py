"""A real trial that was stopped and promoted is the run that was never stopped."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from mae_bench.results.record import read_record

from .test_whole_suite import CLASSIFY, start

EPOCHS = 20  # long enough to be stopped within
TASK = {
    "config": "configs/cls/vit_mini_finetune_miniworld.py",
    "overrides": {**CLASSIFY, "train_cfg.max_epochs": EPOCHS, "train_cfg.val_interval": 1},
    "select": "accuracy/top1",
    "search": {
        "space": {"optim_wrapper.optimizer.lr": {"low": 1e-5, "high": 1e-2, "log": True}},
        "trials": 2,  # too few for one of three to go on at once
        "rungs": [1],
    },
}
SUITE = {
    "name": "promotion",
    "rows": {"random": {}},
    "tasks": {"finetune": TASK},
    "columns": {"top-1": {"task": "finetune", "metric": "accuracy/top1"}},
}


@pytest.mark.slow
def test_a_promoted_trial_goes_on_to_the_bit(repository):
    Path("suite.yaml").write_text(yaml.safe_dump(SUITE))
    runner = start(["--executor", "inline"])
    output, errors = runner.communicate(timeout=1200)
    assert runner.returncode == 0, output + errors
    chosen = Path("work/seed0/random/finetune")
    card = read_record(chosen / "record.json").run_card["search"]
    trial = Path("work", card["chosen"])
    outcomes = [
        json.loads(path.read_text())["outcome"]
        for path in sorted((trial / "attempts").glob("*.json"))
    ]
    assert outcomes == ["stopped", "done"]
    job = json.loads((trial / "job.json").read_text())
    command = [sys.executable, *job["command"]]
    command[command.index("--work-dir") + 1] = "whole"
    # the number of threads changes the last bits
    threads = str(read_record(chosen / "record.json").run_card["threads"])
    environment = {**os.environ, "OMP_NUM_THREADS": threads}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    weights, whole = (
        load_file(folder / "checkpoint.safetensors") for folder in (chosen, Path("whole"))
    )
    assert all(torch.equal(weights[name], tensor) for name, tensor in whole.items())
