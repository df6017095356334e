"""The frame of tools/benchmark.py: how it finds its sub-commands."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tool():
    return vars(import_module("mae_bench.cli.benchmark"))


def call(tool, monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["benchmark.py", *arguments])
    tool["main"]()


def test_every_sub_command_has_the_two_functions_and_a_summary(tool):
    found = tool["find_benchmarks"]()
    assert "attention" in found and "measure" not in found
    for name, summary in found.items():
        assert summary.endswith((".", ":")) and len(summary) <= 100, name
        path = ROOT / "benchmarks" / f"{name.replace('-', '_')}.py"
        body = ast.parse(path.read_text()).body
        functions = {node.name for node in body if isinstance(node, ast.FunctionDef)}
        assert {"add_arguments", "run"} <= functions, name


def test_a_sub_command_gets_its_options(tool, monkeypatch):
    given = []
    monkeypatch.setattr("benchmarks.attention.run", given.append)
    call(tool, monkeypatch, "attention", "--rounds", "7")
    assert given[0].rounds == 7 and given[0].side == 64


@pytest.mark.parametrize("arguments", [[], ["attentoin"], ["attention", "--round-count", "3"]])
def test_misspelt_is_an_error(tool, monkeypatch, capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        call(tool, monkeypatch, *arguments)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert "attention" in error or "BENCHMARK" in error
