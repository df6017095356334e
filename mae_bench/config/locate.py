"""Where the configs of this package are, in a checkout and in an installed package."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped_configs() -> Path:
    """The folder ``configs``: beside the package in a checkout, in ``.mim`` of an installed one.

    Raises:
        FileNotFoundError: neither is there.
    """
    for folder in (_PACKAGE.parent / "configs", _PACKAGE / ".mim" / "configs"):
        if (folder / "suite").is_dir():
            return folder
    raise FileNotFoundError(f"{_PACKAGE}: no folder 'configs' beside it, and none in .mim")


def find_config(name: str) -> Path:
    """A config by its name in the current folder, or else among the shipped ones."""
    path = Path(name)
    if not path.is_file() and path.parts[:1] == ("configs",):
        shipped = shipped_configs().joinpath(*path.parts[1:])
        if shipped.is_file():
            return shipped
    return path
