"""The wheel alone: recipes, suites and commands from an empty folder, with no checkout around."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FINETUNE = "configs/cls/vit_mini_finetune_miniworld.py"
ROBUSTNESS = "configs/cls/vit_mini_robustness_miniworld.py"
SHRINK = {
    "param_scheduler": [],
    "train_cfg.max_epochs": 1,
    "train_dataloader.dataset.indices": 8,
    "train_dataloader.batch_size": 4,
}


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
    configs = {path.relative_to(ROOT) for path in (ROOT / "configs").rglob("*.yaml")}
    configs |= {path.relative_to(ROOT) for path in (ROOT / "configs").rglob("*.py")}
    assert {f"mae_bench/{path.as_posix()}" for path in configs} <= set(names)
    assert "mae_bench/py.typed" in names
    found_by_mim = ["model-index.yml", "configs/metafile.yml", "tools/train.py"]
    assert {f"mae_bench/.mim/{name}" for name in found_by_mim} <= set(names)


@pytest.fixture(scope="module")
def command(wheel, tmp_path_factory) -> Path:
    """``mae-bench`` of an environment with this wheel; what it needs is taken from this one."""
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    own = Path(sysconfig.get_path("purelib", vars={"base": str(environment)}))
    # a folder named so is only searched: an editable install in it is not seen
    (own / "rest.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", environment]
    subprocess.run([*pip, "install", "-q", "--no-deps", wheel], check=True)
    return environment / "bin" / "mae-bench"


@pytest.mark.slow
def test_the_wheel_from_an_empty_folder(command, tmp_path):
    (tmp_path / "own.py").write_text(
        "from mmengine.config import read_base\n"
        "with read_base():\n"
        "    from mae_bench.configs.cls.vit_mini_finetune_miniworld import *\n"
        "train_cfg.update(max_epochs=1)\n"
    )
    own_suite = {
        "name": "mine",
        "about": "The tasks of the demo, cut short.",
        "heading": "start",
        "data": "miniworld",
        "tasks": {
            "finetune": {"config": FINETUNE, "overrides": SHRINK, "minutes": 1},
            "robustness": {"config": ROBUSTNESS, "test": "finetune", "minutes": 1},
        },
        "columns": {
            "top-1": {"quantity": "top-1 accuracy", "task": "finetune", "metric": "accuracy/top1"},
            "error": {
                "quantity": "corruption error",
                "task": "robustness",
                "metric": "imagenet_c/mean_error",
            },
        },
        "rows": {"random": {}},
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own_suite))

    def run(*arguments: str) -> str:
        clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(
            [command, *arguments], cwd=tmp_path, env=clean, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "11 of 11 jobs to do" in run("demo", "--dry-run")
    run("run_suite", "own.yaml", "--work-dir", "w/suite")
    table = run("report", "w/suite", "--format", "csv")
    assert table.count("\nmine,random,") == 2
    options = [f"{key}={value}" for key, value in SHRINK.items()]
    run("train", "own.py", "--work-dir", "w/own", "--cfg-options", *options)
    run("test", ROBUSTNESS, "w/own/checkpoint.safetensors", "--out", "w/t.record.json")
    record = json.loads((tmp_path / "w/t.record.json").read_text())
    assert 0 < record["metrics"]["imagenet_c/mean_error"] <= 100
    assert "vit_mini_robustness_miniworld" in run("report", "w")
