"""Every switch of the backbone trains in two processes as in one with both halves of a batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run_steps(folder: Path, processes: int, *arguments: str) -> dict:
    """What ``data_parallel_steps.py`` found wrong, by case."""
    script = Path(__file__).with_name("data_parallel_steps.py")
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        + [f"--nproc-per-node={processes}", str(script), str(folder), *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=1200,
    )
    return json.loads((folder / "failures.json").read_text())


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path):
    assert run_steps(tmp_path, 2) == {}
