"""The wheel alone: recipes, suites and commands from an empty folder, with no checkout around."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROBUSTNESS = "configs/cls/vit_mini_robustness_miniworld.py"
SHRINK = [
    "param_scheduler=[]",
    "train_dataloader.dataset.indices=8",
    "train_dataloader.batch_size=4",
]


def build_wheel(source: Path, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", str(source), "-w", folder]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.mark.slow
def test_the_source_distribution_makes_the_same_wheel(wheel, tmp_path):
    backend = tmp_path / "backend"
    install = [sys.executable, "-m", "pip", "install", "-q", "hatchling", "--target", str(backend)]
    subprocess.run(install, check=True)
    make = "import sys, hatchling.build as b; print(b.build_sdist(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", make, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(backend)},
        capture_output=True,
        text=True,
        check=True,
    )
    sdist = tmp_path / done.stdout.split()[-1]
    again = zipfile.ZipFile(build_wheel(sdist, tmp_path / "again"))
    first = zipfile.ZipFile(wheel)
    assert sorted(again.namelist()) == sorted(first.namelist())
    assert all(again.read(name) == first.read(name) for name in first.namelist())


@pytest.mark.slow
def test_what_the_wheel_holds(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"mae_bench"}
    assert not [name for name in names if name.endswith((".pth", ".pyc"))]
    configs = {path.relative_to(ROOT) for path in (ROOT / "configs").rglob("*.*ml")}
    configs |= {path.relative_to(ROOT) for path in (ROOT / "configs").rglob("*.py")}
    assert {f"mae_bench/{path.as_posix()}" for path in configs} <= set(names)
    assert "mae_bench/py.typed" in names


@pytest.mark.slow
def test_the_wheel_from_an_empty_folder(wheel, tmp_path):
    site, work = tmp_path / "site", tmp_path / "work"
    zipfile.ZipFile(wheel).extractall(site)
    work.mkdir()
    (work / "own.py").write_text(
        "from mmengine.config import read_base\n"
        "with read_base():\n"
        "    from mae_bench.configs.cls.vit_mini_finetune_miniworld import *\n"
        "train_cfg.update(max_epochs=1)\n"
    )

    def run(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "mae_bench", *command],
            cwd=work,
            env={**os.environ, "PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    plan = run("run_suite", "configs/suite/demo.yaml", "--work-dir", "w", "--dry-run")
    assert "11 of 11 jobs to do" in plan
    run("make_miniworld")
    run("train", "own.py", "--work-dir", "w/own", "--cfg-options", *SHRINK)
    run("test", ROBUSTNESS, "w/own/checkpoint.safetensors", "--out", "w/t.record.json")
    assert "own" in run("report", "w")
