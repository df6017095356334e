"""From a checked config to a run: precision, sharding, and its work directory."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import Runner

from ..attempt import held
from ..config.neutral_keys import is_free
from ..datasets.miniworld.world import check_contents
from ..distributed import starts_first
from ..files import read_json
from ..run_folder import RECORD_NAME, clear_remains
from .bfloat16 import Bfloat16OptimWrapper
from .hooks.ema import averaging_hooks
from .resuming import RunIdentity
from .runner import TrainRunner
from .start import find_start


def use_mixed_precision(cfg: Config, dtype: str = "auto") -> None:
    """Train in mixed precision.

    Args:
        cfg: its ``optim_wrapper`` is changed.
        dtype: ``"bfloat16"``; ``"float16"``, with scaling of the loss, on a GPU; ``"auto"``:
            float16 on a GPU that has no bfloat16, else bfloat16.

    Raises:
        ValueError: float16 without a GPU.
    """
    import torch

    gpu = torch.cuda.is_available()
    if dtype == "float16" and not gpu:
        raise ValueError("--amp float16 needs a GPU and there is none; a CPU has --amp bfloat16")
    if dtype == "auto":
        dtype = "float16" if gpu and not torch.cuda.is_bf16_supported() else "bfloat16"
    if dtype == "bfloat16":
        cfg.optim_wrapper.type = Bfloat16OptimWrapper
    else:
        cfg.optim_wrapper.update(type=AmpOptimWrapper, dtype=dtype, loss_scale="dynamic")


def use_fully_sharded(cfg: Config) -> None:
    """Train with weights, gradients and moments cut among the processes.

    Args:
        cfg: with its ``launcher``; gets ``fsdp``, which ``TrainRunner`` reads.

    Raises:
        ValueError: there is one process, or a hook averages the weights.
    """
    if cfg.launcher == "none":
        raise ValueError(
            "--fsdp cuts the weights among processes and there is one: start several with torchrun "
            "and --launcher pytorch, or with --launcher slurm, or leave --fsdp out"
        )
    for kind in averaging_hooks(cfg):
        raise ValueError(
            f"--fsdp: {kind.__name__} in custom_hooks keeps a second model in one piece; leave "
            "--fsdp out, or the hook"
        )
    cfg.fsdp = True


def run(
    cfg: Config,
    resume: bool = False,
    extend: bool = False,
    checkpoint: str | Path | None = None,
) -> Runner:
    """Train what a config says, in a work directory that no other process is at.

    Args:
        cfg: checked, with ``work_dir`` and ``launcher``.
        resume: go on where the last start in that directory stopped, if there was one.
        extend: go on with another length of the schedule.
        checkpoint: what the backbone starts from, see ``find_start``.

    Returns:
        the runner, after training.

    Raises:
        ValueError: another process or another run has the directory; whatever a run finds wrong.
        FileNotFoundError: the folder of a data set is missing.
    """
    check_data_folders(cfg)
    cfg.resume = resume or extend
    start = find_start(cfg, checkpoint)
    identity = RunIdentity(cfg, cfg.resume, extend, start)
    with hold(cfg):
        identity.check_directory()  # once more: another process may just have left it
        runner = TrainRunner.from_cfg(cfg, start)
        runner.register_hook(identity)
        runner.train()
    return runner


def check_record_file(cfg: Config, checkpoint: str | None) -> None:
    """Refuse to evaluate where the record would take the place of another run's.

    Args:
        cfg: of a test, with ``record_file`` (None: in the work directory) and ``overrides``.
        checkpoint: SHA-256 of the file that is tested, or None.

    Raises:
        ValueError: the record there is of a training, another checkpoint or other overrides; or
            it is none, or a folder.
    """
    path = Path(cfg.record_file or Path(cfg.work_dir, RECORD_NAME))
    fix = "name another --out or --work-dir (nothing was changed)"
    if path.is_dir():
        raise ValueError(f"{path}: the record would go here, and this is a folder; {fix}")
    if not path.exists() or not starts_first(cfg.launcher):
        return
    record = read_json(path)
    stated = (record.get("checkpoint") or {}).get("sha256")
    if stated != checkpoint:
        raise ValueError(f"{path}: is the record of another checkpoint; {fix}")
    if record.get("exported"):
        raise ValueError(f"{path}: is the record of a training; {fix}")
    if Path(record.get("config_file", "")).name != Path(cfg.filename).name:
        raise ValueError(f"{path}: is the record of {record.get('config_file')}; {fix}")
    was, now = (
        {key: str(value) for key, value in overrides.items() if not is_free(key, test=True)}
        for overrides in (record.get("overrides", {}), cfg.overrides)
    )
    if was != now:
        key = next(key for key in {**was, **now} if was.get(key) != now.get(key))
        raise ValueError(
            f"{path}: is the record of a test with {key}={was.get(key, 'not set')}, which is "
            f"{now.get(key, 'not set')} now; {fix}"
        )


@contextmanager
def hold(cfg: Config) -> Iterator[None]:
    """Hold the work directory of a config in the first of its processes, before it is written to.

    What a killed process has left half written there is removed.

    Raises:
        ValueError: another process is at work in it.
    """
    if not starts_first(cfg.get("launcher", "none")):
        yield
        return
    with held(Path(cfg.work_dir)):
        clear_remains(cfg.work_dir)
        yield


def check_data_folders(cfg: Config, parts: Sequence[str] = ("train", "val")) -> None:
    """Look at the folders of the data loaders, before anything else takes time.

    Args:
        parts: those whose data the run reads.

    Raises:
        FileNotFoundError: one is missing; the message has the fix.
        ValueError: the embedded data is not what was built, which a record would name by its name.
    """
    roots: set[Path] = set()
    for loader in (f"{part}_dataloader" for part in parts):
        dataset = (cfg.get(loader) or {}).get("dataset") or {}
        while "dataset" in dataset:
            dataset = dataset["dataset"]
        root = dataset.get("data_root")
        if root and not Path(root).is_dir():
            fix = "put or link the data there"
            if "miniworld" in str(root):
                fix = "run `make data`, or `mae-bench make_miniworld`"
            raise FileNotFoundError(f"{root}: no such folder ({loader}.dataset.data_root): {fix}")
        roots |= {Path(root)} if root else set()
    for folder in sorted(roots):
        check_contents(folder)
