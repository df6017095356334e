"""Which row and column of the table a run belongs to."""

import json
from pathlib import Path

from ..run_folder import JOB_NAME


def run_labels(
    job_dir: str | Path, config_file: str | Path, checkpoint_file: str | Path | None = None
) -> tuple[str, str]:
    """(task, initialisation) of the run in `job_dir`.

    A suite leaves them in ``job.json`` before it starts a job. A run started by hand has none:
    its task is the config's name, its initialisation the checkpoint's, or ``"random"``.
    """
    job_file = Path(job_dir) / JOB_NAME
    if job_file.is_file():
        job = json.loads(job_file.read_text(encoding="utf-8"))
        return job["task"], job["initialisation"]
    return Path(config_file).stem, Path(checkpoint_file).stem if checkpoint_file else "random"
