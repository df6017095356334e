"""The corruptions' benchmark: what it runs, and its mean on made-up times. No timings."""

import numpy as np
import pytest

from benchmarks import corruptions as benchmark
from benchmarks.measure import Spread
from mae_bench.datasets.imagenet_variants import CORRUPTIONS


def test_pictures_are_those_of_imagenet_c_s_size():
    pictures = benchmark.load_pictures(3)
    assert [(p.shape, p.dtype, p.flags.c_contiguous) for p in pictures] == [
        ((224, 224, 3), np.uint8, True)
    ] * 3
    assert pictures[0].std() > 10


def test_every_corruption_at_every_severity_on_every_picture(monkeypatch):
    ours, theirs, now = [], [], [0.0]

    def corrupt(image, corruption, severity, name):
        ours.append((corruption, severity, name))
        now[0] += 0.002 * severity

    def package_corrupt(image, severity, corruption):
        theirs.append((corruption, severity))
        now[0] += 0.005

    monkeypatch.setattr(benchmark, "corrupt", corrupt)
    monkeypatch.setattr(benchmark.imagecorruptions, "corrupt", package_corrupt)
    monkeypatch.setattr("time.process_time", lambda: now[0])
    pictures = [np.zeros(1), np.zeros(1)]
    found = {name: benchmark.milliseconds(name, pictures, rounds=2) for name in CORRUPTIONS}
    assert set(ours) == {
        (c, s, f"{i}.JPEG") for c in CORRUPTIONS for s in range(1, 6) for i in (0, 1)
    }
    assert set(theirs) == {(c, s) for c in CORRUPTIONS for s in range(1, 6)}
    # 2 ms times severities 1 to 5: 6 ms on average.
    assert found["fog"]["ours"] == pytest.approx([6.0, 6.0])
    assert found["fog"]["package"] == pytest.approx([5.0, 5.0])


def test_mean_is_over_corruptions_in_each_round():
    found = {(name, "ours"): [1.0, 3.0] for name in CORRUPTIONS}
    found["fog", "ours"] = [16.0, 33.0]
    assert benchmark.mean_of_all(found, "ours") == Spread(3.5, 2.0, 5.0)
