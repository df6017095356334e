"""Index of models as OpenMMLab's packages have: ``python -m mae_bench.results.model_index ROOT``.

``model-index.yml`` and ``configs/metafile.yml`` list, for each row of a published table, the
recipes here that measure it, with what was published; ``mim search mae_bench`` reads them from the
installed package. An entry has ``Weights`` where its numbers are those of a public checkpoint as it
is, and not of a training from one.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ..checkpoint.known import find_known
from ..files import write_atomic
from .shipped import shipped_tables
from .table import PRETRAIN, Cell, Table

INDEX = "model-index.yml"
METAFILE = "configs/metafile.yml"
_HEAD = "# Generated from configs/suite/ by `make pages`, not to be edited.\n"
_TASKS = {
    "cls": "Image Classification",
    "det": "Object Detection",
    "pretrain": "Self-Supervised Image Classification",
    "seg": "Semantic Segmentation",
}
_DATASETS = {
    "ade20k": "ADE20K",
    "coco": "COCO",
    "imagenet_s": "ImageNet-S",
    "in1k": "ImageNet-1K",
    "inat": "iNaturalist",
    "places": "Places",
}


def write_model_index(root: str | Path) -> list[Path]:
    """Write both files below `root`, and return their paths."""
    tables = shipped_tables().values()
    content = {
        "Collections": [_collection(table) for table in tables],
        "Models": [model for table in tables for model in _models(table)],
    }
    files = {INDEX: {"Import": [METAFILE]}, METAFILE: content}
    written = []
    for name, data in files.items():
        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)
        write_atomic((_HEAD + text).encode(), Path(root, name))
        written.append(Path(root, name))
    return written


def _collection(table: Table) -> dict[str, Any]:
    paper = re.search(r"arXiv:([\d.]+)", table.source)
    return {
        "Name": table.name,
        "Metadata": {"Published By": table.source},
        **({"Paper": f"https://arxiv.org/abs/{paper[1]}"} if paper else {}),
    }


def _models(table: Table) -> Iterator[dict[str, Any]]:
    """An entry for each recipe and start of a row, with all columns that they measure together."""
    groups: dict[tuple[str, ...], list[Cell]] = {}
    for cell in table.cells.values():
        if cell.published is not None and cell.task:
            key = (cell.row, cell.task, repr(dict(cell.overrides)), cell.start or "")
            groups.setdefault(key, []).append(cell)
    rows = [key[0] for key in groups]
    for (row, *_), cells in groups.items():
        title = f"{table.name}, {row}"
        if rows.count(row) > 1:  # what tells the entries of a row apart
            title += f", {', '.join(cell.column for cell in cells)}"
        yield _model(table, title, cells)


def _model(table: Table, title: str, cells: list[Cell]) -> dict[str, Any]:
    cell = cells[0]
    start = table.starts[cell.start or ""]
    if cell.task == PRETRAIN:
        config, overrides = start.pretrain or "", dict(start.overrides)
    else:
        task = table.tasks[cell.task or ""]
        config, overrides = task.config, {**task.overrides, **cell.overrides}
    facts = {
        "Architecture": cell.facts.model,
        "Epochs": cell.facts.epochs,
        "Batch Size": cell.facts.batch,
        "Starts From": start.checkpoint or start.pretrain or "random weights",
        "Overrides": overrides,
    }
    folder = config.split("/")[1]
    model = {
        "Name": title,
        "In Collection": table.name,
        "Config": config,
        "Metadata": {key: value for key, value in facts.items() if value},
        "Results": [
            {
                "Task": _TASKS[folder],
                "Dataset": _dataset(config),
                "Metrics": {cell.column: cell.published for cell in cells},
            }
        ],
    }
    tested = cell.task != PRETRAIN and table.tasks[cell.task or ""].test == "start"
    known = find_known(start.checkpoint or "") if tested else None
    if known is not None:
        model["Weights"] = known.address
    return model


def _dataset(config: str) -> str:
    """Name of a recipe's data set, which its file name has."""
    if config.startswith("configs/pretrain/"):
        return "ImageNet-1K"
    for part, name in _DATASETS.items():
        if found := re.search(rf"_{part}(\d*)", config):
            return f"{name} {found[1]}".strip()
    raise ValueError(f"{config}: its name has no data set of {', '.join(_DATASETS)}")


if __name__ == "__main__":
    for file in write_model_index(sys.argv[1]):
        print(file)
