"""What a run is called in tables, and which cells of tables it claims."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..run_folder import JOB_NAME


@dataclass(frozen=True)
class Labels:
    """Task and start of a run as tables name them, and the cells that its suite states for it."""

    task: str
    initialisation: str
    cells: list[dict[str, Any]] = field(default_factory=list)


def run_labels(
    job_dir: str | Path, config_file: str | Path, checkpoint_file: str | Path | None = None
) -> Labels:
    """Labels of the run in `job_dir`.

    A suite leaves them in ``job.json`` before it starts a job. A run started by hand has none: its
    task is the config's name, its start the checkpoint's, or ``"random"``.
    """
    job_file = Path(job_dir) / JOB_NAME
    if job_file.is_file():
        job = json.loads(job_file.read_text(encoding="utf-8"))
        return Labels(job["task"], job["initialisation"], job.get("cells", []))
    return Labels(Path(config_file).stem, _label(str(checkpoint_file or "random")))


def _label(checkpoint: str) -> str:
    """A name as ``mae:vit_base`` as it is, of a file its own name."""
    return checkpoint if re.match(r"[\w-]+:", checkpoint) else Path(checkpoint).stem
