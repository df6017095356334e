"""What the benchmarks share, on made-up clocks and known amounts of memory. No timings."""

import importlib
import json
import time

import pytest
import torch

from benchmarks import measure
from benchmarks.measure import (
    Spread,
    interleaved_seconds,
    peak_memories,
    peak_memory,
    print_table,
    speed_up,
)


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

def too_large():
    import torch
    raise torch.OutOfMemoryError("CUDA out of memory")
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


def test_a_call_that_does_not_fit_the_gpu(measured):
    with pytest.raises(torch.OutOfMemoryError, match="too_large.* does not fit the GPU"):
        peak_memory(measured.too_large)


def test_variants_that_do_not_fit_the_gpu_are_named(monkeypatch):
    def peak(build, name):
        if name in too_large:
            raise torch.OutOfMemoryError
        return 1.0

    monkeypatch.setattr(measure, "peak_memory", peak)
    too_large = ["b"]
    assert peak_memories(None, ["a", "b", "c"]) == ({"a": 1.0, "c": 1.0}, ["b"])
    too_large = ["a", "b"]
    with pytest.raises(torch.OutOfMemoryError, match="none of a, b fits the GPU"):
        peak_memories(None, ["a", "b"])


def test_every_row_is_printed_as_it_comes_and_kept(capsys, tmp_path):
    def rows():
        yield 1, 2.5
        assert capsys.readouterr().out == "\nT\n\n| a | b |\n| --- | --- |\n| 1 | 2.50 |\n"
        yield "x", Spread(1.0, 0.5, 2.0)

    print_table(["a", "b"], rows(), "T")
    assert capsys.readouterr().out == "| x | 1.00 [0.500-2.00] |\n"
    measure.write_tables(tmp_path / "tables.json")
    kept = json.loads((tmp_path / "tables.json").read_text())["tables"][-1]
    spread = dict(median=1.0, low=0.5, high=2.0)
    assert kept == dict(title="T", header=["a", "b"], rows=[[1, 2.5], ["x", spread]])


def test_a_long_measurement_is_told_as_it_comes(capsys):
    now = [0.0]

    def slow():
        now[0] += 90.0

    interleaved_seconds({"slow": slow}, rounds=1, clock=lambda: now[0])
    told = capsys.readouterr().err.splitlines()
    assert told == ["  slow: 90.00 s (warm-up)", "  slow: 90.00 s (round 1 of 1)"]


def test_the_faster_library_is_the_limit(monkeypatch):
    """Two products in turn, one of 1 s and one of 2 s: 2 x 2048 cubed operations in 1 s."""
    times = {"PyTorch's": [2.0], "ours": [1.0]}
    monkeypatch.setattr(measure, "interleaved_seconds", lambda *args, **kwargs: times)
    assert measure.matrix_product_gflops(torch.float32) == pytest.approx(2 * 2048**3 / 1e9)


def test_processor_time_is_of_one_thread():
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert measure.processor_clock() is time.process_time
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(("used", "warned"), [(0.1, False), (1.7, True)])
def test_a_busy_machine_is_warned_of(used, warned, monkeypatch):
    computed = iter([100.0, 100.0 + 0.5 * used])  # seconds of all programs, half a second apart
    monkeypatch.setattr(measure, "_processor_seconds", lambda: next(computed))
    assert ("other programs use 1.7 of" in measure.describe_machine()) == warned


def test_losses_on_a_gpu_differ_by_tf32(monkeypatch):
    for gpu, expected in ((False, [1e-5, 1e-2]), (True, [1e-3, 1e-2])):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        assert [measure.loss_tolerance(x) for x in (1e-5, 1e-2)] == expected
