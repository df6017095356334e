"""Loggers beside the files of a run: MMEngine's backends, switched on by a name."""

from collections.abc import Iterable
from importlib.util import find_spec

from mmengine.config import Config, ConfigDict

LOGGERS = {
    "tensorboard": "TensorboardVisBackend",
    "wandb": "WandbVisBackend",
    "mlflow": "MLflowVisBackend",
}
# Hands the names from a suite to its jobs, whose commands stay as they are.
LOGGERS_VARIABLE = "MAE_BENCH_LOGGERS"


def check_loggers(names: Iterable[str]) -> None:
    """Raise ValueError where a logger is unknown or not installed."""
    for name in names:
        if name not in LOGGERS:
            raise ValueError(f"--logger {name}: there are {', '.join(LOGGERS)}")
        if find_spec(name) is None:
            raise ValueError(f"--logger {name}: it is not installed, pip install {name}")


def use_loggers(cfg: Config, names: Iterable[str]) -> None:
    """Send curves and images of a run to loggers, too.

    Args:
        cfg: its ``visualizer`` gets the backends that it lacks.
        names: see :data:`LOGGERS`.

    Raises:
        ValueError: as of :func:`check_loggers`, or the config has no visualizer.
    """
    names = list(names)
    check_loggers(names)
    if names and not cfg.get("visualizer"):
        raise ValueError(f"--logger {names[0]} needs the visualizer that visualizer=None took away")
    for name in names:
        backends = cfg.visualizer.setdefault("vis_backends", [])
        kinds = [getattr(b["type"], "__name__", b["type"]) for b in backends]
        if LOGGERS[name] not in kinds:
            cfg.visualizer.vis_backends = [*backends, ConfigDict(type=LOGGERS[name])]
