"""Checkpoints by name, such as ``mae:vit_base``, and where their files lie."""

from pathlib import Path

FOLDER = Path("checkpoints")


def local_file(checkpoint: str) -> Path:
    """The file of a checkpoint that is given as a path, or by name ``SOURCE:MODEL``."""
    if ":" not in checkpoint:
        return Path(checkpoint)
    return FOLDER / f"{checkpoint.replace(':', '_')}.pth"
