"""The benchmark of evaluation at tiny size: both loops run, on the same images."""

import argparse

import pytest
import torch

from benchmarks import evaluation


def test_both_loops_run_and_are_printed(capsys, monkeypatch):
    monkeypatch.setattr(evaluation, "peak_memory", lambda *_: 1.0)  # a process each
    threads = torch.get_num_threads()
    try:
        evaluation.run(
            argparse.Namespace(model=[evaluation.LINEAR], images=4, rounds=1, batch=2, workers=0)
        )
    finally:
        torch.set_num_threads(threads)
    lines = [line.split(" | ") for line in capsys.readouterr().out.splitlines()]
    found = {line[0].lstrip("| "): line[1:] for line in lines if len(line) == 4}
    for loop in (evaluation.OURS, evaluation.TIMM):
        assert float(found[loop][0]) > 0


def test_operations_are_those_of_one_image():
    """The linear layer's: a multiply-add counts as two."""
    assert evaluation.forward_gflops(evaluation.LINEAR) == pytest.approx(2 * 147 * 1000 / 1e9)
