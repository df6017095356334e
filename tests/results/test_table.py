"""Tables against means and deviations worked out by hand."""

import csv
import io
import math
from dataclasses import replace

import pytest
from rich.console import Console

from mae_bench.results.export import tables_csv
from mae_bench.results.record import write_record
from mae_bench.results.table import (
    Column,
    Layout,
    build_table,
    find_layouts,
    read_layout,
    read_records,
    records_below,
    scan_records,
    write_layout,
)

LAYOUT = Layout(
    "suite",
    ["random", "MAE"],
    [
        Column("finetune", "top1", "top-1"),
        Column("detection", "ap", "box AP", scale=100),
        Column("robustness", "error", "error", lower_is_better=True),
    ],
)


@pytest.fixture
def records(record):
    """random: seeds 0, 1, 2; MAE: seeds 0, 1; only MAE has detection."""
    values = [
        ("random", "finetune", "top1", [50.0, 52.0, 57.0]),
        ("MAE", "finetune", "top1", [60.0, 63.0]),
        ("MAE", "detection", "ap", [0.25]),
        ("random", "robustness", "error", [30.0]),
        ("MAE", "robustness", "error", [20.04]),
        ("MAE", "pretrain", "loss", [0.4]),
    ]
    return {
        f"seed{seed}/{label}/{task}": replace(
            record, task=task, initialisation=label, seed=seed, metrics={metric: value}
        )
        for label, task, metric, by_seed in values
        for seed, value in enumerate(by_seed)
    }


def test_markdown_by_hand(records):
    # random: mean 53, deviation sqrt((9 + 1 + 16) / 2) = 3.606; MAE: 61.5, sqrt(4.5) = 2.121
    # differences of seeds 0 and 1: 10 and 11: mean 10.5, deviation sqrt(0.5) = 0.707
    assert build_table(LAYOUT, records).markdown() == (
        "| initialisation | top-1 | box AP | error ↓ | seeds |\n"
        "|---|---:|---:|---:|---:|\n"
        "| random | 53.0 ± 3.6 |  | 30.0 | 1-3 |\n"
        "| MAE | **61.5 ± 2.1** | 25.0 | **20.0** | 1-2 |\n"
        "| MAE − random | +10.5 ± 0.7 |  | −10.0 | 1-2 |\n"
    )


def test_csv_keeps_precision_and_has_no_line_without_a_run(records):
    text = tables_csv({".": build_table(LAYOUT, records)}, [], records)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 5  # of six cells random has no detection
    by_key = {(row["row"], row["metric"]): row for row in rows}
    mae = by_key["MAE", "top1"]
    assert float(mae["measured"]) == 61.5
    assert float(mae["std"]) == pytest.approx(math.sqrt(4.5), rel=1e-12)
    assert (mae["seeds"], mae["runs"]) == ("2", "seed0/MAE/finetune seed1/MAE/finetune")
    assert float(by_key["MAE", "error"]["measured"]) == 20.04
    assert (by_key["MAE", "error"]["std"], by_key["MAE", "error"]["published"]) == ("", "")


def test_terminal_table_shows_the_same_numbers(records):
    console = Console(file=io.StringIO(), width=120)
    console.print(build_table(LAYOUT, records).rich())
    for text in ("61.5 ± 2.1", "+10.5 ± 0.7", "error ↓"):
        assert text in console.file.getvalue()


def test_equal_means_are_both_best_and_diverged_runs_never(record):
    layout = Layout("s", ["a", "b", "c"], [Column("t", "m", "m")])

    def table(*values):
        return build_table(
            layout,
            {
                label: replace(record, task="t", initialisation=label, metrics={"m": value})
                for label, value in zip("abc", values, strict=True)
            },
        )

    assert [row.cells[0].best for row in table(10.04, 9.96, 9.0).rows] == [True, True, False]
    diverged = table(math.nan, 9.0, 8.0)
    assert [row.cells[0].best for row in diverged.rows] == [False, True, False]
    assert diverged.rows[0].texts() == ["nan"]


def test_second_run_of_a_seed_and_missing_metric_are_errors(records):
    doubled = records | {"other/folder": records["seed0/MAE/finetune"]}
    with pytest.raises(ValueError, match=r"other/folder/record\.json: a second run with seed 0"):
        build_table(LAYOUT, doubled)
    wrong = records | {
        "seed0/MAE/finetune": replace(records["seed0/MAE/finetune"], metrics={"top5": 1.0})
    }
    with pytest.raises(ValueError, match="no metric 'top1' for column 'top-1'; it has top5"):
        build_table(LAYOUT, wrong)


def test_work_dir_is_read_back(work_dir):
    records = read_records(work_dir)
    assert len(records) == 5
    assert records["seed0/MAE/detection"].metrics == {"coco/bbox_mAP": 0.25}
    assert (
        "| MAE | **61.5** | **25.0** | 1 |"
        in build_table(read_layout(work_dir), records).markdown()
    )


def test_foreign_files_are_named_and_skipped(work_dir, record, caplog):
    (work_dir / "seed0/MAE/finetune/record.json").write_text("{")
    (work_dir / "other").mkdir()
    (work_dir / "other/record.json").write_text('{"artist": "somebody"}')
    (work_dir / "other/newer.record.json").write_text('{"schema_version": 99}')
    write_record(record, work_dir / "other/mine.record.json")
    write_record(replace(record, status="failed"), work_dir / "other/broken.record.json")
    records, problems = scan_records(work_dir)
    assert set(records) == {
        "other/mine",
        "seed0/MAE/detection",
        "seed0/MAE/pretrain",
        "seed0/random/detection",
        "seed0/random/finetune",
    }
    assert len(problems) == 3
    for name, reason in (
        ("other/newer.record.json", "'schema_version' is 99"),
        ("other/record.json", "not a record of mae_bench"),
        ("seed0/MAE/finetune/record.json", "unreadable as JSON"),
    ):
        assert [p for p in problems if str(work_dir / name) in p and reason in p]
    assert read_records(work_dir) == records
    assert [r.message.startswith("skipped: ") for r in caplog.records] == [True] * 3


def test_several_suites_are_found_each_with_its_records(work_dir, record):
    inner = work_dir / "inner"
    write_layout(LAYOUT, inner)
    write_record(record, inner / "seed0/MAE/finetune/record.json")
    assert list(find_layouts(work_dir)) == [".", "inner"]
    records, _ = scan_records(work_dir)
    assert list(records_below("inner", records)) == ["inner/seed0/MAE/finetune"]
    assert records_below("in", records) == {}
    assert len(records_below(".", records)) == 6


def test_layout_survives_and_foreign_folders_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"suite\.json.*--work-dir"):
        read_layout(tmp_path)
    write_layout(LAYOUT, tmp_path)
    assert read_layout(tmp_path) == LAYOUT
    (tmp_path / "suite.json").write_text('{"name": "x"}')
    with pytest.raises(ValueError, match="not the layout of a suite"):
        read_layout(tmp_path)
