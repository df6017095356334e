"""Pre-train or fine-tune a model: one config, one work directory, one record."""

import argparse
import os


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


def main() -> None:
    """Check everything that can be checked, then train."""
    args = parse_args()
    from ..config.load import load_config
    from ..config.loggers import LOGGERS_VARIABLE, use_loggers
    from ..results.claim import claim_cells
    from ..results.record import config_sha256
    from ..training import launch
    from ..training.settings import default_folder

    if "resume" in args.cfg_options:
        raise ValueError("resume is no override: use --resume")
    cfg = load_config(args.config, args.cfg_options)
    cfg.config_sha256 = config_sha256(args.config, args.cfg_options)
    cfg.work_dir = args.work_dir or default_folder(args.config, args.cfg_options, args.checkpoint)
    cfg.launcher = args.launcher
    if args.amp:
        launch.use_mixed_precision(cfg, args.amp)
    use_loggers(cfg, args.logger or os.environ.get(LOGGERS_VARIABLE, "").split())
    if args.fsdp:
        launch.use_fully_sharded(cfg)
    cfg.cells = claim_cells(args.cell, cfg)
    launch.run(cfg, args.resume, args.extend, args.checkpoint)
