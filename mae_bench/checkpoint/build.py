"""The backbone that a checkpoint proves, built and filled: from a file or name to features."""

from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from ..models.vit import VisionTransformer
from .metadata import Unseen
from .names import visible_architecture
from .reader import read_checkpoint
from .transfer import load_backbone


def build_backbone(
    checkpoint: str | Path,
    output: str = "mean",
    *,
    key: str | None = None,
    prefix: str | None = None,
    num_heads: int | None = None,
    **changes: Any,
) -> VisionTransformer:
    """Build the Vision Transformer of a checkpoint, load it, and log what became of each tensor.

    Its ``loading_report`` is that report. ``input_statistics`` are the mean and std of the
    channels that it was trained with, on the scale 0..255, or None where nothing tells.

    Args:
        checkpoint: a file of any format that we read, a folder of Hugging Face, ``mae:vit_base``
            and the like, ``hf-hub:OWNER/NAME`` or ``timm:NAME``.
        output: what it returns for images (B, 3, H, W), as a tuple, see ``VisionTransformer``;
            ``"maps"`` is that of the last block unless ``out_indices`` says more.
        key: entry of the file to take, dots between levels.
        prefix: take names with this prefix, without it.
        num_heads: where the file does not show it.
        **changes: other arguments of ``VisionTransformer`` than the file's, such as ``img_size``
            or ``out_indices``.

    Returns:
        in evaluation mode, on the CPU.

    Raises:
        FileNotFoundError: no such file, or it cannot be had.
        ValueError: a bad file, one of another model, or changes that do not fit it.
    """
    read = read_checkpoint(checkpoint, key, prefix)
    # The architecture does not depend on the statistics, which may be unknown.
    channels = visible_architecture(read.imported.tensors).get("in_channels", 3)
    unseen = Unseen(num_heads=num_heads, mean=[0.0] * channels, std=[1.0] * channels)
    metadata = read.describe(unseen)
    if output == "maps":
        depth = VisionTransformer.size_of(metadata.architecture["arch"])["depth"]
        changes.setdefault("out_indices", (depth - 1,))
    backbone = VisionTransformer(
        **{**metadata.architecture, "img_size": metadata.img_size, "output": output, **changes}
    )
    report = load_backbone(backbone, read)
    print_log(report.summary(), logger="current")
    known = read.statistics if read.statistics and len(read.statistics[0]) == channels else None
    backbone.__dict__["input_statistics"] = known
    return backbone.eval()
