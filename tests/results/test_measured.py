"""Runs stand in the cells that they claim, with every departure, or nowhere with the reason."""

from dataclasses import replace

import pytest

from mae_bench.results.measured import measure
from mae_bench.results.shipped import shipped_tables
from mae_bench.results.table_file import table_from
from mae_bench.results.table_grid import table_grid

PLACE = ("MAE", "APbox ViT-B")


def table_4(records):
    measured, unplaced = measure([shipped_tables()["Table 4"]], records)
    return (measured[0] if measured else None), unplaced


def runs(*made):
    return {f"run{index}": record for index, record in enumerate(made)}


def test_mean_and_deviation_over_seeds(coco_run):
    table, unplaced = table_4(runs(coco_run(0.49, seed=0), coco_run(0.50, seed=1)))
    cell = table.cells[PLACE]
    assert cell.values.mean == pytest.approx(49.5)
    assert cell.values.std == pytest.approx(0.5**0.5)  # of 49 and 50, divisor 1
    assert cell.difference == pytest.approx(49.5 - 50.3)
    assert not cell.notes and not unplaced
    assert cell.runs == {0: ("run0",), 1: ("run1",)}


def test_no_other_cell_is_filled(coco_run):
    table, _ = table_4(runs(coco_run(0.49)))
    assert set(table.cells) == {PLACE, ("MAE", "APmask ViT-B")}


def test_a_run_that_claims_nothing_stands_nowhere(coco_run):
    table, unplaced = table_4(runs(coco_run(0.49, cells=[])))
    assert table is None
    assert [(one.run, one.reason) for one in unplaced] == [("run0", "claims no cell of a table")]


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        (
            {"run_card": {"iterations": 46_000, "effective_batch": 64}},
            "25.11 epochs, published 100",
        ),
        ({"run_card": {"iterations": 737_500, "effective_batch": 16}}, "batch 16, published 64"),
        (
            {
                "run_card": {
                    **{"iterations": 182_812, "effective_batch": 64},
                    **{"norm_samples": 8, "recipe_norm_samples": 64},
                }
            },
            "BatchNorm over 8 samples, 64 in the recipe",
        ),
        ({"run_card": {}}, "epochs not recorded, published 100"),
        (
            {"data_counts": {"train": 117_266, "val": 4_990}},
            "evaluated on 4,990 images, published 5,000",
        ),
        (
            {"data_counts": {"train": 117_000, "val": 5_000}, "run_card": None},
            "trained on 117,000 images, published 117,266",
        ),
        ({"model": None}, "its model is not recorded"),
    ],
)
def test_a_small_departure_is_a_footnote(coco_run, changes, note):
    if changes.get("run_card", "") is None:
        changes = {**changes, "run_card": {"iterations": 182_812, "effective_batch": 64}}
    table, unplaced = table_4(runs(coco_run(0.49, seed=0, **changes), coco_run(0.5, seed=1)))
    assert note in table.cells[PLACE].notes
    assert not unplaced


def metadata(**changes):
    base = {"method": "mae", "data": "imagenet-1k", "epochs": 1600}
    return {
        "checkpoint": {"file": "w.pth", "sha256": "cd" * 32, "report": None}
        | {"metadata": None if changes.get("nothing") else base | changes}
    }


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        (metadata(epochs=800), "pre-trained for 800 epochs, published 1600"),
        (metadata(epochs=None), "pre-trained for an unrecorded number of epochs, published 1600"),
        (metadata(data=None), "pre-trained on unrecorded data, published ImageNet-1K"),
        (metadata(nothing=True), "what it started from does not say how it was made"),
        (
            metadata(guessed="mae"),
            "from a file that is taken for mae by the names of its tensors",
        ),
    ],
)
def test_what_it_started_from_is_a_footnote(coco_run, changes, note):
    table, _ = table_4(runs(coco_run(0.49, **changes)))
    assert note in table.cells[PLACE].notes


def test_names_of_the_same_data_are_the_same(coco_run):
    table, _ = table_4(runs(coco_run(0.49, **metadata(data="ImageNet-1K"))))
    assert table.cells[PLACE].notes == ["1 seed"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (metadata(method="moco_v3"), "from moco_v3, published from mae"),
        (metadata(data="MiniWorld"), "pre-trained on MiniWorld, published ImageNet-1K"),
        ({"checkpoint": None}, "from random weights, published from mae"),
        ({"data_counts": {"train": 64, "val": 5_000}}, "trained on 64 images, published 117,266"),
        ({"data_counts": {"train": 117_266, "val": 12}}, "evaluated on 12 images, published 5,000"),
    ],
)
def test_what_is_too_different_fills_no_cell(coco_run, changes, reason):
    table, unplaced = table_4(runs(coco_run(0.49, **changes)))
    assert table is None
    assert any(reason in one.reason for one in unplaced)
    assert all("not comparable with Table 4, MAE, AP" in one.reason for one in unplaced)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("classes", 3, "3 classes, published 80"),
        ("embed_dim", 96, "another model: width 96, 12 blocks, patches of 16 pixels"),
        ("num_layers", 24, "another model: width 768, 24 blocks"),
        ("patch_size", 8, "patches of 8 pixels, published ViT-B/16"),
        ("img_size", 512, "images of 512 pixels, published 1024"),
    ],
)
def test_another_model_fills_no_cell(coco_run, key, value, reason):
    run = coco_run(0.49)
    table, unplaced = table_4(runs(replace(run, model={**run.model, key: value})))
    assert table is None
    assert any(reason in one.reason for one in unplaced)


