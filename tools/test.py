#!/usr/bin/env python
"""Evaluate one model on the test set of a config and write its record."""

import argparse
from pathlib import Path

from mae_bench.cli import run_command


def parse_args() -> argparse.Namespace:
    """Options of the command line."""
    from mmengine.config import DictAction

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file with a test_dataloader")
    parser.add_argument("checkpoint", help="checkpoint.safetensors that training exported")
    parser.add_argument("--out", help="record to write; record.json in the work directory")
    parser.add_argument("--work-dir", help="where logs and pictures go; work_dirs/CONFIG")
    parser.add_argument(
        "--cfg-options", nargs="+", action=DictAction, default={}, help="key=value overrides"
    )
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm"], default="none")
    return parser.parse_args()


def main() -> None:
    """Load the whole model, head included, and test it."""
    args = parse_args()
    from mmengine.runner import Runner

    from mae_bench.checkpoint.transfer import load_model
    from mae_bench.engine import launch

    cfg = launch.load_config(args.config, args.cfg_options)
    cfg.work_dir = args.work_dir or str(Path("work_dirs", Path(args.config).stem))
    cfg.launcher = args.launcher
    cfg.record_file = args.out
    cfg.checkpoint_file = args.checkpoint
    # A test has nothing to train with, even where it is the test of a training config.
    for key in ("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler"):
        cfg[key] = None
    for key in ("val_dataloader", "val_cfg", "val_evaluator"):
        cfg[key] = None
    launch.check_data_folders(cfg)
    runner = Runner.from_cfg(cfg)
    load_model(runner.model, args.checkpoint)
    runner.test()


if __name__ == "__main__":
    run_command(main)
