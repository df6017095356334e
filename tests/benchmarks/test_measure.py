"""What the benchmarks share, on made-up clocks and known amounts of memory. No timings."""

import importlib

import pytest

from benchmarks.measure import Spread, interleaved_seconds, markdown_table, peak_memory, speed_up


def test_spread_is_median_and_range():
    spread = Spread.of(x for x in (4.0, 1.0, 2.0))
    assert spread == (2.0, 1.0, 4.0)
    assert f"{spread:.1f}" == "2.0 [1.0-4.0]"


def test_variants_take_turns_and_the_warm_up_does_not_count():
    called = []
    now = [0.0]

    def variant(name, cost):
        def call():
            called.append(name)
            now[0] += cost * len(called)  # a machine that gets slower and slower

        return call

    variants = {"a": variant("a", 1), "b": variant("b", 2)}
    seconds = interleaved_seconds(variants, rounds=2, warm_up=1, clock=lambda: now[0])
    assert "".join(called) == "ab" + "ba" + "ab"
    assert seconds == {"a": [4, 5], "b": [2 * 3, 2 * 6]}
    assert speed_up(seconds, of="a", over="b") == Spread.of([6 / 4, 12 / 5])


MEASURED = """
import numpy as np

def allocate(before, during):
    np.ones(before * 2**17)  # MiB, and free them
    return lambda: np.ones(during * 2**17).sum()

def fail():
    raise ValueError("not to be prepared")
"""


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """A module that child processes can import too, which this one is not."""
    (tmp_path / "measured.py").write_text(MEASURED)
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module("measured")


def test_peak_memory_is_that_of_the_call_alone(measured):
    assert peak_memory(measured.allocate, 300, 100) == pytest.approx(100, rel=0.1)


def test_a_child_that_fails_is_an_error(measured, capfd):
    with pytest.raises(RuntimeError, match="fail failed in its process, see above"):
        peak_memory(measured.fail)
    assert "not to be prepared" in capfd.readouterr().err


def test_markdown_table():
    table = markdown_table(["a", "b"], [(1, 2.5), ("x", "y")])
    assert table.splitlines() == ["| a | b |", "| --- | --- |", "| 1 | 2.5 |", "| x | y |"]
