"""Measured beside published, worked out by hand from the numbers that the paper prints."""

import csv
import io
from dataclasses import replace

import pytest

from mae_bench.results.export import tables_csv
from mae_bench.results.paper import measured_tables
from mae_bench.results.recipes import published_recipe


def table_4(records):
    tables, problems = measured_tables(records)
    assert problems == []
    assert [table.table.name for table in tables] == ["Table 4"]
    return tables[0]


def lines(table):
    return table.grid().markdown().splitlines()


def test_two_seeds_of_the_published_recipe(coco_run):
    # box AP 50.1 and 50.5: mean 50.3, deviation sqrt(2 * 0.2^2) = 0.283; published 50.3 and 44.9
    records = {
        "s0": coco_run(0.501, 0.446, seed=0),
        "s1": coco_run(0.505, 0.450, seed=1),
    }
    assert lines(table_4(records)) == [
        "| method | APbox ViT-B | APbox ViT-L | APmask ViT-B | APmask ViT-L |",
        "|---|---:|---:|---:|---:|",
        "| supervised: published | 47.9 | 49.3 | 42.9 | 43.9 |",
        "| supervised: measured |  |  |  |  |",
        "| MoCo v3: published | 47.9 | 49.3 | 42.7 | 44.0 |",
        "| MoCo v3: measured |  |  |  |  |",
        "| BEiT: published | 49.8 | 53.3 | 44.4 | 47.1 |",
        "| BEiT: measured |  |  |  |  |",
        "| MAE: published | 50.3 | 53.3 | 44.9 | 47.2 |",
        "| MAE: measured | **50.3 ± 0.3** |  | **44.8 ± 0.3** |  |",
        "| MAE: difference | +0.0 |  | −0.1 |  |",
    ]


def notes(records):
    return dict(table_4(records).grid().notes)


