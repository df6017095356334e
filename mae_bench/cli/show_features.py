"""Draw what a backbone makes of pictures: its patches coloured by their principal components.

tools/show_features.py mae.safetensors pictures/*.jpg --out features
tools/show_features.py timm:vit_base_patch16_224.dino pictures/ --out features
tools/show_features.py configs/cls/vit_base_finetune_in1k.py pictures/ --out features \\
    --checkpoint convnext.safetensors \\
    --cfg-options model.backbone.type=mae_bench.TimmBackbone model.backbone.name=convnext_tiny

Red, green and blue are the first three components of the last map of all pictures together. Of our
Vision Transformer with a class token the attention of that token in the last block is drawn too.
Writes features.png and features.html.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .quiet import without_logs

if TYPE_CHECKING:
    from ..visualize.reconstruction import Comparison


def parse_args() -> argparse.Namespace:
    """Options of the command line."""
    from ..config.overrides import OptionsAction

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="checkpoint of a ViT, or config (.py) of any model")
    parser.add_argument("images", nargs="+", help="image files, or folders of them")
    parser.add_argument("--out", required=True, help="folder for the picture and the page")
    parser.add_argument("--checkpoint", help="with a config: weights; default: as initialised")
    parser.add_argument(
        "--size", type=int, help="shorter side in pixels; default: that of the model"
    )
    parser.add_argument(
        "--cfg-options", nargs="+", action=OptionsAction, default={}, help="key=value overrides"
    )
    return parser.parse_args()


def look(
    source: str | Path,
    images: Mapping[str, Path],
    checkpoint: str | None = None,
    overrides: dict[str, Any] | None = None,
    size: int | None = None,
    unstated: tuple[Sequence[float], Sequence[float]] | None = None,
) -> tuple[list[Comparison], str]:
    """Run a backbone on pictures and colour what it makes of them.

    Args:
        source, checkpoint, overrides, unstated: of ``load_feature_model``.
        images: files by name.
        size: shorter side in pixels; None: that of the model.

    Returns:
        a row for each picture, and a line on what the colours are.

    Raises:
        FileNotFoundError, ValueError: of ``load_feature_model``, or a picture that does not fit.
    """
    from ..visualize.feature_model import load_feature_model
    from ..visualize.features import feature_rows
    from ..visualize.reconstruction import read_image

    model = load_feature_model(source, checkpoint, overrides, unstated)
    pictures, maps, attentions = [], [], []
    for path in images.values():
        try:
            image = model.fit(read_image(path), size)
        except ValueError as error:
            raise ValueError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
        features, attention = model.look(image)
        pictures.append(image)
        maps.append(features)
        attentions += [] if attention is None else [attention]
    rows, shares = feature_rows(list(images), pictures, maps, attentions)
    said = ", ".join(f"{100 * share:.0f} %" for share in shares.tolist())
    name = Path(checkpoint or source).name
    return rows, f"{name}. Red, green and blue have {said} of the variance."


@without_logs(logging.INFO)  # what became of each tensor
def main() -> None:
    """Load, run, draw, write."""
    args = parse_args()
    from ..evaluation.applied import find_images
    from ..files import write_atomic
    from ..visualize.picture_page import comparison_page, encode_png
    from ..visualize.reconstruction import draw_comparisons

    found = find_images(args.images)
    rows, about = look(args.source, found, args.checkpoint, args.cfg_options, args.size)
    out = Path(args.out)
    write_atomic(encode_png(draw_comparisons(rows)), out / "features.png")
    write_atomic(comparison_page("Features", about, rows).encode(), out / "features.html")
    print(f"{out}: features.png, features.html of {len(rows)} pictures. {about}")