def test_a_metric_that_is_not_defined_fills_no_cell(coco_run):
    table, unplaced = table_4(runs(coco_run(-1.0)))
    assert set(table.cells) == {("MAE", "APmask ViT-B")}
    (one,) = unplaced
    assert one.reason == "has no defined 'coco/bbox_mAP' for Table 4, MAE, APbox ViT-B"


@pytest.mark.parametrize("missing", [["coco/fog/3: nothing", "coco_2: no folder b", 3], 7, None])
def test_a_set_that_was_not_there_is_named(coco_run, missing):
    run = coco_run(-1.0)
    _, (one,) = table_4(runs(replace(run, run_card={**run.run_card, "missing": missing})))
    named = one.reason.partition(" ViT-B")[2]
    assert named.startswith(" (coco/fog/3: nothing; once it is there,") is isinstance(missing, list)
    assert "coco_2" not in named and bool(named) is isinstance(missing, list)


def test_config_departures_of_a_claim_are_footnotes(coco_run):
    claim = dict(table="Table 4", row="MAE", column="APbox ViT-B", differs=["lr=1, recipe 2"])
    table, _ = table_4(runs(coco_run(0.49, cells=[claim])))
    assert "lr=1, recipe 2" in table.cells[PLACE].notes


@pytest.mark.parametrize(
    "claim",
    [
        dict(table="Table 99", row="MAE", column="APbox ViT-B"),
        dict(table="Table 4", row="DINO", column="APbox ViT-B"),
        dict(table="Table 4", row="MAE", column="APbox ViT-H"),
    ],
)
def test_a_claim_of_what_there_is_not_is_listed(coco_run, claim):
    table, unplaced = table_4(runs(coco_run(0.49, cells=[claim])))
    assert table is None and len(unplaced) == 1


def exported(record, sha256, **changes):
    return replace(record, exported={"file": "checkpoint.safetensors", "sha256": sha256}, **changes)


def test_two_pretrainings_are_never_one_setting(coco_run, record):
    """Their exports have the same name; one is of another mask ratio."""
    made = {}
    for label, ratio in (("a", 0.75), ("b", 0.5)):
        overrides = {"model.mask_ratio": ratio, "randomness.seed": 0}
        made[f"pre-{label}"] = exported(
            record, label * 64, overrides=overrides, cells=[], checkpoint=None
        )
    for seed, label in enumerate("ab"):
        run = coco_run(0.4 + seed / 100, seed=seed)
        made[f"fine-{label}"] = replace(run, checkpoint={**run.checkpoint, "sha256": label * 64})
    cell = table_4(made)[0].cells[PLACE]
    assert len(cell.values.by_seed) == 1
    assert "the closest to the recipe of 2 settings that claim this cell" in cell.notes
    assert "pre-trained with model.mask_ratio=0.75" in cell.notes or (
        "pre-trained with model.mask_ratio=0.5" in cell.notes
    )


def test_seeds_of_one_pretraining_recipe_are_one_setting(coco_run, record):
    made = {}
    for seed in (0, 1):
        label = "ab"[seed]
        overrides = {"randomness.seed": seed}
        made[f"pre-{label}"] = exported(
            record, label * 64, overrides=overrides, cells=[], checkpoint=None
        )
        run = coco_run(0.49 + seed / 100, seed=seed)
        made[f"fine-{label}"] = replace(run, checkpoint={**run.checkpoint, "sha256": label * 64})
    cell = table_4(made)[0].cells[PLACE]
    assert cell.values.mean == pytest.approx(49.5) and not cell.notes


def test_the_latest_run_of_a_seed_counts(coco_run):
    first = coco_run(0.49)
    second = replace(coco_run(0.51), finished="2025-01-01T00:00:00+00:00")
    cell = table_4(runs(second, first))[0].cells[PLACE]
    assert cell.values.mean == pytest.approx(51.0)
    assert "several runs of one seed: the latest counts" in cell.notes


def test_the_best_of_a_search_says_how_many_were_tried(coco_run):
    run = coco_run(0.49)
    search = {"metric": "coco/bbox_mAP", "means": {"a": 1, "b": 2, "c": 3}}
    cell = table_4(runs(replace(run, run_card={**run.run_card, "search": search})))[0].cells[PLACE]
    assert "best of 3 settings" in cell.notes


def data(val, train="t"):
    return {"train": {"samples": 9, "digest": train}, "val": {"samples": 9, "digest": val}}


