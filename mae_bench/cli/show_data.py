"""Draw what a model gets, after all augmentation, and the learning rate of the whole run.

tools/show_data.py configs/cls/vit_mini_finetune_miniworld.py
tools/show_data.py configs/det/mask_rcnn_vit_base_coco.py --split val -n 4

Samples go through the config's data loader and the model's data preprocessor, seeded as in the run:
with --split train they are the first ones that it trains on, mixed images with the shares of their
classes, masked ones with their masks. Writes SPLIT.png and SPLIT.html.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .quiet import without_logs

if TYPE_CHECKING:
    from mmengine.config import Config

    from ..training.first_batches import FirstBatches


def parse_args() -> argparse.Namespace:
    """Options of the command line."""
    from ..config.overrides import OptionsAction

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="config file")
    parser.add_argument("--split", choices=["train", "val", "test"], default="train")
    parser.add_argument("-n", "--number", type=int, default=16, help="samples (default: 16)")
    parser.add_argument("--out", help="folder; default: work_dirs/show_data/CONFIG")
    parser.add_argument(
        "--cfg-options", nargs="+", action=OptionsAction, default={}, help="key=value overrides"
    )
    return parser.parse_args()


@without_logs()  # MMEngine's, of what it builds
def main() -> None:
    """Load, augment, draw, write."""
    args = parse_args()
    from mmengine.registry import MODELS, init_default_scope

    from ..config.load import load_config
    from ..files import write_atomic
    from ..text import printable
    from ..training.first_batches import FirstBatches
    from ..training.launch import check_data_folders
    from ..visualize.picture_page import encode_png, gallery_page, tile
    from ..visualize.samples import draw_sample

    if args.number < 1:
        raise ValueError(f"--number {args.number}: it takes at least one sample")
    cfg = load_config(args.config, args.cfg_options)
    check_data_folders(cfg, [args.split])
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    batches = FirstBatches(cfg, model, args.split)
    samples = batches.take(args.number)
    pictures = [draw_sample(sample, batches.meta) for sample in samples]
    name = Path(args.config).stem
    about = f"{len(samples)} of {len(batches.dataset):,} samples, seed {batches.seed}."
    drawings = draw_rates(cfg, model, batches) if args.split == "train" else []
    out = Path(args.out or Path("work_dirs/show_data", name))
    page = gallery_page(f"{name}, {args.split}", about, pictures, drawings)
    write_atomic(encode_png(tile([image for image, _ in pictures])), out / f"{args.split}.png")
    write_atomic(page.encode(), out / f"{args.split}.html")
    print(printable(f"{out}: {args.split}.png, {args.split}.html, {about}"))
    for broken in batches.broken:
        print(printable(f"replaced by another sample: {broken}"))


def draw_rates(cfg: Config, model: Any, batches: FirstBatches) -> list[str]:
    """The learning rate of the highest and of the lowest layer, and weight decay, as SVG.

    None where the config trains nothing.
    """
    if not cfg.get("optim_wrapper") or not cfg.get("train_cfg"):
        return []
    from ..recipe.rate_curve import rate_curve
    from ..results.curves import Curve, draw_curves

    batch = batches.accumulation * (batches.loader.batch_size or 1)
    found = rate_curve(cfg, model, batch, batches.steps)
    columns = {"Learning rate, highest layer": found.highest}
    if (found.lowest < found.highest).any():
        columns["Learning rate, lowest layer"] = found.lowest
    columns["Weight decay"] = found.decay
    drawings: list[str] = []
    for title, values in columns.items():
        curve = Curve(dict(zip(found.iterations.tolist(), values.tolist(), strict=True)))
        label = f"at most {values.max():.4g}"
        axis = title.partition(",")[0].lower()
        drawings.append(draw_curves({label: [curve]}, {label: 0}, title, "iteration", axis))
    return drawings
