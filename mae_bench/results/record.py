"""One finished run is one ``record.json``, written atomically as the last act of the run.

Schema (version 3), one JSON object; every key is present, but for ``digest``:

=================== ==================== ========================================================
key                 type                 meaning
=================== ==================== ========================================================
schema_version      int                  3
task                str                  task label of the suite, e.g. ``"finetune"``
initialisation      str                  what the backbone started from, e.g. ``"MAE"``
metrics             {str: number|null}   metric name -> value; null where it was not finite
config_file         str                  config as it was named on the command line
config_sha256       str                  SHA-256 of the resolved config, see `config_sha256`
overrides           {str: any}           ``--cfg-options`` of the run
seed                int or null          random seed, null where none was set
checkpoint          object or null       ``file``, ``sha256``, ``report`` (how its tensors loaded),
                                         and, where the file says so of itself, ``metadata``:
                                         ``method``, ``data``, ``epochs``; null: random weights
run_card            object               effective batch, learning rate, precision, parameters, ...
model               object or null       ``backbone`` (class), ``embed_dim``, ``num_layers``,
                                         ``patch_size``, ``img_size``, ``classes``
data                {str: object}        split or set -> what identifies it: ``samples``, ``digest``
data_counts         {str: int}           samples of each, e.g. ``{"train": 640, "val": 160}``
versions            {str: str}           of the packages that decide the number
git_revision        str or null          commit of the code, null outside a git checkout
device              str                  e.g. ``"NVIDIA H100"`` or ``"cpu (x86_64, 2 cores)"``
started, finished   str                  ISO 8601 with time zone
duration_seconds    number               wall-clock time of the run
peak_memory_mib     number or null       GPU memory allocated, or resident memory on a CPU (MiB)
status              str                  ``"completed"`` or ``"failed"``
cells               list of object       cells of tables that the run measures, as a table or
                                         ``--cell`` stated them, see `claim`
exported            object or null       ``file``, ``sha256`` of the checkpoint the run has left;
                                         where it kept epochs, ``kept``: a list of the same of each
digest              str                  SHA-256 of all the rest (``files.json_digest``); compared
                                         where it is there, which it is not in older records
=================== ==================== ========================================================

Version 1 had neither ``exported`` nor ``checkpoint.metadata``, versions 1 and 2 neither ``cells``
nor ``model`` nor ``data``. They are still read, as records that say nothing of these.
"""

import copy
import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ..files import read_sealed_json, write_sealed_json

SCHEMA_VERSION = 3
# keys that a later version added -> what a record of an earlier one says by leaving them out
_ADDED: dict[int, dict[str, Any]] = {
    2: {"exported": None},
    3: {"cells": [], "model": None, "data": {}},
}
STATUSES = ("completed", "failed")
CHECKPOINT_KEYS = ("file", "sha256", "report")
EXPORTED_KEYS = ("file", "sha256")
CLAIM_KEYS = ("table", "row", "column")
_NUMBER = (int, float)
_NONE = type(None)
# What lies deeper, where it is there: "*" is every key of an object or item of a list.
_INNER: dict[str, tuple[type, ...]] = {
    "checkpoint.file": (str,),
    "checkpoint.sha256": (str,),
    "checkpoint.metadata": (dict, _NONE),
    "checkpoint.metadata.method": (str, _NONE),
    "checkpoint.metadata.data": (str, _NONE),
    "checkpoint.metadata.epochs": (*_NUMBER, _NONE),
    "exported.file": (str,),
    "exported.sha256": (str,),
    "exported.kept": (list,),
    "exported.kept.*": (dict,),
    "exported.kept.*.sha256": (str,),
    "run_card.parameters": _NUMBER,
    "run_card.trainable_parameters": _NUMBER,
    "run_card.iterations": _NUMBER,
    "run_card.trained_blocks": (*_NUMBER, _NONE),
    "run_card.search": (dict,),
    "run_card.search.means": (dict,),
    "run_card.search.trials": (int,),
    "run_card.search.gpu_hours": _NUMBER,
    "run_card.search.sampler": (str,),
    "data_counts.*": (int,),
    "data.*": (dict,),
    "data.*.digest": (str, _NONE),
    "versions.*": (str,),
    "cells.*.differs": (list,),
    "cells.*.differs.*": (str,),
}
_TYPES: dict[str, tuple[type, ...]] = {
    "task": (str,),
    "initialisation": (str,),
    "metrics": (dict,),
    "config_file": (str,),
    "config_sha256": (str,),
    "overrides": (dict,),
    "seed": (int, type(None)),
    "checkpoint": (dict, type(None)),
    "run_card": (dict,),
    "data_counts": (dict,),
    "versions": (dict,),
    "git_revision": (str, type(None)),
    "device": (str,),
    "started": (str,),
    "finished": (str,),
    "duration_seconds": _NUMBER,
    "peak_memory_mib": (*_NUMBER, type(None)),
    "status": (str,),
    "cells": (list,),
    "model": (dict, type(None)),
    "data": (dict,),
    "exported": (dict, type(None)),
}


