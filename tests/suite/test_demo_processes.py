"""The demo's suite, every training of which is shared by two processes, gives the table."""

from pathlib import Path

import pytest
import yaml

from mae_bench.results.overview import overview
from mae_bench.results.record import read_record

from .test_whole_suite import CLASSIFY, REPOSITORY, TINY, start


@pytest.mark.slow
def test_the_demo_with_two_processes_a_job(repository):
    suite = yaml.safe_load((REPOSITORY / "configs/suite/demo.yaml").read_text())
    del suite["data"]  # a tiny MiniWorld is there
    for task in suite["tasks"].values():
        if "test" not in task:
            task["overrides"] = CLASSIFY if "/cls/" in task["config"] else TINY
    suite["rows"]["MAE"]["start"]["overrides"] = TINY
    Path("suite.yaml").write_text(yaml.safe_dump(suite, sort_keys=False))
    runner = start(["--resources", "gpus=2", "--executor", "inline"])
    output, errors = runner.communicate(timeout=3000)
    assert runner.returncode == 0, output + errors
    paths = Path("work/seed0/MAE").rglob("record.json")
    records = {path.parent.name: read_record(path) for path in paths}
    assert set(records) == {"pretrain", *suite["tasks"]}
    for name, record in records.items():
        if name != "robustness":
            assert record.run_card["processes"] == 2, name
    (table,) = overview("work").own
    cells = {(row, column) for row in suite["rows"] for column in suite["columns"]}
    assert set(table.cells) == cells
    assert all(len(table.cells[place].values.by_seed) == 1 for place in cells)
    assert Path("work/table.md").is_file()
