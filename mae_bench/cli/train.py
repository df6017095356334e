"""Pre-train or fine-tune a model: one config, one work directory, one record."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..results.record import Record


def parse_args() -> argparse.Namespace:
    """Options of the command line."""
    from ..config.overrides import OptionsAction

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("--work-dir", help="where everything is written; below work_dirs")
    parser.add_argument("--resume", action="store_true", help="go on where the last start stopped")
    parser.add_argument(
        "--extend",
        action="store_true",
        help="resume with another length: train_cfg.max_epochs or what else is of the schedule",
    )
    parser.add_argument("--checkpoint", help="what the backbone starts from")
    parser.add_argument(
        "--amp",
        nargs="?",
        const="auto",
        choices=["auto", "bfloat16", "float16"],
        help="train in mixed precision: bfloat16, or float16 on a GPU without it, unless told",
    )
    parser.add_argument(
        "--cfg-options", nargs="+", action=OptionsAction, default={}, help="key=value overrides"
    )
    parser.add_argument(
        "--fsdp", action="store_true", help="cut weights and moments among the processes"
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
        "--logger",
        action="append",
        default=[],
        metavar="tensorboard|wandb|mlflow",
        help="send curves and pictures there, too; may be given several times",
    )
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm"], default="none")
    return parser.parse_args()


def train(
    config: str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    work_dir: str | Path | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    extend: bool = False,
    amp: str | None = None,
    fsdp: bool = False,
    logger: Sequence[str] = (),
    cells: Sequence[Sequence[str]] = (),
    launcher: str = "none",
) -> Record | None:
    """Check everything that can be checked, then train; each argument is the command's option.

    Args:
        config: file, or the name of a shipped one (``mae_bench.list_recipes()``).
        overrides: ``--cfg-options``, by dotted key.
        work_dir: where everything is written; below ``work_dirs``.
        checkpoint: what the backbone starts from: a file or a name.
        resume: go on where the last start stopped.
        extend: resume with another length.
        amp: ``"auto"``, ``"bfloat16"`` or ``"float16"``: mixed precision.
        fsdp: cut weights and moments among the processes.
        logger: trackers besides the log file.
        cells: (table, row, column) that the run measures.
        launcher: ``"none"``, ``"pytorch"`` or ``"slurm"``.

    Returns:
        the record of the run; None in other processes than the first.

    Raises:
        FileNotFoundError: no such config, checkpoint or data.
        ValueError: whatever a run finds wrong.
    """
    from mmengine.dist import is_main_process

    from ..config.load import load_config
    from ..config.loggers import LOGGERS_VARIABLE, use_loggers
    from ..results.claim import claim_cells
    from ..results.record import config_sha256, read_record
    from ..run_folder import RECORD_NAME
    from ..training import launch
    from ..training.settings import default_folder

    options = dict(overrides or {})
    if "resume" in options:
        raise ValueError("resume is no override: use --resume")
    cfg = load_config(config, options)
    cfg.config_sha256 = config_sha256(cfg.filename, options)
    cfg.work_dir = str(work_dir or default_folder(config, options, checkpoint))
    cfg.launcher = launcher
    if amp:
        launch.use_mixed_precision(cfg, amp)
    use_loggers(cfg, logger or os.environ.get(LOGGERS_VARIABLE, "").split())
    if fsdp:
        launch.use_fully_sharded(cfg)
    cfg.cells = claim_cells(cells, cfg)
    launch.run(cfg, resume, extend, checkpoint)
    return read_record(Path(cfg.work_dir, RECORD_NAME)) if is_main_process() else None


def main() -> None:
    """Train with the options of the command line."""
    args = vars(parse_args())
    train(args.pop("config"), args.pop("cfg_options"), cells=args.pop("cell"), **args)