@dataclass(frozen=True, kw_only=True)
class Record:
    """One finished run; the fields are the keys of the schema in the module's docstring.

    A metric that was not finite is ``nan`` here and null in the file.
    """

    task: str
    initialisation: str
    metrics: dict[str, float]
    config_file: str
    config_sha256: str
    overrides: dict[str, Any]
    seed: int | None
    checkpoint: dict[str, Any] | None
    run_card: dict[str, Any]
    data_counts: dict[str, int]
    versions: dict[str, str]
    git_revision: str | None
    device: str
    started: str
    finished: str
    duration_seconds: float
    peak_memory_mib: float | None
    status: str = "completed"
    cells: list[dict[str, Any]] = field(default_factory=list)
    model: dict[str, Any] | None = None
    data: dict[str, dict[str, Any]] = field(default_factory=dict)
    exported: dict[str, Any] | None = None

    def exported_sums(self) -> list[str]:
        """SHA-256 of each checkpoint the run has left: of its end, then of epochs it kept."""
        if self.exported is None:
            return []
        return [entry["sha256"] for entry in (self.exported, *self.exported.get("kept", []))]


def write_record(record: Record, path: str | Path) -> Path:
    """Write `record` as JSON to `path`, atomically, and return the path.

    Raises:
        ValueError: a field has the wrong type; the message names the file and the key.
    """
    path = Path(path)
    data = {"schema_version": SCHEMA_VERSION, **dataclasses.asdict(record)}
    data["metrics"] = {
        key: float(value) if math.isfinite(value) else None for key, value in record.metrics.items()
    }
    _validate(data, path)
    write_sealed_json(data, path)
    return path


def read_record(path: str | Path) -> Record:
    """Record in the file at `path`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a record of this schema, or was changed after it was written;
            the message names the file, and the key where it can.
    """
    path = Path(path)
    data = read_sealed_json(path)
    _upgrade(data)
    _validate(data, path)
    del data["schema_version"]
    data["metrics"] = {
        key: math.nan if value is None else float(value) for key, value in data["metrics"].items()
    }
    return Record(**data)


