"""Apply a trained model to images without annotations.

Writes, below --out: drawn/ with what was found in each image; of a classification predictions.csv,
of a detection detections.json (COCO's result format) with images.json, of a segmentation masks/
with classes.txt. An image that cannot be read is named and left out; the exit code is then 1.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..evaluation.applied import Prediction


def parse_args() -> argparse.Namespace:
    """Options of the command line."""
    from ..config.overrides import OptionsAction

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config that the model was trained with")
    parser.add_argument("checkpoint", help="checkpoint.safetensors that training exported")
    parser.add_argument("images", nargs="+", help="image files, or folders of them")
    parser.add_argument("--out", required=True, help="folder for the results")
    parser.add_argument("--batch-size", type=int, help="images at once; default: as in validation")
    parser.add_argument("--workers", type=int, default=0, help="processes that read images")
    parser.add_argument("--device", help="cuda where there is a GPU, else cpu")
    parser.add_argument(
        "--min-score", type=float, default=0.3, help="of a detection that is drawn (default: 0.3)"
    )
    parser.add_argument("--no-drawings", action="store_true", help="write the results alone")
    parser.add_argument(
        "--cfg-options", nargs="+", action=OptionsAction, default={}, help="key=value overrides"
    )
    return parser.parse_args()


def predict(
    config: str | Path,
    checkpoint: str | Path,
    images: str | Path | Sequence[str | Path],
    overrides: Mapping[str, Any] | None = None,
    *,
    batch_size: int | None = None,
    workers: int = 0,
    device: str | None = None,
) -> list[Prediction]:
    """Apply a trained model to images without annotations; each argument is the command's option.

    Args:
        config: that the model was trained with.
        checkpoint: of the whole model, as a file or by name.
        images: files, or folders of them.
        overrides: ``--cfg-options``, by dotted key.
        batch_size: images at once; None: as in validation.
        workers: processes that read images.
        device: cuda where there is a GPU, else cpu.

    Returns:
        one for each image, in their order: ``name``, ``path``, and ``sample``, a data sample of
        the model's library; of an image that cannot be read None, and ``problem`` says why.

    Raises:
        FileNotFoundError: no such file.
        ValueError: config and checkpoint do not fit.
    """
    from ..evaluation import applied

    images = [images] if isinstance(images, (str, Path)) else images
    found = applied.find_images(images)
    ready = applied.load_for_prediction(config, checkpoint, dict(overrides or {}), device)
    return list(applied.predict(ready.model, ready.loader, found, batch_size, workers))


def main() -> int:
    """Load, predict, write."""
    args = parse_args()
    from rich.console import Console
    from rich.progress import track

    from ..datasets.reading import read_image
    from ..evaluation import applied as application
    from ..evaluation.prediction_files import WRITERS
    from ..files import write_atomic
    from ..text import printable
    from ..visualize.picture_page import encode_png
    from ..visualize.predictions import draw_beside, found_regions

    images = application.find_images(args.images)
    out = Path(args.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out}: is there already; choose another --out (nothing was changed)")
    applied = application.load_for_prediction(
        args.config, args.checkpoint, args.cfg_options, args.device
    )
    writer = WRITERS[applied.cfg.default_scope](out, applied.meta)
    problems = []
    results = application.predict(
        applied.model, applied.loader, images, args.batch_size, args.workers
    )
    shown = track(results, total=len(images), console=Console(stderr=True), transient=True)
    for number, found in enumerate(shown, 1):
        if found.sample is None:
            problems.append(found.problem)
            continue
        writer.add(number, found.name, found.sample)
        if not args.no_drawings:
            regions = found_regions(found.sample, applied.meta, ("background",), args.min_score)
            image = read_image(found.path, applied.turned)
            path = out / "drawn" / Path(found.name).with_suffix(".png")
            write_atomic(encode_png(draw_beside(image, [regions])[..., ::-1]), path)
    print(f"{writer.save()}: {len(images) - len(problems)} of {len(images)} images")
    for problem in problems:
        print(printable(f"left out: {problem}"))
    return int(bool(problems))
