"""What a run starts from: found in one place, read once, loaded once, said in the record."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from torch import nn

from ..checkpoint.continued import load_autoencoder
from ..checkpoint.locate_checkpoint import cached_timm
from ..checkpoint.reader import Checkpoint, read_checkpoint
from ..checkpoint.transfer import load_backbone
from ..checkpoint.whole_model import load_model, start_model
from ..config.model_input import follow_input
from ..distributed import unwrap
from ..files import sha256_of
from ..models import MAE
from ..text import printable

# Initialisers that read a file: MMEngine's, under either of its names, and ours.
FROM_FILE = ("Pretrained", "PretrainedInit", "PretrainedBackbone", "PretrainedAutoencoder")


@dataclass
class Start:
    """What a run starts from.

    Args:
        file: as it was named.
        sha256: of the file, hexadecimal.
        metadata: ``method``, ``data``, ``epochs``, ``format`` and others, see
            ``Checkpoint.facts``.
        report: what became of every tensor, once they are loaded.
        checkpoint: the file, read, until its tensors are loaded.
        whole: whether heads and necks are loaded too, as far as they are of the same structure.
        exactly: whether the file has to be of exactly this model, to be tested.
        allow_unfilled: of the backbone, see ``load_backbone``.
    """

    file: str
    sha256: str
    metadata: dict[str, Any]
    report: dict[str, Any] | None = None
    checkpoint: Checkpoint | None = None
    whole: bool = False
    exactly: bool = False
    allow_unfilled: Sequence[str] = ()

    def load_into(self, model: nn.Module) -> None:
        """Load and log; a model of another library reads the tensors itself.

        Raises:
            ValueError: the file does not fit the model, which is then as it was.
        """
        inner: Any = unwrap(model)
        checkpoint, self.checkpoint = self.checkpoint, None
        if checkpoint is None:
            return  # loaded before
        if hasattr(inner, "load_weights"):
            inner.load_weights(checkpoint)
            return
        if self.exactly:
            report = load_model(inner, checkpoint)
        elif self.whole:
            report = start_model(inner, checkpoint)
        elif isinstance(inner, MAE):
            report = load_autoencoder(inner, checkpoint)
        else:
            report = load_backbone(inner.backbone, checkpoint, self.allow_unfilled)
        print_log(report.summary(), logger="current")
        self.report = report.as_dict()

    def as_record(self) -> dict[str, Any]:
        """``file``, ``sha256``, ``metadata`` and ``report``, for the record."""
        return {name: getattr(self, name) for name in ("file", "sha256", "metadata", "report")}


def find_start(cfg: Config, checkpoint: str | Path | None = None) -> Start | None:
    """Read what a training run starts from, and take it out of the config.

    That is the ``--checkpoint`` of the command line; else an ``init_cfg`` of ``model`` or
    ``model.backbone`` that reads a file, ours or MMEngine's ``Pretrained``; or ``load_from``. All
    of them are loaded by our own reader after everything else is initialised, as strictly as it
    does, so that nothing fits only by half.

    Args:
        cfg: changed: without these keys. Where it is to ``resume``, ``load_from`` is a training
            state to go on from, and stays.
        checkpoint: of the command line; takes the place of an ``init_cfg``.

    Returns:
        None where all weights are random.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a bad file, several files to start from, or one for another part of the model.
    """
    given = []
    for place, initialiser in _take_initialisers(cfg.model):
        if place not in ("model", "model.backbone"):
            raise ValueError(
                f"{place}.init_cfg reads {initialiser.get('checkpoint')} for a part of the model: "
                "only a backbone or a whole model starts from a file, and the record says which; "
                "put all into one file and give it as load_from"
            )
        if "type" not in initialiser:
            raise ValueError(f"{place}.init_cfg has no type: give its file with --checkpoint")
        if "checkpoint" not in initialiser:
            raise ValueError(f"{place}.init_cfg has no checkpoint, the file to read")
        whole = place == "model" and _name(initialiser) in ("Pretrained", "PretrainedInit")
        given.append({**initialiser, "whole": whole})
    if checkpoint:
        given = [dict(checkpoint=str(checkpoint))]
    if cfg.get("load_from") and not cfg.get("resume"):
        given.append(dict(checkpoint=cfg.load_from, whole=True))
        cfg.load_from = None
    if not given:
        return None
    if len(given) > 1:
        files = " and ".join(str(one["checkpoint"]) for one in given)
        raise ValueError(f"the run starts from several files, {files}: leave one")
    (source,) = given
    start = _read(source["checkpoint"], source.get("key"), source.get("prefix"))
    start.whole = source.get("whole", False)
    start.allow_unfilled = source.get("allow_unfilled", ())
    _follow(cfg, start)
    return start


def find_tested(cfg: Config, checkpoint: str | Path) -> Start:
    """Read the whole model that a test is of; whatever the config would start from is left out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a bad file.
    """
    _take_initialisers(cfg.model)
    cfg.load_from = None
    start = _read(checkpoint)
    start.exactly = True
    _follow(cfg, start)
    return start


def find_own_weights(cfg: Config) -> Start | None:
    """What a model of timm with weights of its own starts from; timm loads them.

    None where timm has not fetched them from the hub.
    """
    model = cfg.model.get("model_name")
    source = cached_timm(model) if model and cfg.model.get("pretrained") else None
    if source is None:
        return None
    metadata = dict(method="unknown", data=None, epochs=None, format="timm")
    return Start(f"timm:{model}", sha256_of(source.path), {**metadata, "revision": source.revision})


def _follow(cfg: Config, start: Start) -> None:
    """Feed the model as the file says, and have the report say so."""
    assert start.checkpoint is not None
    notes = follow_input(cfg, start.checkpoint, start.exactly)
    for note in notes:
        text = printable(f"{start.file}: {note}")
        print_log(text, logger="current", level=logging.WARNING)
    start.checkpoint.notes += notes


def _read(file: str | Path, key: str | None = None, prefix: str | None = None) -> Start:
    checkpoint = read_checkpoint(file, key, prefix)
    return Start(str(file), checkpoint.sha256, checkpoint.facts, checkpoint=checkpoint)


def _take_initialisers(node: Any, place: str = "model") -> list[tuple[str, dict[str, Any]]]:
    """Initialisers that read a file, taken out of a model's config, and where they were."""
    if isinstance(node, (list, tuple)):
        inside = {f"{place}.{index}": item for index, item in enumerate(node)}
        return [found for name, item in inside.items() for found in _take_initialisers(item, name)]
    if not isinstance(node, dict):
        return []
    listed = node.get("init_cfg") or []
    listed = list(listed) if isinstance(listed, (list, tuple)) else [listed]
    taken = [(place, one) for one in listed if _reads_file(one)]
    if taken:
        node["init_cfg"] = [one for one in listed if not _reads_file(one)] or None
    for name in [name for name in node if name != "init_cfg"]:
        taken += _take_initialisers(node[name], f"{place}.{name}")
    return taken


def _reads_file(initialiser: Any) -> bool:
    return _name(initialiser) in FROM_FILE or set(initialiser) == {"checkpoint"}


def _name(initialiser: Any) -> str:
    """Name of an initialiser's class, without its scope."""
    kind = initialiser.get("type", "") if isinstance(initialiser, dict) else ""
    return kind.split(".")[-1] if isinstance(kind, str) else kind.__name__
