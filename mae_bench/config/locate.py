"""Where the configs of this package are, in a checkout and in an installed package."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_OF_PACKAGE = "mae_bench::"  # as MMEngine writes a config of a package: mmdet::retinanet/...


def shipped_configs() -> Path:
    """The folder ``configs``: beside the package in a checkout, in it where it is installed.

    Raises:
        FileNotFoundError: neither is there.
    """
    for folder in (_PACKAGE.parent / "configs", _PACKAGE / "configs"):
        if (folder / "suite").is_dir():
            return folder
    raise FileNotFoundError(f"{_PACKAGE}: no folder 'configs' beside it, and none in it")


def find_config(name: str | Path) -> Path:
    """A config by its name in the current folder, or else among the shipped ones.

    ``mae_bench::det/....py`` is always the shipped one.
    """
    text = str(name)
    if text.startswith(_OF_PACKAGE):
        return shipped_configs() / text.removeprefix(_OF_PACKAGE)
    path = Path(name)
    if not path.is_file() and path.parts[:1] == ("configs",):
        shipped = shipped_configs().joinpath(*path.parts[1:])
        if shipped.is_file():
            return shipped
    return path


def list_recipes() -> list[str]:
    """The shipped configs by the names that commands take, as ``configs/cls/....py``."""
    folder = shipped_configs()
    return sorted(
        f"configs/{path.relative_to(folder).as_posix()}" for path in folder.glob("*/*.py")
    )
