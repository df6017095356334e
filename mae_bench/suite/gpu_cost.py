"""What jobs that train will take on GPUs, before anything has run."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from ..config.load import load_config
from ..config.overrides import read_options
from ..recipe.sources import images_of
from ..training.training_cost import Estimate
from .job import Job

# Overrides that change how much a training computes. The other keys that suites vary, seeds, rates
# and paths, leave it as it is, so that the cells of a search are traced once.
COUNTS = ("model.", "train_cfg.", "total_batch_size", "train_dataloader.batch_size")
COUNTS_NOT = ("drop_path_rate", "init_cfg")


def hours_of(job: Job, estimated: Estimate) -> float | None:
    """Hours that a job takes; of a runner of a search for its share of the budget.

    A trial counts as a whole training of the recipe's own length, also where trials stop early or
    the length is searched. None where hours are unknown.
    """
    hours, search = estimated.hours, job.search
    if search is None:
        return hours
    shares = []
    if hours is not None and search.trials is not None:
        shares.append(hours * search.trials / search.runners)
    if search.gpu_hours is not None:
        shares.append(search.gpu_hours / estimated.gpus / search.runners)
    return min(shares, default=None)


def estimate(job: Job, gpu: str) -> Estimate | None:
    """What a job takes on GPUs of one kind.

    Args:
        job: of a suite.
        gpu: its name in ``gpus.py``.

    Returns:
        None for a job that evaluates or chooses.

    Raises:
        ValueError: no such GPU, or it lacks the job's format.
    """
    if "--resume" not in job.command:  # what only training has
        return None
    config = job.command[job.command.index("--resume") - 1]
    options = job.command[job.command.index("--cfg-options") + 1 :]
    deciding = tuple(
        option
        for option in options
        if option.startswith(COUNTS) and not option.partition("=")[0].endswith(COUNTS_NOT)
    )
    return _estimate(config, deciding, gpu, job.resources.processes, job.resources.amp)


@cache
def _estimate(
    config: str, options: Sequence[str], gpu: str, gpus: int, precision: str | None
) -> Estimate:
    cfg = load_config(config, read_options(options))
    return Estimate(cfg, gpu, gpus, precision or "float32", images_of(Path(config)))
