"""Numbers by sample: the published stream, uniform, whatever the batch."""

import pytest
import torch

from mae_bench.models.seeded_rows import SeededRows

# SplitMix64 from seed 1234567, as in the test vectors of other implementations.
PUBLISHED = [
    6457827717110365317,
    3203168211198807973,
    9817491932198370423,
    4593380528125082431,
    16408922859458223821,
]


def test_published_stream():
    rows = SeededRows([1234567])
    found = [*rows.bits(2)[0].tolist(), *rows.bits(3)[0].tolist()]
    assert [x % 2**64 for x in found] == PUBLISHED


def test_a_row_does_not_depend_on_its_neighbours():
    seeds = [5, 2**63 - 1, 17, 0]
    together = SeededRows(seeds).rand(7)
    alone = torch.cat([SeededRows([seed]).rand(7) for seed in seeds])
    assert torch.equal(together, alone)
    assert len(together.unique()) == 28


def test_uniform():
    x = SeededRows(range(100)).rand(1000)
    assert x.min() >= 0 and x.max() < 1
    # 100,000 numbers: the mean has a standard deviation of 0.0009, each bin's count one of 95.
    assert x.mean() == pytest.approx(0.5, abs=0.004)
    assert x.histc(10, 0, 1).tolist() == pytest.approx([10_000] * 10, abs=400)
    # Neither along a row nor from a row to the next is there a connection (deviation 0.003).
    for pair in ((x[:, 1:], x[:, :-1]), (x[1:], x[:-1])):
        correlation = torch.corrcoef(torch.stack([part.flatten() for part in pair]))[0, 1]
        assert abs(correlation) < 0.015
