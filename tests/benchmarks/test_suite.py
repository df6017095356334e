"""The benchmark of a suite measures one whose jobs are all done and stand in its table."""

from benchmarks import suite
from mae_bench.results.overview import overview
from mae_bench.results.table_grid import table_grid


def test_every_job_is_planned_done_and_reported(tmp_path):
    seconds = suite.measure(tmp_path, 3)
    assert list(seconds) == ["plan", "what is done", "tables", "report"]
    assert "<table" in (tmp_path / "report.html").read_text()
    found = overview(tmp_path / "runs")
    (table,) = found.tables
    assert "51.0" in str(table_grid(table))  # the mean of 50, 51 and 52
    assert not found.unplaced
