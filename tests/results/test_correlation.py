"""Rank correlation over checkpoints against SciPy, on records that are known by hand."""

import csv
import io
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import bootstrap, spearmanr

from mae_bench.cli import report
from mae_bench.results.correlation import correlations, spearman
from mae_bench.results.overview import overview
from mae_bench.results.record import write_record
from mae_bench.results.table_file import load_suite, write_suite

ROWS = "ABCDEFGHIJKL"
RANDOM = np.random.default_rng(7)
CHEAP = RANDOM.normal(size=len(ROWS)).round(1)  # with ties
DEAR = (CHEAP + RANDOM.normal(size=len(ROWS))).round(2)
SUITE = f"""
name: evidence
seeds: [0, 1]
tasks: {{all: {{config: all.py}}}}
cell: {{quantity: top-1 accuracy, task: all}}
columns:
  cheap: {{metric: cheap}}
  error: {{quantity: corruption error, metric: error}}
  dear: {{metric: dear}}
  constant: {{metric: constant}}
rows: {{{", ".join(f"{row}: {{start: {{checkpoint: {row}.pth}}}}" for row in ROWS)}}}
"""


def spread(values: np.ndarray, seed: int) -> np.ndarray:
    """Values of a seed: those of another one in the opposite order, so that ranks change."""
    return values if seed == 0 else values[::-1] * 0.1 + values


@pytest.fixture
def finished(tmp_path, record):
    """A folder with the records of some seeds."""

    def make(seeds: list[int], values=spread) -> Path:
        (tmp_path / "suite.yaml").write_text(SUITE)
        write_suite(load_suite(tmp_path / "suite.yaml"), tmp_path)
        for seed in seeds:
            cheap, dear = values(CHEAP, seed), values(DEAR, seed)
            for index, row in enumerate(ROWS):
                metrics = {"cheap": cheap[index], "error": -cheap[index], "dear": dear[index]}
                cells = [
                    {"table": "evidence", "row": row, "column": column}
                    for column in (*metrics, "constant")
                ]
                changed = replace(
                    record,
                    **dict(task="all", initialisation=row, seed=seed, cells=cells),
                    metrics={**metrics, "constant": 1.0},
                    overrides={"randomness.seed": seed},
                )
                write_record(changed, tmp_path / f"seed{seed}/{row}/all/record.json")
        return tmp_path

    return make


def test_ranks_are_scipys_with_ties():
    for first, second in ((CHEAP, DEAR), ([1, 1, 2, 2], [3, 1, 1, 4]), ([1, 2, 3], [3, 2, 1])):
        assert spearman(np.array(first), np.array(second)) == pytest.approx(
            spearmanr(first, second).statistic
        )
    assert np.isnan(spearman(np.ones(3), np.arange(3)))


def test_each_seed_is_a_checkpoint_and_lower_may_be_better(finished):
    found = {one.measure: one for one in correlations(["dear"], overview(finished([0, 1])).tables)}
    both = [np.concatenate([spread(values, seed) for seed in (0, 1)]) for values in (CHEAP, DEAR)]
    expected = spearmanr(*both).statistic
    assert found["cheap"].rho == pytest.approx(expected)
    assert found["error"].rho == pytest.approx(expected)  # errors fall where accuracy rises
    assert (found["cheap"].checkpoints, found["cheap"].lines) == (24, 12)
    assert np.isnan(found["constant"].rho) and found["constant"].interval is None


def test_the_interval_is_that_of_scipys_bootstrap(finished):
    (found,) = (
        one
        for one in correlations(["dear"], overview(finished([0])).tables)
        if one.measure == "cheap"
    )
    reference = bootstrap(
        (CHEAP, DEAR),
        lambda x, y: spearmanr(x, y).statistic,
        **dict(paired=True, vectorized=False, method="percentile", n_resamples=2000),
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert found.interval == pytest.approx((reference.low, reference.high), abs=0.06)


def test_seeds_of_a_line_are_drawn_together(finished):
    def interval(seeds: list[int]):
        folder = finished(seeds, values=lambda values, seed: values)
        return correlations(["dear"], overview(folder).tables)[0].interval

    assert interval([0, 1]) == pytest.approx(interval([0]))  # a copy of each says nothing new


def test_the_command(finished, monkeypatch, capsys):
    folder = finished([0, 1])

    def run(*options: str) -> str:
        monkeypatch.setattr(sys, "argv", ["report", str(folder), "--correlate", *options])
        report.main()
        return capsys.readouterr().out

    (line, *_) = csv.DictReader(io.StringIO(run("dear", "--format", "csv")))
    rho, low, high = (float(line[name]) for name in ("rho", "low", "high"))
    assert low < rho < high and line["predicts"] == "dear" and line["lines"] == "12"
    shown = f"{rho:.2f} [{low:.2f}, {high:.2f}] (24, 12)".replace("-", "\u2212")
    assert shown in run("dear", "--format", "md").replace("\\", "")
    page = Path(run("dear", "--format", "html").strip()).read_text()
    assert shown in page and "What was asked" in page
    with pytest.raises(ValueError, match="no table has the columns box AP; there are evidence: ch"):
        run("box AP")
    with pytest.raises(ValueError, match="give one of them"):
        run("dear", "--compare", "A", "B")
