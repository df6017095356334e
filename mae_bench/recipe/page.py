"""The page of a recipe: every value that decides its number, and where it is from."""

import warnings
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope

from ..config.keys import BATCH_KEY
from ..config.load import load_config
from .built import Run, build, groups, kind_of, layers, parameters, peak_rate, rates
from .sources import Sources
from .values import Value, sections_of

ABOUT = """\
What this recipe is, read off its config, the model and the optimizer that it builds, and the
defaults of the libraries. Numbers name the sources below. "default" is what the config leaves to a
library. Written by `tools/describe.py --all`, not to be edited."""
LIBRARIES = [
    "torch",
    "torchvision",
    "timm",
    "mmengine",
    "mmcv",
    "mmdetection",
    "mmsegmentation",
    "mmpretrain",
]
NO_SOURCE = "no source"


class _Page:
    """Sections of a page and the sources that they name."""

    def __init__(self, title: str, sources: Sources) -> None:
        self.parts = [f"# {title}", ABOUT]
        self.sources = sources
        self.numbers: dict[str, int] = {}

    def add(self, heading: str, *text: str) -> None:
        self.parts += [f"## {heading}", *text]

    def cite(self, key: str) -> str:
        """Number of the source of a key."""
        source = self.sources.of(key)
        if not source:
            return NO_SOURCE
        return f"[{self.numbers.setdefault(source, len(self.numbers) + 1)}]"

    def cite_value(self, value: Value) -> str:
        """The same with the library whose default it is; objects and defaults need no source."""
        cited = self.cite(value.key)
        if cited == NO_SOURCE and (value.is_object or value.default_of):
            cited = ""
        return ", ".join(
            filter(None, (cited, value.default_of and f"default of {value.default_of}"))
        )

    def text(self) -> str:
        listed = "\n".join(f"{number}. {source}" for source, number in self.numbers.items())
        return "\n\n".join([*self.parts, "## Sources", listed]) + "\n"


def versions() -> str:
    """Versions of the libraries whose defaults are on the pages, as a table."""
    return _table(("library", "version"), ((name, _version(name)) for name in LIBRARIES))


def describe(path: Path, overrides: dict[str, Any] | None = None) -> str:
    """The page of a config in Markdown.

    Args:
        path: of the config.
        overrides: dotted key -> value, as ``--cfg-options``.

    Raises:
        FileNotFoundError, ValueError: as ``load_config``; or no sources are written for its folder.
    """
    cfg = _load(path, overrides)
    page = _Page(f"{path.parent.name}/{path.name}", Sources(path))
    if overrides:
        page.parts.append("With " + ", ".join(f"`{k}={v}`" for k, v in overrides.items()) + ".")
    for heading, values in sections_of(cfg).items():
        rows = ((f"`{v.key}`", v.text, page.cite_value(v)) for v in values)
        page.add(heading, _table(("value", "", "source"), rows))
    if "backbone" in cfg.model:  # else it is a model of another library
        _add_model(page, cfg)
    return page.text()


def _load(path: Path, overrides: dict[str, Any] | None) -> Config:
    cfg = load_config(path, overrides)
    init_default_scope(cfg.default_scope)
    return cfg


def _add_model(page: _Page, cfg: Config) -> None:
    model, starts = build(cfg)
    total = sum(parameter.numel() for parameter in model.parameters())
    page.add(
        "Layers as built",
        f"{total:,} parameters.",
        _table(
            ("name", "layer", "times"),
            ((f"`{name}`", text, str(count)) for name, text, count in layers(model)),
        ),
    )
    cited = {kind_of(name): page.cite(f"start.{name}") for name in starts}
    page.add(
        "First weights as built",
        "Without a checkpoint, which replaces those of the backbone.",
        _table(
            ("parameter", "shape", "times", "from", "source"),
            (
                (f"`{name}`", shape, str(count), f"{start} {frozen}".strip(), cited[name])
                for name, shape, start, frozen, count in parameters(model, starts)
            ),
        ),
    )
    if cfg.get("optim_wrapper") is None:
        return
    page.add(
        "Parameter groups as built",
        _table(
            ("lr over the peak", "weight decay", "tensors", "values"),
            (
                (f"{scale:.6g}", f"{decay:g}", str(tensors), f"{values:,}")
                for scale, decay, tensors, values in groups(cfg, model)
            ),
        ),
    )
    parts = cfg.optim_wrapper.get("accumulative_counts", 1)
    run = page.sources.run(cfg.get(BATCH_KEY) or cfg.train_dataloader.batch_size * parts)
    if run is not None:
        _add_schedule(page, cfg, run)


def _add_schedule(page: _Page, cfg: Config, run: Run) -> None:
    peak = peak_rate(cfg, run)
    length = f"{run.images:,} images an epoch in batches of {run.batch:,}"
    if cfg.train_cfg.get("max_epochs"):
        length += f": {run.epoch_length:,} iterations"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the optimizer takes no steps
        shares = rates(cfg, run)
    page.add(
        "Learning rate as built",
        f"{length}. The peak is {peak:g}.",
        _table(
            ("iteration", "learning rate", "of the peak"),
            ((f"{step:,}", f"{share * peak:.4g}", f"{share:.6f}") for step, share in shares),
        ),
    )


def _version(name: str) -> str:
    for candidate in (name, f"onedl-{name}"):  # as it is called where OpenMMLab's has no wheel
        try:
            return version(candidate).partition("+")[0]
        except ImportError:
            continue
    return "not installed"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    cells = ((cell.replace("|", "\\|") for cell in line) for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
