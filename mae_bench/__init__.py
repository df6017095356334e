"""mae_bench: how well a masked-autoencoder ViT transfers, as one benchmark on OpenMMLab.

The names below are what a notebook needs, each the same code as its command; docs/python.md shows
them. They are imported when they are first used: importing this package imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mae_bench.openmmlab import host_imports as host_imports  # first, before any host library

if TYPE_CHECKING:
    from mae_bench.checkpoint.build import build_backbone as load_backbone
    from mae_bench.checkpoint.known import list_checkpoints
    from mae_bench.cli.predict import predict
    from mae_bench.cli.test import evaluate
    from mae_bench.cli.train import train
    from mae_bench.config.locate import list_recipes
    from mae_bench.results.frames import read_records, tables

__version__ = "0.1.0"
__all__ = [
    "evaluate",
    "list_checkpoints",
    "list_recipes",
    "load_backbone",
    "predict",
    "read_records",
    "tables",
    "train",
]
_PLACES = {
    "load_backbone": ("checkpoint.build", "build_backbone"),
    "train": ("cli.train", "train"),
    "evaluate": ("cli.test", "evaluate"),
    "predict": ("cli.predict", "predict"),
    "read_records": ("results.frames", "read_records"),
    "tables": ("results.frames", "tables"),
    "list_recipes": ("config.locate", "list_recipes"),
    "list_checkpoints": ("checkpoint.known", "list_checkpoints"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PLACES[name]
    found = getattr(import_module(f"{__name__}.{module}"), attribute)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