def test_one_seed_and_other_epochs_are_marked(coco_run):
    card = {"iterations": 184_375 // 4, "effective_batch": 64}
    records = {"r": coco_run(0.48, run_card=card)}
    # 46093 iterations of 64 over 117,266 pictures are 25.16 epochs
    assert notes(records) == {"a": "25.16 epochs, published 100", "b": "1 seed"}
    measured = lines(table_4(records))[-2]
    assert "**48.0**<sup>a,b</sup>" in measured


def test_data_pre_training_and_overrides_are_marked(coco_run):
    run = coco_run(
        0.4,
        data_counts={"train": 1000, "val": 500},
        run_card={"iterations": 3125, "effective_batch": 32},
        overrides={"randomness.seed": 3, "train_dataloader.num_workers": 2, "optim.lr": 0.1},
    )
    run.checkpoint["metadata"].update(epochs=None, data="places")
    assert list(notes({"r": run}).values()) == [
        "trained on 1,000 pictures, published 118,287",
        "evaluated on 500 pictures, published 5,000",
        "pre-trained on places, published imagenet-1k",
        "pre-trained for an unrecorded number of epochs, published 1600",
        "overrides optim.lr=0.1",
        "1 seed",
    ]


def test_config_says_how_it_differs_and_corruptions_made_here_are_known(record):
    entry = dict(table="Table 13", column="ViT-B", differs=["bilinear"])
    entries = [
        dict(entry, row="IN-Corruption", metric="corrupted_val/mCE"),
        dict(entry, row="IN-Adversarial", metric="imagenet_a/top1"),
    ]
    counts = {"corrupted_val": 10, "imagenet_a": 7_000}
    metrics = {"corrupted_val/mCE": 51.0, "imagenet_a/top1": 36.0}
    run = replace(record, reproduces=entries, data_counts=counts, metrics=metrics, overrides={})
    (table,), _ = measured_tables({"r": run})
    found = {row: cell.notes for (row, _), cell in table.cells.items()}
    untold = "how the model was trained is in no record here"
    fly = "corruptions made on the fly, not the distributed files of ImageNet-C"
    assert found["IN-Corruption"] == ["bilinear", untold, fly, "1 seed"]
    count = "evaluated on 7,000 pictures, published 7,500"
    assert found["IN-Adversarial"] == ["bilinear", untold, count, "1 seed"]
    # mCE is better when lower, and the difference is still measured less published
    assert table.cells["IN-Corruption", "ViT-B"].difference == pytest.approx(51.0 - 51.7)


def test_best_setting_of_a_search_is_shown_and_said(coco_run):
    def tried(lr, box):
        return coco_run(box, overrides={"optim.lr": lr})

    records = {"a": tried(1, 0.30), "b": tried(2, 0.49), "c": tried(3, 0.40)}
    cell = table_4(records).cells["MAE", "APbox ViT-B"]
    assert cell.cell.values == {0: pytest.approx(49.0)}
    assert "best of 3 settings" in cell.notes
    assert dict(cell.runs) == {0: "b"}
    # the copy that a suite's search leaves counts alone, and knows how many were tried
    card = records["c"].run_card | {"search": {"means": {"x": 1, "y": 2}}}
    chosen = table_4(records | {"d": replace(records["c"], run_card=card)})
    cell = chosen.cells["MAE", "APbox ViT-B"]
    assert dict(cell.runs) == {0: "d"}
    assert "best of 2 settings" in cell.notes


def test_diverged_setting_is_never_the_best_and_the_latest_run_of_a_seed_counts(coco_run):
    diverged = coco_run(float("nan"), overrides={"optim.lr": 9})
    old = coco_run(0.47, finished="2024-01-01T10:00:00+00:00")
    new = coco_run(0.46, finished="2024-01-02T10:00:00+00:00")
    cell = table_4({"x": diverged, "new": new, "old": old}).cells["MAE", "APbox ViT-B"]
    assert cell.cell.values == {0: pytest.approx(46.0)}
    assert "several runs of one seed: the latest counts" in cell.notes


def test_runs_that_claim_nothing_make_no_table(record):
    assert measured_tables({"r": record}) == ([], [])


def test_csv_has_both_numbers_at_full_precision(coco_run):
    records = {"s0": coco_run(0.501, seed=0), "s1": coco_run(0.506, seed=1)}
    tables, _ = measured_tables(records)
    rows = list(csv.DictReader(io.StringIO(tables_csv({}, tables, records))))
    assert [row["column"] for row in rows] == ["APbox ViT-B", "APmask ViT-B"]
    box = rows[0]
    assert (box["table"], box["row"], box["unit"]) == ("Table 4", "MAE", "%")
    assert float(box["published"]) == 50.3
    assert float(box["measured"]) == pytest.approx(50.35, rel=1e-12)
    assert float(box["difference"]) == pytest.approx(0.05, rel=1e-9)
    assert (box["seeds"], box["runs"]) == ("2", "s0 s1")


# MAE Tables 9 to 11, Appendix A.1 and A.4, read in the paper
@pytest.mark.parametrize(
    ("place", "epochs", "batch", "pretrain_epochs"),
    [
        (("Table 3", "MAE", "ViT-B"), 100, 1024, 1600),
        (("Table 3", "MAE", "ViT-L"), 50, 1024, 1600),
        (("Table 3", "scratch, our impl.", "ViT-B"), 300, 4096, None),
        (("Table 3", "scratch, our impl.", "ViT-H"), 200, 4096, None),
        (("Table 1a", "8", "ft"), 50, 1024, 800),
        (("Table 1f", "grid 75", "lin"), 90, 16384, 800),
        (("Table 5", "MAE", "ViT-L"), 100, 16, 1600),
        (("Table 7", "dVAE token", "ADE20K ViT-B"), 100, 16, 1600),
        (("Table 7", "dVAE token", "IN1K ViT-H"), 50, 1024, 1600),
        (("Table 12", "MAE, ViT-L", "acc"), 90, 16384, 1600),
        (("Table 13", "IN-Sketch", "ViT-L"), 50, 1024, 1600),
        (("Table 13", "supervised, IN-Sketch", "ViT-L"), 200, 4096, None),
        (("Table 4", "BEiT", "ViT-B"), None, None, 1600),
        (("Table 6", "iNat 2019", "ViT-B"), None, None, 1600),
    ],
)
def test_published_recipes(place, epochs, batch, pretrain_epochs):
    recipe = published_recipe(*place)
    assert (recipe.epochs, recipe.batch, recipe.pretrain_epochs) == (
        epochs,
        batch,
        pretrain_epochs,
    )
