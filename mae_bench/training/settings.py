"""The settings of a run: which decide its result, and which may be others when it is resumed."""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..config.arguments import RUNNER_KEYS
from ..config.neutral_keys import is_free, matches
from ..run_folder import CHECKPOINT_NAME

SHOWN = 3  # changed settings that a message names
LONGEST_NAME = 120  # of a folder

# How it is validated, which changes the weights only where something waits for a metric.
VALIDATION = ("val_*", "train_cfg.val_*", "train_cfg.dynamic_intervals*")
WAIT_FOR_A_METRIC = ("*EarlyStopping*", "*ReduceOnPlateau*")
# How long it is.
SCHEDULE = ("train_cfg.max_epochs", "train_cfg.max_iters", "param_scheduler.*")


def settings(cfg: Config) -> dict[str, str]:
    """Everything that the runner reads of a config, as text by dotted key."""
    read = {key: value for key, value in cfg.to_dict().items() if key in RUNNER_KEYS}
    hooks = read.pop("custom_hooks", None) or []
    # by class: one more in the list is no change of the others
    for hook in hooks:
        kind = hook.get("type") if isinstance(hook, dict) else type(hook)
        name = (kind.__name__ if isinstance(kind, type) else str(kind)).rpartition(".")[2]
        twins = sum(key.startswith(f"custom_hooks.{name}") for key in read)
        read[f"custom_hooks.{name}{twins or ''}"] = hook
    return dict(_flat(read))


def _flat(value: Any, key: str = "") -> Iterable[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, child in value.items():
            yield from _flat(child, f"{key}.{name}" if key else str(name))
    elif isinstance(value, (list, tuple)) and any(isinstance(child, dict) for child in value):
        for index, child in enumerate(value):
            yield from _flat(child, f"{key}.{index}")
    else:
        yield key, _text(value)


def _text(value: Any) -> str:
    """A value as it is in every process: objects by their class, tuples as JSON's lists."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_text, value))}]"
    if value is None or isinstance(value, (str, int, float, dict)):
        return str(value)
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"


def default_folder(
    config: str | Path, overrides: dict[str, Any], checkpoint: str | Path | None, test: bool = False
) -> str:
    """Work directory of a run that was given none: of a name that tells it from other runs.

    ``work_dirs/CONFIG``, with what decides the result of the overrides and of a ``test`` too.
    """
    parts = [Path(config).stem]
    for key, value in sorted(overrides.items()):
        if not is_free(key, test):
            parts.append(f"{key.rpartition('.')[2]}={value}")
    if checkpoint:
        # every run exports a file of one name
        path = Path(checkpoint)
        parts.append(path.parent.resolve().name if path.name == CHECKPOINT_NAME else path.stem)
    name = re.sub(r"[^\w.,=+-]+", "_", ",".join(parts))
    if len(name) > LONGEST_NAME:
        name = f"{name[:LONGEST_NAME]},{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return str(Path("work_dirs", name))


def check_settings(
    before: dict[str, str], now: dict[str, str], extend: bool, where: str | Path
) -> list[str]:
    """Compare the settings of a run with those that it is to go on with.

    Returns:
        keys of the schedule that differ, where it may be extended.

    Raises:
        ValueError: a setting differs that decides the result; the message names it.
    """
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    waits = any(matches(text, WAIT_FOR_A_METRIC) for text in now.values()) or any(
        key.endswith("save_best") and text != "None" for key, text in now.items()
    )
    unread = () if waits else VALIDATION
    schedule = [key for key in changed if matches(key, SCHEDULE)]
    allowed = {*schedule} if extend else set()
    wrong = [key for key in changed if not (key in allowed or is_free(key) or matches(key, unread))]
    if wrong:
        shown = [
            f"{key} is {now.get(key, 'not set')} and was {before.get(key, 'not set')}"
            for key in wrong[:SHOWN]
        ]
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        fix = "--extend takes another length, " if set(wrong) <= set(schedule) else ""
        raise ValueError(
            f"{where}: holds a run with other settings: {'; '.join(shown)}{more}. {fix}"
            "choose another --work-dir (nothing was changed)"
        )
    return schedule
