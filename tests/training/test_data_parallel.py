"""Every switch of the backbone trains in two processes as in one with both halves of a batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path):
    script = Path(__file__).with_name("data_parallel_steps.py")
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        + [str(script), str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=1200,
    )
    assert json.loads((tmp_path / "failures.json").read_text()) == {}
