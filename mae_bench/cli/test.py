"""Evaluate one model on the test set of a config and write its record.

A robustness config evaluates ImageNet val, A, R, Sketch, V2 and C, as many as are on disk, and
prints one table; interrupted, the same command goes on with what is left. A frozen config
extracts the features of a backbone once and measures on them; its checkpoint is any that training
starts from.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmengine.config import Config

    from ..results.record import Record


def parse_args() -> argparse.Namespace:
    """Options of the command line."""
    from ..config.overrides import OptionsAction

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "checkpoint",
        nargs="?",
        help="a whole model with its heads: what training exported, epoch_N.pth, or another "
        "library's file; none for a timm model with its own weights. Of a frozen config: a "
        "backbone, none for random weights",
    )
    parser.add_argument("--out", help="record to write; record.json in the work directory")
    parser.add_argument("--work-dir", help="where logs and pictures go; below work_dirs")
    parser.add_argument(
        "--cfg-options", nargs="+", action=OptionsAction, default={}, help="key=value overrides"
    )
    parser.add_argument(
        "--cell",
        nargs=3,
        action="append",
        default=[],
        metavar=("TABLE", "ROW", "COLUMN"),
        help="the cell of a table that this run measures; may be given several times",
    )
    parser.add_argument(
        "--split",
        choices=["val", "test"],
        help="data set of the config; default: test, or val where it has no test set",
    )
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm"], default="none")
    return parser.parse_args()


def choose_split(cfg: Config, split: str | None, overrides: Iterable[str] = ()) -> None:
    """Let a test evaluate the validation set where that is wanted, or all there is.

    Args:
        overrides: keys that were given, which have to reach the set that is evaluated.

    Raises:
        ValueError: the config has no such set, or an override is of the other one only.
    """
    from ..config.keys import find

    has = [name for name in ("test", "val") if cfg.get(f"{name}_dataloader")]
    chosen = split or (has[0] if has else "val")
    if chosen not in has:
        raise ValueError(f"the config has no {chosen}_dataloader to evaluate on")
    other = "val" if chosen == "test" else "test"
    for key in overrides:
        if not key.startswith((f"{other}_dataloader.", f"{other}_evaluator.")):
            continue
        here = key.replace(other, chosen, 1)
        if find(cfg, key) != find(cfg, here):
            raise ValueError(
                f"override {key!r}: the {chosen} set is evaluated, where this changes nothing: "
                f"write {here!r}, or --split {other}"
            )
    if chosen == "val":
        cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
        cfg.test_cfg = {"fp16": bool((cfg.get("val_cfg") or {}).get("fp16"))}


def evaluate(
    config: str | Path,
    checkpoint: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    split: str | None = None,
    out: str | Path | None = None,
    work_dir: str | Path | None = None,
    cells: Sequence[Sequence[str]] = (),
    launcher: str = "none",
) -> Record | None:
    """Load the whole model, head included, and test it; each argument is the command's option.

    Args:
        config: file, or the name of a shipped one (``mae_bench.list_recipes()``).
        checkpoint: a whole model, as a file or by name; None for a timm model with its own weights.
            Of a frozen config a backbone; None for random weights.
        overrides: ``--cfg-options``, by dotted key.
        split: ``"val"`` or ``"test"``; None: test where the config has one, else val.
        out: record to write; ``record.json`` in the work directory.
        work_dir: where logs and pictures go; below ``work_dirs``.
        cells: (table, row, column) that the run measures.
        launcher: ``"none"``, ``"pytorch"`` or ``"slurm"``.

    Returns:
        the record; None in other processes than the first.

    Raises:
        FileNotFoundError: no such config, checkpoint or data.
        ValueError: a checkpoint of another model, or another run's record in the way.
    """
    from mmengine.dist import is_main_process

    from ..config.load import load_config
    from ..datasets.set_checks import training_folder
    from ..evaluation.frozen import FrozenLoop
    from ..evaluation.robustness import RobustnessLoop
    from ..results.claim import claim_cells
    from ..results.record import config_sha256, read_record
    from ..results.robustness_page import print_table
    from ..run_folder import RECORD_NAME
    from ..training import launch
    from ..training.runner import TrainRunner
    from ..training.settings import default_folder
    from ..training.start import find_own_weights, find_start, find_tested

    options = dict(overrides or {})
    cfg = load_config(config, options)
    cfg.config_sha256 = config_sha256(cfg.filename, options)
    cfg.work_dir = str(work_dir or default_folder(config, options, checkpoint, test=True))
    cfg.launcher = launcher
    cfg.record_file = str(out) if out else None
    cfg.training_folder = training_folder(cfg)
    choose_split(cfg, split, options)
    frozen = cfg.test_cfg.get("type") is FrozenLoop
    if checkpoint is None and not frozen and not cfg.model.get("pretrained"):
        raise ValueError(
            "CHECKPOINT is missing; only a timm model has weights of its own, with --cfg-options "
            "model.pretrained=True"
        )
    launch.check_data_folders(cfg, ("train", "test") if frozen else ("test",))
    if frozen:
        cfg.test_cfg.train_dataset = (cfg.get("train_dataloader") or {}).get("dataset")
    # A test has nothing to train with, even where it is the test of a training config.
    for key in ("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler"):
        cfg[key] = None
    for key in ("val_dataloader", "val_cfg", "val_evaluator"):
        cfg[key] = None
    cfg.cells = claim_cells(cells, cfg)
    if frozen:
        start = find_start(cfg, checkpoint)
    else:
        start = find_tested(cfg, checkpoint) if checkpoint else find_own_weights(cfg)
    if not frozen and start and start.checkpoint and start.checkpoint.stated:
        cfg.trained_classes = start.checkpoint.stated.classes
    launch.check_record_file(cfg, start.sha256 if start else None)
    with launch.hold(cfg):
        # once more: another test may just have left its record
        launch.check_record_file(cfg, start.sha256 if start else None)
        runner = TrainRunner.from_cfg(cfg, start)
        if frozen:
            runner.initialise()
        elif start:
            start.load_into(runner.model)
        else:  # timm may have fetched them while it built the model
            runner.start = find_own_weights(cfg)
        metrics = runner.test()
    if not is_main_process():
        return None
    if isinstance(runner.test_loop, RobustnessLoop):
        loop = runner.test_loop
        print_table(metrics, loop.data_counts, runner.cfg.get("cells") or [], loop.dataset.missing)
    return read_record(cfg.record_file or Path(cfg.work_dir, RECORD_NAME))


def main() -> None:
    """Test with the options of the command line."""
    args = vars(parse_args())
    evaluate(args.pop("config"), overrides=args.pop("cfg_options"), cells=args.pop("cell"), **args)
