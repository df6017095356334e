"""Which published cell a run fills, case by case."""

import re
from dataclasses import replace

import pytest

from mae_bench.results.cells import ancestors, check_entries, measurements, start_of


def started(record, method, **changes):
    """The record of a run that started from `method`, None for random weights."""
    checkpoint = method and {
        "file": "w",
        "sha256": "cd" * 32,
        "report": None,
        "metadata": {"method": method, "data": "imagenet-1k", "epochs": 1600},
    }
    return replace(record, checkpoint=checkpoint, **changes)


def places(record, **others):
    found, problems = measurements("run", {"run": record, **others})
    assert problems == []
    return [(one.table, one.row, one.column, pytest.approx(one.value)) for one in found]


@pytest.mark.parametrize(
    ("method", "row"),
    [
        ("mae", "MAE"),
        ("moco_v3", "MoCo v3"),
        ("beit", "BEiT"),
        ("supervised", "supervised"),
        ("mae + supervised", "MAE"),
    ],
)
def test_row_of_table_4_is_the_start(coco_run, method, row):
    assert places(started(coco_run(0.501, 0.446), method)) == [
        ("Table 4", row, "APbox ViT-B", 50.1),
        ("Table 4", row, "APmask ViT-B", 44.6),
    ]


def test_start_without_a_row_fills_nothing(coco_run):
    for method in (None, "dino", "unheard of"):
        assert places(started(coco_run(0.5), method)) == []
    unknown = replace(coco_run(0.5), checkpoint={"file": "w", "sha256": "cd" * 32, "report": None})
    assert start_of(unknown) is None
    assert places(unknown) == []


def test_plain_titles_are_of_an_mae_start(record):
    entry = dict(table="Table 6", row="iNat 2018", column="ViT-B", metric="accuracy/top1")
    run = replace(record, reproduces=[entry])
    assert places(started(run, "mae")) == [("Table 6", "iNat 2018", "ViT-B", 61.5)]
    assert places(started(run, "moco_v3")) == []
    scratch = dict(entry, table="Table 3", row={"random": "scratch, our impl."})
    assert places(started(replace(run, reproduces=[scratch]), None)) == [
        ("Table 3", "scratch, our impl.", "ViT-B", 61.5)
    ]


def test_row_of_an_ablation_comes_from_the_pre_training(record):
    pretraining = started(
        record,
        None,
        task="pretrain",
        exported={"file": "c", "sha256": "11" * 32},
        reproduces=[dict(table="Table 1a", row="2"), dict(table="Table 1b", row="512")],
    )
    entries = [
        dict(table=table, column="ft", metric="accuracy/top1") for table in ("Table 1a", "Table 1b")
    ]
    tuned = started(record, "mae", reproduces=entries)
    assert places(tuned, pretraining=pretraining) == []  # another checkpoint
    tuned.checkpoint["sha256"] = "11" * 32
    assert places(tuned, pretraining=pretraining) == [
        ("Table 1a", "2", "ft", 61.5),
        ("Table 1b", "512", "ft", 61.5),
    ]


def test_ancestors_by_hash_nearest_first_and_never_in_circles(record):
    def run(own, source):
        checkpoint = source and {"file": "w", "sha256": source, "report": None}
        exported = {"file": "c", "sha256": own}
        return replace(record, checkpoint=checkpoint, exported=exported)

    records = {"pre": run("a", None), "fine": run("b", "a"), "test": run("z", "b")}
    assert ancestors("test", records) == ["fine", "pre"]
    assert ancestors("pre", records) == []
    circle = {"one": run("a", "b"), "two": run("b", "a")}
    assert ancestors("one", circle) == ["two", "one"]


def test_an_epoch_that_was_kept_leads_to_its_run_too(record):
    kept = [{"file": f"e{epoch}", "sha256": f"k{epoch}"} for epoch in (1, 2)]
    pretraining = replace(record, exported={"file": "c", "sha256": "a", "kept": kept})
    tuned = replace(record, checkpoint={"file": "w", "sha256": "k2", "report": None})
    assert ancestors("fine", {"pre": pretraining, "fine": tuned}) == ["pre"]


def test_rows_of_figure_9_are_blocks_that_train(record):
    entry = dict(
        table="Figure 9", column=dict(mae="MAE", moco_v3="MoCo v3"), metric="accuracy/top1"
    )
    run = started(record, "moco_v3", reproduces=[entry], run_card={"trained_blocks": 0.5})
    assert places(run) == [("Figure 9", "0.5", "MoCo v3", 61.5)]
    assert places(replace(run, run_card={"trained_blocks": 3.0})) == []


def test_first_entry_with_its_metric_counts_and_a_missing_metric_is_named(record):
    here = dict(table="Table 13", row="IN-Corruption", column="ViT-B", metric="corrupted_val/mCE")
    entries = [dict(here, metric="imagenet_c/mCE"), here]
    run = started(record, "mae", reproduces=entries, metrics={"corrupted_val/mCE": 50.0})
    assert places(run) == [("Table 13", "IN-Corruption", "ViT-B", 50.0)]
    both = replace(run, metrics={"corrupted_val/mCE": 50.0, "imagenet_c/mCE": 52.0})
    assert places(both) == [("Table 13", "IN-Corruption", "ViT-B", 52.0)]
    found, problems = measurements("a/b", {"a/b": replace(run, metrics={"top1": 1.0})})
    assert found == []
    assert problems == ["a/b: no metric 'imagenet_c/mCE' for Table 13, IN-Corruption, ViT-B"]


def test_duration_and_run_card_are_metrics_too(record):
    entry = dict(table="Table 12", row="MAE, ViT-B", column="params", metric="parameters")
    hours = dict(table="Table 2", row="ViT-L, 8", column="hours", metric="duration_seconds")
    entries = [dict(entry, scale=1e-6), dict(hours, scale=1 / 3600)]
    run = replace(record, run_card={"parameters": 86_000_000}, reproduces=entries)
    run = replace(run, duration_seconds=5400.0)
    assert [value for *_, value in places(run)] == [86.0, 1.5]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("Table 4", "key 'reproduces' must be a list of dicts"),
        ([dict(column="ViT-B")], "'reproduces.0': key 'table' is missing"),
        ([dict(table="Table 99", row="a")], "no published table 'Table 99'"),
        ([dict(table="Table 5", column="ViT-G", metric="mIoU")], "no column 'ViT-G'"),
        ([dict(table="Table 6", row="iNat", column="ViT-B", metric="a")], "no row 'iNat'"),
        ([dict(table="Table 5", column="ViT-B")], "'column' and 'metric' belong together"),
        ([dict(table="Table 5")], "needs 'column' and 'metric'"),
        ([dict(table="Table 5", column="ViT-B", metric="a", unit="%")], "unknown key 'unit'"),
        ([dict(table="Table 1a", row="8"), dict(table="Table 1a", row="9")], "reproduces.1"),
    ],
)
def test_wrong_entry_is_named(entries, message):
    with pytest.raises(ValueError, match=re.escape("c.py: key 'reproduces")) as caught:
        check_entries(entries, "c.py")
    assert message in str(caught.value)
