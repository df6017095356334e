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

import argparse
import logging
from pathlib import Path

from .quiet import without_logs


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


@without_logs(logging.INFO)  # what became of each tensor
def main() -> None:
    """Load, run, draw, write."""
    args = parse_args()
    from ..evaluation.applied import find_images
    from ..files import write_atomic
    from ..visualize.feature_model import load_feature_model
    from ..visualize.features import feature_rows
    from ..visualize.picture_page import comparison_page, encode_png
    from ..visualize.reconstruction import draw_comparisons, read_image

    found = find_images(args.images)
    model = load_feature_model(args.source, args.checkpoint, args.cfg_options)
    images, maps, attentions = [], [], []
    for path in found.values():
        try:
            image = model.fit(read_image(path), args.size)
        except ValueError as error:
            raise ValueError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
        features, attention = model.look(image)
        images.append(image)
        maps.append(features)
        attentions += [] if attention is None else [attention]
    rows, shares = feature_rows(list(found), images, maps, attentions)
    said = ", ".join(f"{100 * share:.0f} %" for share in shares.tolist())
    loaded = args.checkpoint or args.source
    about = f"{Path(loaded).name}. Red, green and blue have {said} of the variance."
    out = Path(args.out)
    write_atomic(encode_png(draw_comparisons(rows)), out / "features.png")
    write_atomic(comparison_page("Features", about, rows).encode(), out / "features.html")
    print(f"{out}: features.png, features.html of {len(rows)} pictures. {about}")
