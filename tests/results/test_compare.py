"""Verdicts against SciPy's Welch test and against cases that need no test."""

import math

import pytest
from scipy.stats import ttest_ind

from mae_bench.results.compare import Change, changes, comparison_grid
from mae_bench.results.measured import measure
from mae_bench.results.shipped import shipped_tables


@pytest.mark.parametrize(
    ("before", "after"),
    [([50.0, 52.0, 57.0], [60.0, 63.0]), ([1.0, 1.1, 0.9], [3.0, 3.2, 3.1, 2.9]), ([5, 9], [6, 8])],
)
def test_interval_is_welchs(before, after):
    reference = ttest_ind(after, before, equal_var=False).confidence_interval(0.95)
    assert Change("t", before, after).interval == pytest.approx((reference.low, reference.high))


@pytest.mark.parametrize(
    ("before", "after", "higher", "verdict"),
    [
        ([1.0, 1.1, 0.9], [3.0, 3.2, 3.1], True, "better"),
        ([1.0, 1.1, 0.9], [3.0, 3.2, 3.1], False, "worse"),
        ([3.0, 3.2, 3.1], [1.0, 1.1, 0.9], True, "worse"),
        ([3.0, 3.2, 3.1], [1.0, 1.1, 0.9], False, "better"),
        ([50.0, 60.0], [55.0, 66.0], True, "within seeds"),
        ([50.0], [90.0, 91.0], True, "unknown"),
        ([50.0, 50.0], [50.0, 50.0], True, "within seeds"),
        ([50.0, 50.0], [51.0, 51.0], True, "better"),
        ([50.0, math.nan], [51.0, 52.0], True, "unknown"),
        ([50.0], [], True, "no run"),
    ],
)
def test_verdict(before, after, higher, verdict):
    assert Change("t", before, after, higher).verdict == verdict


def test_rows_of_a_table_are_compared_column_by_column(coco_run):
    records = {}
    for row, method, box in (("MAE", "mae", 0.50), ("MoCo v3", "moco_v3", 0.48)):
        for seed in (0, 1):
            run = coco_run(box + seed / 1000, seed=seed, row=row)
            run.checkpoint["metadata"]["method"] = method
            records[f"{row}{seed}"] = run
    tables, _ = measure([shipped_tables()["Table 4"]], records)
    box, mask = changes("MAE", "MoCo v3", tables)
    assert (box.title, mask.title) == ("APbox ViT-B", "APmask ViT-B")
    assert box.difference == pytest.approx(-2.0)
    assert box.verdict == "worse"
    assert mask.verdict == "within seeds"
    with pytest.raises(ValueError, match="'DINO' was not measured; there are MoCo v3, "):
        changes("MAE", "DINO", tables)


def test_grid_shows_seeds_and_verdict():
    grid = comparison_grid("A", "B", [Change("top-1", [50.0], [52.5, 53.5])])
    (row,) = grid.rows
    assert [cell.text for cell in row.cells] == [
        "50.0 (1)",
        "53.0 ± 0.7 (2)",
        "+3.0",
        "",
        "unknown",
    ]
    assert "95 % interval of Welch's t test" in grid.about
