"""A training run of seconds, and the pictures it trains on."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TINY_RUN = str(Path(__file__).with_name("tiny_run.py"))


def losses(work_dir: Path, rank: str = "") -> dict[int, set[str]]:
    """Every loss that was ever computed for each step, by all starts of a run, in hexadecimal."""
    found: dict[int, set[str]] = {}
    file = work_dir / f"losses{rank}.txt"
    for line in file.read_text().splitlines() if file.exists() else []:
        step, loss = line.split()
        found.setdefault(int(step), set()).add(loss)
    return found


@pytest.fixture(scope="session")
def tiny() -> dict:
    """Names of ``tiny_run.py``."""
    return runpy.run_path(TINY_RUN)


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    """Two classes of eleven JPEGs: five batches of four, and two images left over."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for i in range(22):
        path = folder / "ab"[i % 2] / f"{i}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (24, 20, 3), dtype=np.uint8)).save(path)
    return folder
