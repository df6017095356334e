"""Reconstructions as one HTML file that needs no other."""

import base64
from collections.abc import Sequence
from html import escape

import cv2
import numpy as np

from .reconstruction import Comparison

STYLE = """
body { font: 14px sans-serif; margin: 2em; }
th { font-weight: normal; color: #444; padding: 4px; }
td { padding: 2px; text-align: center; vertical-align: middle; }
td:first-child { text-align: right; color: #444; padding-right: 8px; }
img { image-rendering: pixelated; display: block; }
"""


def encode_png(image: np.ndarray) -> bytes:
    """PNG of (H, W, 3) uint8 RGB."""
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()


def reconstruction_page(title: str, about: str, comparisons: Sequence[Comparison]) -> str:
    """HTML with a table: one row for each picture, its cells embedded as PNG.

    Args:
        title: of the page.
        about: one line on the model and the maskings.
        comparisons: all with the same maskings.
    """
    headings = "".join(f"<th>{escape(heading)}</th>" for heading, _ in comparisons[0].cells)
    rows = []
    for name, cells in comparisons:
        images = "".join(
            f'<td><img alt="{escape(f"{name}, {heading}", quote=True)}" '
            f'src="data:image/png;base64,{base64.b64encode(encode_png(cell)).decode()}"></td>'
            for heading, cell in cells
        )
        rows.append(f"<tr><td>{escape(name)}</td>{images}</tr>")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1><p>{escape(about)}</p>\n"
        f"<table><tr><th></th>{headings}</tr>\n" + "\n".join(rows) + "\n</table></body></html>\n"
    )
