"""The attention benchmark compares what computes the same."""

import argparse

import pytest
import torch

from benchmarks import attention
from benchmarks.attention import build_biased, build_global, largest_error, training_step


def test_ours_and_written_out_have_the_same_outputs_and_gradients():
    for build, size in ((build_global, (12, 4)), (build_biased, (4, 2))):
        ours, plain = (training_step(build, name, *size)() for name in ("ours", "written out"))
        assert ours.keys() == plain.keys()
        assert {"output", "input", "qkv.weight", "proj.bias"} < set(ours)
        assert all(gradient.abs().max() > 0 for gradient in ours.values())
        assert float(largest_error(ours, plain).split()[0]) < 1e-5


def test_largest_error_names_the_worst():
    theirs = {"a": torch.ones(4), "b": torch.ones(2)}
    ours = {"a": torch.ones(4), "b": torch.tensor([1.0, 1.2])}
    assert largest_error(ours, theirs) == "1.4e-01 (b)"


def test_windows_do_not_mix():
    _, call, x = build_global("windowed", 8, 4)
    changed = x.detach().clone()
    changed[:, -1] += 1  # row 7, column 7: the last window
    moved = ((call(x) - call(changed)).abs().amax(dim=-1)[0] > 1e-7).reshape(8, 8)
    assert moved[4:, 4:].all() and not moved[:4].any() and not moved[:, :4].any()


@pytest.mark.slow
def test_the_command_prints_its_comparisons(capsys):
    parser = argparse.ArgumentParser()
    attention.add_arguments(parser)
    attention.run(
        parser.parse_args(["--rounds", "1", "--side", "8", "--window", "4", "--bias-side", "4"])
    )
    out = capsys.readouterr().out
    assert out.count("| written out |") == 4 and out.count("largest relative error") == 2