def test_seeds_on_other_data_are_not_averaged(coco_run):
    seeds = [coco_run(0.4 + n / 10, seed=n, data=data("ab"[n])) for n in (0, 1)]
    table, _ = table_4(runs(*seeds))
    assert table.cells[PLACE].values.by_seed == {1: 50.0}
    assert any("2 settings" in note for note in table.cells[PLACE].notes)


SAME_TASK = {
    "name": "one task",
    "tasks": {"t": {"config": "t.py"}},
    "columns": {"top-1": {"task": "t", "metric": "accuracy/top1"}},
    "rows": {"first": {}, "second": {}},
}


@pytest.mark.parametrize(
    ("own", "notes"),
    [
        (data("b"), ["measured on other files than first"]),
        (data("a", "u"), ["trained on other files than first"]),
        (data("a"), []),
        ({}, []),
    ],
)
def test_rows_on_other_data_say_so(record, own, notes):
    made = {
        row: replace(
            record,
            checkpoint=None,
            data=of,
            cells=[dict(table="one task", row=row, column="top-1")],
        )
        for row, of in (("first", data("a")), ("second", own))
    }
    (measured,), _ = measure([table_from(SAME_TASK, "one.yaml")], made)
    found = measured.cells["second", "top-1"].notes
    assert [note for note in found if "other files" in note] == notes


@pytest.mark.parametrize(("sketch", "notes"), [("a", []), ("b", ["measured on other files"])])
def test_rows_on_other_files_of_the_set_they_are_of_say_so(record, sketch, notes):
    def of(sketch, other):
        return {"imagenet_a": {"digest": other}, "imagenet_sketch": {"digest": sketch}}

    column = {"top-1": {"task": "t", "metric": "imagenet_sketch/top1"}}
    made = {
        row: replace(
            record,
            checkpoint=None,
            data=data,
            metrics={"imagenet_sketch/top1": 50.0},
            cells=[dict(table="one task", row=row, column="top-1")],
        )
        for row, data in (("first", of("a", "x")), ("second", of(sketch, "y")))
    }
    (measured,), _ = measure([table_from({**SAME_TASK, "columns": column}, "one.yaml")], made)
    found = measured.cells["second", "top-1"].notes
    assert [note[: len("measured on other files")] for note in found if "files" in note] == notes


DERIVED = {
    "name": "derived",
    "tasks": {"t": {"config": "t.py"}},
    "columns": {
        "hours": {"task": "t", "metric": "duration_seconds"},
        "speed-up": {
            "task": "t",
            "metric": "duration_seconds",
            "relative_to": "slow",
            "inverse": True,
        },
    },
    "rows": {
        "slow": {"published": [4.0, None]},
        "fast": {"published": [1.0, 4.0]},
        "gain": {"task": None, "minus": ["slow", "fast"]},
    },
}


def test_ratios_and_differences_are_made_of_other_cells(record):
    table = table_from(DERIVED, "derived.yaml")
    records = {}
    for row, seconds in (("slow", 60.0), ("fast", 20.0)):
        for seed in (0, 1):
            cells = [dict(table="derived", row=row, column=c) for c in table.columns]
            records[f"{row}{seed}"] = replace(
                record, checkpoint=None, seed=seed, duration_seconds=seconds + seed, cells=cells
            )
    (measured,), _ = measure([table], records)
    assert measured.cells["fast", "speed-up"].values.by_seed == {0: 3.0, 1: 61 / 21}
    assert measured.cells["gain", "hours"].values.by_seed == {0: 40.0, 1: 40.0}
    assert measured.cells["gain", "hours"].runs[0] == ("slow0", "fast0")


def test_published_measured_and_difference_stand_below_one_another(coco_run):
    grid = table_grid(table_4(runs(coco_run(0.49)))[0])
    lines = {row.label: [cell.text for cell in row.cells] for row in grid.rows}
    assert lines["MAE: published"] == ["50.3", "53.3", "44.9", "47.2"]
    assert lines["MAE: measured"] == ["49.0", "", "44.9", ""]
    assert lines["MAE: difference"] == ["−1.3", "", "0.0", ""] or (
        lines["MAE: difference"] == ["−1.3", "", "+0.0", ""]
    )
    assert "BEiT: measured" not in lines
    assert grid.notes == [("a", "1 seed")]


def test_paper_form_has_one_line_for_each_method(coco_run):
    made = runs(coco_run(0.49, seed=0), coco_run(0.50, seed=1))
    grid = table_grid(table_4(made)[0], rows=["BEiT", "MAE"], columns=["APbox ViT-B"], paper=True)
    assert [(row.label, [cell.text for cell in row.cells]) for row in grid.rows] == [
        ("BEiT (published)", ["49.8"]),
        ("MAE (published)", ["50.3"]),
        ("MAE", ["49.5 ± 0.7"]),
    ]
    with pytest.raises(ValueError, match="Table 4: no row 'DINO'"):
        table_grid(table_4(made)[0], rows=["DINO"])