def config_sha256(config_file: str | Path, overrides: dict[str, Any] | None = None) -> str:
    """SHA-256 (hex) of the resolved config: parents merged, `overrides` applied, keys sorted.

    Comments, key order and the split into files do not change it; any value does.
    """
    from ..config.read_file import read_file  # imports MMEngine

    config = read_file(config_file)
    try:
        config.merge_from_dict(overrides or {})
    except (KeyError, TypeError):  # one more item of a list, an item of a tuple
        config = read_file(config_file)
        config.overrides = overrides
    text = json.dumps(config.to_dict(), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _upgrade(data: Any) -> None:
    """Bring what an earlier version wrote to the present schema; `_validate` checks the result."""
    if not isinstance(data, dict) or data.get("schema_version") not in range(1, SCHEMA_VERSION):
        return
    for version in range(data["schema_version"] + 1, SCHEMA_VERSION + 1):
        for key, value in _ADDED[version].items():
            data.setdefault(key, copy.copy(value))
    data.pop("reproduces", None)  # of version 2: what a config said of cells, and often wrongly
    data["schema_version"] = SCHEMA_VERSION


def _below(node: Any, keys: Sequence[str], place: str = "") -> Iterator[tuple[str, Any]]:
    """What stands under a dotted pattern, and where; nothing where there is no such thing."""
    if not keys:
        yield place, node
        return
    items = dict(enumerate(node)) if isinstance(node, list) else node
    if isinstance(items, dict):
        for key, value in items.items():
            if keys[0] in ("*", key):
                yield from _below(value, keys[1:], f"{place}.{key}" if place else str(key))


def _validate(data: Any, path: Path) -> None:
    """Raise ValueError naming `path` and the key where `data` is not a record of this schema."""
    if not isinstance(data, dict) or "schema_version" not in data:
        raise ValueError(f"{path}: not a record of mae_bench (key 'schema_version' is missing)")
    if data["schema_version"] != SCHEMA_VERSION:
        raise ValueError(
            f"{path}: key 'schema_version' is {data['schema_version']!r}, "
            f"this version of mae_bench reads 1 to {SCHEMA_VERSION}"
        )
    if unknown := sorted(data.keys() - _TYPES.keys() - {"schema_version"}):
        raise ValueError(f"{path}: unknown key '{unknown[0]}'")
    if missing := [key for key in _TYPES if key not in data]:
        raise ValueError(f"{path}: key '{missing[0]}' is missing")
    for pattern, types in {**_TYPES, **_INNER}.items():
        for key, value in _below(data, pattern.split(".")):
            # bool is an int to isinstance, and is never what a field of ours means
            if not isinstance(value, types) or isinstance(value, bool):
                wanted = " or ".join(one.__name__ for one in types)
                raise ValueError(f"{path}: key '{key}' is {type(value).__name__}, not {wanted}")
    for name in ("duration_seconds", "peak_memory_mib"):
        if data[name] is not None and not 0 <= data[name] < math.inf:
            raise ValueError(f"{path}: key '{name}' is {data[name]}, which it cannot be")
    for name, value in data["metrics"].items():
        if value is not None and (not isinstance(value, _NUMBER) or isinstance(value, bool)):
            raise ValueError(f"{path}: key 'metrics.{name}' is {value!r}, not a number")
    for name, keys in (("checkpoint", CHECKPOINT_KEYS), ("exported", EXPORTED_KEYS)):
        for key in keys if data[name] is not None else ():
            if key not in data[name]:
                raise ValueError(f"{path}: key '{name}.{key}' is missing")
    kept = (data["exported"] or {}).get("kept", [])
    for index, entry in enumerate(kept if isinstance(kept, list) else [kept]):
        for key in EXPORTED_KEYS:
            if not isinstance(entry, dict) or key not in entry:
                raise ValueError(f"{path}: key 'exported.kept.{index}.{key}' is missing")
    for index, entry in enumerate(data["cells"]):
        for key in CLAIM_KEYS:
            if not isinstance(entry, dict) or not isinstance(entry.get(key), str):
                raise ValueError(f"{path}: key 'cells.{index}.{key}' is missing or no text")
    for key in ("started", "finished"):
        try:
            datetime.fromisoformat(data[key])
        except ValueError:
            raise ValueError(f"{path}: key '{key}' is no ISO 8601 time: {data[key]!r}") from None
    if data["status"] not in STATUSES:
        raise ValueError(f"{path}: key 'status' is {data['status']!r}, not one of {STATUSES}")
