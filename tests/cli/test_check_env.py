"""Checks of the environment, the tested versions, and the messages that are hidden."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement

from mae_bench.cli import machine as environment
from mae_bench.cli import quiet

ROOT = Path(__file__).parents[2]
CONSTRAINTS = [ROOT / "constraints.txt", *sorted((ROOT / "constraints").glob("*.txt"))]


@pytest.mark.parametrize("path", CONSTRAINTS, ids=lambda path: path.name)
def test_constraints_are_plain_pins(path):
    for line in path.read_text().splitlines():
        assert re.fullmatch(r"[\w.-]+==[\w.]+", line), line
    tested = environment.read_constraints(path)
    # two signs allow 2.13.0+cu126, the build that many clusters need
    assert "torch==2.14.1\n" in path.read_text()
    assert "torchvision==0.29.1\n" in path.read_text()
    assert not [name for name in tested if name.startswith(("nvidia", "cuda", "triton"))]
    assert tested["onedl-mmcv"] == "2.3.6"


@pytest.mark.parametrize(
    ("requirement", "tested", "status"),
    [
        ("packaging>=1", None, "ok"),
        ("packaging>=1", "1.0", "note"),
        ("packaging<1", "0.9", "wrong"),
        ("no-such-package", "1.0", "wrong"),
    ],
)
def test_package_check(requirement, tested, status):
    check = environment.check_package(Requirement(requirement), tested)
    assert check.status == status
    assert ("pip install" in check.fix) == (status == "wrong")


def test_old_python_is_wrong(monkeypatch):
    monkeypatch.setattr(environment.sys, "version_info", (3, 9, 1))
    check = environment.check_python()
    assert check.status == "wrong" and "3.10" in check.fix


def test_operators_and_machine(tmp_path):
    assert environment.check_operators("cpu").status == "ok"
    assert environment.check_gpu().found
    assert environment.check_disk(tmp_path).found.endswith(str(tmp_path))


def test_shared_memory_and_handles(tmp_path, monkeypatch):
    assert environment.check_shared_memory().found and environment.check_handles().found
    usage = SimpleNamespace(total=64 * 2**20)  # what a container has unless it is given more
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda path: usage)
    check = environment.check_shared_memory()
    assert check.status == "note" and "--shm-size" in check.fix
    monkeypatch.setattr(environment.resource, "getrlimit", lambda kind: (1024, 1024))
    check = environment.check_handles()
    assert check.status == "note" and "ulimit -n" in check.fix


def test_little_disk_is_wrong(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "MINIMUM_FREE_GIB", float("inf"))
    assert environment.check_disk(tmp_path).status == "wrong"


def test_a_package_that_does_not_import_is_wrong(monkeypatch):
    monkeypatch.setattr(environment, "HOST_LIBRARIES", ("no_such_module",))
    last = list(environment.check_imports())[-1]
    assert last.status == "wrong" and "no_such_module" in last.found


def test_only_known_lines_are_hidden(monkeypatch, capsys):
    monkeypatch.setattr("builtins.print", print)  # restores the real one afterwards
    quiet.hide_host_library_noise()
    quiet.hide_host_library_noise()
    print("Could not import OneDL")
    print("Could not import OneDL", "twice")
    print("epoch", 1, sep=": ")
    assert capsys.readouterr().out == "Could not import OneDL twice\nepoch: 1\n"
