"""The suite file: which initialisations are compared on which tasks with which seeds.

```yaml
name: demo
data: miniworld               # embedded data set, built under data/ when missing; null for none
seeds: [0]
initialisations:              # one row of the table each
  random: null                # no checkpoint
  MAE: {pretrain: configs/pretrain/a.py, minutes: 10}
  MAE-50: {pretrain: configs/pretrain/a.py, overrides: {model.mask_ratio: 0.5}}
  timm: {checkpoint: checkpoints/b.pth}      # in any format that tools/train.py reads
tasks:                        # one or more columns of the table each
  finetune:
    config: configs/cls/c.py
    minutes: 2.5              # rough cost on one core, until there are records to go by
    metrics: {accuracy/top1: fine-tuned top-1}    # key in the record: title of the column
    overrides: {train_cfg.max_epochs: 50}         # as with --cfg-options
    grid:                     # one job for each combination; the best one is the task's result
      optim_wrapper.optimizer.lr: [0.0005, 0.001]
      model.backbone.drop_path_rate: [0.1, 0.2]
    select: accuracy/top1     # best by this metric, averaged over the seeds
  robustness:
    config: configs/cls/d.py
    test: finetune            # evaluates the model of that task instead of training one
    minutes: 1
    metrics: {corruption_error/mean: corruption error}
    lower_is_better: true     # default false
    scale: 100                # the table shows metric x scale; default 1
```

File names are relative to the folder the suite is run from: the repository root. A suite that
differs from another in a few keys names it, ``base: demo.yaml`` in the same folder, and gives just
those keys.
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..config.overrides import as_options
from ..results.table import Column, Layout

SEED_KEY = "randomness.seed"  # of MMEngine's configs
PRETRAIN = "pretrain"  # folder of the pre-training job, so no task may have this name
DATA_SETS = ("miniworld",)
# the name is a folder's name and part of an HTML anchor
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


@dataclass(frozen=True)
class Initialisation:
    """What a backbone starts from: a pre-training config to run, a checkpoint file, or neither.

    `overrides` (dotted key -> value) are those of the pre-training config.
    """

    pretrain: str | None = None
    checkpoint: str | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    minutes: float | None = None


@dataclass(frozen=True)
class Task:
    """One config run for every initialisation; `metrics` maps a record's key to a title.

    With a `grid` (dotted key -> values) every combination is run, and the one with the best mean
    of the metric `select` over the seeds is the task's result.
    """

    config: str
    metrics: dict[str, str]
    test: str | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, list[Any]] = field(default_factory=dict)
    select: str | None = None
    minutes: float | None = None
    lower_is_better: bool = False
    scale: float = 1.0


@dataclass(frozen=True)
class Suite:
    """A validated suite file; its keys are described in the module's docstring."""

    file: str
    name: str
    seeds: list[int]
    initialisations: dict[str, Initialisation]
    tasks: dict[str, Task]
    data: str | None = field(default=None)

    def layout(self) -> Layout:
        """Rows and columns of this suite's table."""
        columns = [
            Column(name, metric, title, task.scale, task.lower_is_better)
            for name, task in self.tasks.items()
            for metric, title in task.metrics.items()
        ]
        return Layout(self.name, list(self.initialisations), columns)


def load_suite(path: str | Path) -> Suite:
    """Read and validate a suite file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a key is unknown, missing or has a wrong value, or a file it names does not
            exist; one line naming the suite file and the key.
    """
    data = _read_yaml(Path(path))
    if isinstance(data, dict) and isinstance(data.get("base"), str):
        base = Path(path).with_name(data.pop("base"))
        if not base.is_file():
            raise ValueError(f"{path}: key 'base' names a file that does not exist: {base}")
        data = {**_read_yaml(base), **data}
    reader = _Reader(str(path))
    reader.keys(data, "", required={"name", "seeds", "initialisations", "tasks"}, optional={"data"})
    reader.check(isinstance(data["name"], str), "name", "must be a string")
    reader.check(
        data.get("data") in (None, *DATA_SETS), "data", f"must be one of {', '.join(DATA_SETS)}"
    )
    seeds = data["seeds"]
    reader.check(
        isinstance(seeds, list)
        and len(seeds) > 0
        and all(type(seed) is int and seed >= 0 for seed in seeds)
        and len(set(seeds)) == len(seeds),
        "seeds",
        "must be a list of different non-negative integers",
    )
    initialisations = {
        name: reader.initialisation(value, f"initialisations.{name}")
        for name, value in reader.named(data["initialisations"], "initialisations")
    }
    tasks = {
        name: reader.task(value, f"tasks.{name}")
        for name, value in reader.named(data["tasks"], "tasks")
    }
    reader.check(PRETRAIN not in tasks, f"tasks.{PRETRAIN}", "is reserved for pre-training")
    for name, task in tasks.items():
        target = tasks.get(task.test) if task.test else None
        reader.check(
            task.test is None or (target is not None and target.test is None),
            f"tasks.{name}.test",
            f"names no task that trains a model: {task.test!r}",
        )
    return Suite(str(path), data["name"], seeds, initialisations, tasks, data.get("data"))


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from None


