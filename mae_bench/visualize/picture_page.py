"""Pictures as one HTML file that needs no other."""

import base64
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import cv2
import numpy as np

from .reconstruction import GAP, Comparison

STYLE = """
body { font: 14px sans-serif; margin: 2em; }
th { font-weight: normal; color: #444; padding: 4px; }
td { padding: 2px; text-align: center; vertical-align: middle; }
td:first-child { text-align: right; color: #444; padding-right: 8px; }
img { image-rendering: pixelated; display: block; }
div { display: flex; flex-wrap: wrap; align-items: flex-start; }
figure { margin: 4px; }
figcaption { color: #444; font-size: 11px; overflow-wrap: anywhere; }
"""


class Picture(NamedTuple):
    """(H, W, 3) uint8 RGB, and a line that says what it shows."""

    image: np.ndarray
    caption: str


def encode_png(image: np.ndarray) -> bytes:
    """PNG of (H, W, 3) uint8 RGB."""
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()


def tile(images: Sequence[np.ndarray]) -> np.ndarray:
    """Images of any sizes, (H, W, 3) uint8, as one that is about as wide as high, on white."""
    cell_height, cell_width = (max(image.shape[axis] for image in images) + GAP for axis in (0, 1))
    area = len(images) * cell_height * cell_width
    columns = min(len(images), max(1, round(area**0.5 / cell_width)))
    rows = -(-len(images) // columns)
    canvas = np.full((rows * cell_height, columns * cell_width, 3), 255, np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * cell_height, index % columns * cell_width
        canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
    return canvas


def comparison_page(title: str, about: str, comparisons: Sequence[Comparison]) -> str:
    """HTML with a table: one row for each picture, its cells embedded as PNG.

    Args:
        title: of the page.
        about: one line on what the cells are of.
        comparisons: all with the same headings.
    """
    headings = "".join(f"<th>{escape(heading)}</th>" for heading, _ in comparisons[0].cells)
    rows = []
    for name, cells in comparisons:
        images = "".join(f"<td>{_embed(cell, f'{name}, {head}')}</td>" for head, cell in cells)
        rows.append(f"<tr><td>{escape(name)}</td>{images}</tr>")
    return _page(
        title, about, f"<table><tr><th></th>{headings}</tr>\n" + "\n".join(rows) + "\n</table>"
    )


def gallery_page(
    title: str, about: str, pictures: Sequence[Picture], drawings: Sequence[str] = ()
) -> str:
    """HTML with pictures in rows, embedded as PNG, below drawings in inline SVG."""
    figures = [
        f"<figure>{_embed(image, caption)}<figcaption>{escape(caption)}</figcaption></figure>"
        for image, caption in pictures
    ]
    svgs = "".join(f"<figure>{drawing}</figure>" for drawing in drawings)
    return _page(title, about, f"<div>{svgs}</div>\n<div>" + "\n".join(figures) + "</div>")


def _embed(image: np.ndarray, text: str) -> str:
    content = base64.b64encode(encode_png(image)).decode()
    return f'<img alt="{escape(text, quote=True)}" src="data:image/png;base64,{content}">'


def _page(title: str, about: str, body: str) -> str:
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1><p>{escape(about)}</p>\n{body}</body></html>\n"
    )
