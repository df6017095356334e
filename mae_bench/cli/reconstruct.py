"""Show what a masked autoencoder makes of pictures it sees in part.

tools/reconstruct.py mae.safetensors pictures/*.jpg --out figure2 --ratios 0.8
tools/reconstruct.py mae.safetensors pictures/*.jpg --out figure4 --ratios 0.75 0.85 0.95
tools/reconstruct.py mae.safetensors pictures/*.jpg --out figure6 --samplings random block grid
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..visualize.reconstruction import Comparison


def parse_args() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help="pre-trained .safetensors of ours, with its decoder")
    parser.add_argument("images", nargs="+", help="pictures of any size")
    parser.add_argument("--out", required=True, help="folder for the pictures and the page")
    parser.add_argument(
        "--config",
        help="pre-training config; needed unless the model has the paper's decoder (width 512, 16 "
        "heads) and normalised pixels",
    )
    parser.add_argument("--ratios", nargs="+", type=float, default=[0.75], help="default: 0.75")
    parser.add_argument(
        "--samplings", nargs="+", default=["random"], help="random, block, grid (default: random)"
    )
    parser.add_argument(
        "--paste", action="store_true", help="show visible patches as they are, not as predicted"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the masks (default: 0)")
    parser.add_argument(
        "--size",
        default="model",
        help="shorter side in pixels; 'model': that of pre-training, 'own': the picture's",
    )
    return parser.parse_args()


def reconstruct(
    checkpoint: str | Path,
    images: Sequence[str | Path],
    config: str | Path | None = None,
    maskings: Sequence[tuple[str, float]] = (("random", 0.75),),
    seed: int = 0,
    paste: bool = False,
    size: str = "model",
) -> list[Comparison]:
    """Reconstruct pictures from what each masking leaves of them.

    Args:
        checkpoint: with its decoder.
        images: files.
        config: of the pre-training, see ``load_mae``.
        maskings: (sampling, ratio) each.
        seed: of the masks of the first picture, the next for each further one.
        paste: show visible patches as they are.
        size: shorter side in pixels, ``"model"`` or ``"own"``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no decoder, or a picture that cannot be cut into patches.
    """
    from ..visualize.load_mae import load_mae
    from ..visualize.reconstruction import compare_maskings, fit_to_patches, read_image

    model, trained_side = load_mae(checkpoint, config)
    if size not in ("model", "own") and not size.isdigit():
        raise ValueError(f"--size {size} is neither a number of pixels, nor 'model' or 'own'")
    side = int(size) if size.isdigit() else {"model": trained_side, "own": None}[size]
    comparisons = []
    for i, path in enumerate(images):
        try:
            image = fit_to_patches(read_image(path), model.backbone.patch_size, side)
        except ValueError as error:
            raise ValueError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
        name = Path(path).name
        comparisons.append(compare_maskings(model, name, image, maskings, seed + i, paste))
    return comparisons


def main() -> None:
    """Load, reconstruct, write a PNG and an HTML page."""
    args = parse_args()
    from ..files import write_atomic
    from ..visualize.picture_page import comparison_page, encode_png
    from ..visualize.reconstruction import draw_comparisons

    maskings = [(sampling, ratio) for sampling in args.samplings for ratio in args.ratios]
    comparisons = reconstruct(
        args.checkpoint, args.images, args.config, maskings, args.seed, args.paste, args.size
    )

    out = Path(args.out)
    about = f"Checkpoint {Path(args.checkpoint).name}, masks of seed {args.seed}. Visible patches "
    about += "are shown as they are." if args.paste else "are shown as the model predicts them."
    page = comparison_page("Reconstructions", about, comparisons)
    write_atomic(encode_png(draw_comparisons(comparisons)), out / "reconstructions.png")
    write_atomic(page.encode(), out / "reconstructions.html")
    print(f"{out}: reconstructions.png, reconstructions.html of {len(comparisons)} pictures")
