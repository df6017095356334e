"""Keys of a config that leave a result alone: of a resumed run, of a test, and beside a table."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

LOADING = tuple(
    f"*_dataloader.{name}"
    for name in ("num_workers", "persistent_workers", "pin_memory", "prefetch_factor", "timeout")
)
# Where the data is: its identity is compared instead.
DATA_PATHS = tuple(
    f"*_dataloader.*{name}" for name in ("data_root", "data_prefix", "data_prefix.*", "ann_file")
)
# What is shown, written and run on.
_SURROUNDINGS = (
    *("work_dir", "launcher", "fsdp", "resume", "experiment_name", "log_level", "log_processor.*"),
    *("visualizer.*", "vis_backends.*", "env_cfg.mp_cfg.*", "env_cfg.dist_cfg.*"),
    *(
        f"default_hooks.{name}.*"
        for name in ("logger", "timer", "progress", "checkpoint", "visualization")
    ),
    *("custom_hooks.Draw*", "custom_hooks.*.kept_epochs"),
    *LOADING,
)
_OF_A_RUN = (*_SURROUNDINGS, *DATA_PATHS, "load_from", "test_*")
_OF_A_TEST = (*LOADING, *DATA_PATHS)
_BESIDE_A_TABLE = (
    *_SURROUNDINGS,
    *("randomness.seed", "env_cfg.cudnn_benchmark", "*_dataloader.*data_root"),
    *("val_dataloader.batch_size", "test_dataloader.batch_size"),
    *(f"default_hooks.{name}.*" for name in ("run_card", "record", "non_finite")),
)


def is_free(key: str, test: bool = False) -> bool:
    """Whether a setting changes no result of a training, or of a ``test``."""
    return matches(key, _OF_A_TEST if test and key.startswith("test_") else _OF_A_RUN)


def is_neutral(key: str) -> bool:
    """Whether an override leaves a run comparable with a published one.

    Another seed does, and the training set at another place, but not another list of its files.
    """
    return matches(key, _BESIDE_A_TABLE)


def matches(key: str, patterns: Iterable[str]) -> bool:
    """Whether a dotted key is one of the patterns."""
    # a pattern for what lies below a key is one for the key itself too, which may be None
    return any(fnmatchcase(key, p) or key == p.removesuffix(".*") for p in patterns)