class _Reader:
    """Checks on the parsed YAML; every failure is one line naming the file and the key."""

    def __init__(self, file: str) -> None:
        self.file = file

    def check(self, condition: bool, key: str, message: str) -> None:
        if not condition:
            raise ValueError(f"{self.file}: key '{key}' {message}")

    def keys(self, data: Any, key: str, required: set[str], optional: set[str]) -> None:
        if not isinstance(data, dict):
            raise ValueError(f"{self.file}: {f'key {key!r}' if key else 'the file'} is no mapping")
        prefix = f"{key}." if key else ""
        for name in data:
            close = difflib.get_close_matches(str(name), required | optional, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            self.check(name in required | optional, f"{prefix}{name}", f"is unknown{hint}")
        for name in sorted(required):
            self.check(name in data, f"{prefix}{name}", "is missing")

    def named(self, data: Any, key: str) -> Iterable[tuple[str, Any]]:
        self.check(isinstance(data, dict) and len(data) > 0, key, "must be a non-empty mapping")
        for name in data:
            self.check(
                isinstance(name, str) and _NAME.fullmatch(name) is not None,
                f"{key}.{name}",
                "is used as a folder: letters, digits and _.+- only",
            )
        return data.items()

    def existing_file(self, value: Any, key: str) -> None:
        self.check(
            isinstance(value, str) and Path(value).is_file(),
            key,
            f"names a file that does not exist: {value} (looked in {Path.cwd()})",
        )

    def positive(self, data: dict[str, Any], name: str, key: str) -> None:
        value = data.get(name, 1.0)
        self.check(
            type(value) in (int, float) and value > 0,
            f"{key}.{name}",
            "must be a positive number",
        )

    def initialisation(self, data: Any, key: str) -> Initialisation:
        if data is None:
            return Initialisation()
        optional = {"pretrain", "checkpoint", "overrides", "minutes"}
        self.keys(data, key, required=set(), optional=optional)
        sources = data.keys() & {"pretrain", "checkpoint"}
        self.check(len(sources) == 1, key, "needs either 'pretrain' or 'checkpoint'")
        for name in sources:
            self.existing_file(data[name], f"{key}.{name}")
        self.positive(data, "minutes", key)
        if "overrides" in data:
            self.check("pretrain" in data, f"{key}.overrides", "needs 'pretrain'")
            self.overrides(data["overrides"], f"{key}.overrides")
        return Initialisation(**data)

    def task(self, data: Any, key: str) -> Task:
        optional = {"test", "overrides", "grid", "select", "minutes", "lower_is_better", "scale"}
        self.keys(data, key, required={"config", "metrics"}, optional=optional)
        self.existing_file(data["config"], f"{key}.config")
        metrics = data["metrics"]
        self.check(
            isinstance(metrics, dict)
            and len(metrics) > 0
            and all(isinstance(text, str) for text in (*metrics, *metrics.values())),
            f"{key}.metrics",
            "must map a metric's key to its title",
        )
        self.positive(data, "minutes", key)
        self.positive(data, "scale", key)
        self.check(
            isinstance(data.get("lower_is_better", False), bool),
            f"{key}.lower_is_better",
            "must be true or false",
        )
        self.overrides(data.get("overrides", {}), f"{key}.overrides")
        self.check(
            ("grid" in data) == ("select" in data),
            f"{key}.grid",
            "and 'select', the metric that the best is chosen by, need each other",
        )
        if "grid" in data:
            self.grid(data, key)
        return Task(**data)

    def grid(self, data: dict[str, Any], key: str) -> None:
        self.check("test" not in data, f"{key}.grid", "is for tasks that train; this one tests")
        self.check(isinstance(data["select"], str), f"{key}.select", "must be a metric's key")
        grid = data["grid"]
        self.check(
            isinstance(grid, dict)
            and len(grid) > 0
            and all(isinstance(values, list) and values for values in grid.values()),
            f"{key}.grid",
            "must map keys of the config to lists of values",
        )
        for name, values in grid.items():
            self.check(
                name not in data.get("overrides", {}), f"{key}.grid.{name}", "is in overrides too"
            )
            for value in values:
                self.overrides({name: value}, f"{key}.grid")

    def overrides(self, data: Any, key: str) -> None:
        self.check(
            isinstance(data, dict) and all(isinstance(name, str) for name in data),
            key,
            "must map keys of the config to values",
        )
        self.check(SEED_KEY not in data, f"{key}.{SEED_KEY}", "is set by 'seeds'")
        for name, value in data.items():
            try:
                as_options({name: value})
            except ValueError as error:
                raise ValueError(f"{self.file}: key '{key}.{name}': {error}") from None
