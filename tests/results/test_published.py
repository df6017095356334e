"""Published numbers against the paper's text, and against each other where the text ties them."""

from pathlib import Path
from statistics import fmean, pstdev

import pytest
import yaml
from modelindex.load_model_index import load as load_index

from mae_bench.checkpoint.known import known_checkpoints
from mae_bench.results.model_index import METAFILE, write_model_index
from mae_bench.results.shipped import find_table, shipped_tables
from mae_bench.results.table import NOT_PUBLISHED
from mae_bench.results.table_page import write_pages

# Read in the paper and in the listings, not in the files.
CELLS = [
    ("Table 1a", "1", "lin", 65.5),
    ("Table 1a", "2", "lin", 70.0),
    ("Table 1a", "12", "ft", 84.4),
    ("Table 1b", "128", "lin", 69.1),
    ("Table 1b", "256", "ft", 84.8),
    ("Table 1b", "1024", "lin", 73.1),
    ("Table 1c", "encoder w/ [M]", "lin", 59.6),
    ("Table 1c", "encoder w/ [M]", "FLOPs", 3.3),
    ("Table 1d", "pixel (w/ norm)", "lin", 73.9),
    ("Table 1d", "PCA", "lin", 72.3),
    ("Table 1d", "dVAE token", "ft", 85.3),
    ("Table 1e", "none", "ft", 84.0),
    ("Table 1e", "crop, fixed size", "ft", 84.7),
    ("Table 1e", "crop + color jit", "lin", 71.9),
    ("Table 1f", "block 50", "lin", 72.3),
    ("Table 1f", "block 75", "ft", 82.8),
    ("Table 1f", "grid 75", "lin", 66.0),
    ("Table 2", "ViT-L, 1", "hours", 11.6),
    ("Table 2", "ViT-H w/ [M], 8", "hours", 119.6),
    ("Table 2", "ViT-H, 8", "ft acc", 85.8),
    ("Table 2", "ViT-H, 1", "speedup", 4.1),
    ("Table 3", "scratch, our impl.", "ViT-H", 83.1),
    ("Table 3", "DINO", "ViT-B", 82.8),
    ("Table 3", "MoCo v3", "ViT-L", 84.1),
    ("Table 3", "BEiT", "ViT-L", 85.2),
    ("Table 3", "MAE", "ViT-H448", 87.8),
    ("Table 4", "supervised", "APmask ViT-L", 43.9),
    ("Table 4", "MoCo v3", "APmask ViT-B", 42.7),
    ("Table 4", "BEiT", "APbox ViT-B", 49.8),
    ("Table 4", "MAE", "APbox ViT-L", 53.3),
    ("Table 4", "MAE", "APmask ViT-L", 47.2),
    ("Table 5", "supervised", "ViT-L", 49.9),
    ("Table 5", "MoCo v3", "ViT-B", 47.3),
    ("Table 5", "BEiT", "ViT-L", 53.3),
    ("Table 5", "MAE", "ViT-B", 48.1),
    ("Table 6", "iNat 2017", "ViT-H448", 83.4),
    ("Table 6", "iNat 2018", "prev best", 81.2),
    ("Table 6", "iNat 2019", "ViT-L", 83.4),
    ("Table 6", "Places205", "ViT-H", 65.9),
    ("Table 6", "Places365", "ViT-B", 57.9),
    ("Table 7", "pixel (w/o norm)", "IN1K ViT-H", 86.2),
    ("Table 7", "pixel (w/o norm)", "ADE20K ViT-L", 51.8),
    ("Table 7", "dVAE token", "COCO ViT-L", 53.2),
    ("Table 12", "iGPT, iGPT-XL", "params", 6801),
    ("Table 12", "iGPT, iGPT-L", "acc", 69.0),
    ("Table 12", "BEiT, ViT-L", "acc", 52.1),
    ("Table 12", "MAE, ViT-H", "acc", 76.6),
    ("Table 13", "IN-Corruption", "ViT-H448", 36.8),
    ("Table 13", "IN-Adversarial", "ViT-L", 57.1),
    ("Table 13", "IN-Rendition", "prev best", 48.7),
    ("Table 13", "IN-Sketch", "ViT-B", 34.5),
    ("Table 13", "supervised, IN-Corruption", "ViT-L", 42.3),
    ("Table 13", "supervised, IN-Adversarial", "ViT-B", 27.2),
    ("Table 13", "supervised, IN-Sketch", "ViT-H", 38.0),
    ("Section 4", "scratch, original", "top-1", 76.5),
    ("Section 4.2, hours", "MAE, 1600 epochs", "hours", 31),
    ("Section 4.2, accuracy", "VOLO, 512 pixels", "top-1", 87.1),
    ("Section 4.2, accuracy", "BEiT ViT-L, pixels", "top-1", 83.5),
    ("Figure 9", "1", "MAE", 81.0),
    ("Figure 9", "0.5", "MAE", 79.1),
    ("Figure 9", "0", "MoCo v3", 77.6),
    ("Appendix A.2", "ViT-H", "w/o EMA", 80.9),
    ("Appendix A.2", "ViT-B", "DeiT", 81.8),
    ("Papers with Code, image classification", "MAE (ViT-H, 448)", "Number of params", 656),
    ("Papers with Code, ImageNet-S", "MAE (ViT-B/16, 224x224, SSL, mmseg)", "mIoU (test)", 40.3),
    ("mmselfsup", "ViT-B/16", "Fine-tuning Top-1", 83.1),
    ("mmpretrain", "800", "ViT-L lin", 73.7),
    ("mmpretrain", "1600", "ViT-H448 ft", 87.3),
    ("official fine-tuning", "ViT-H", "Acc@5", 98.088),
    ("official fine-tuning", "ViT-L", "loss", 0.646),
    ("official linear probing", "ViT-H", "acc", 77.2),
    ("ViTDet", "Cascade Mask R-CNN, ViT-L", "APmask", 50.0),
    ("mmsegmentation", "MAE ViT-B", "mIoU (ms+flip)", 48.7),
]

# Differences that the paper's prose states in points: (table, row, column) less the same.
PROSE = [
    (("Table 4", "MAE", "APbox ViT-B"), ("Table 4", "supervised", "APbox ViT-B"), 2.4),
    (("Table 4", "MAE", "APbox ViT-L"), ("Table 4", "supervised", "APbox ViT-L"), 4.0),
    (("Table 5", "MAE", "ViT-L"), ("Table 5", "supervised", "ViT-L"), 3.7),
    (("Table 1a", "8", "lin"), ("Table 1a", "1", "lin"), 8.0),
    (("Table 1d", "dVAE token", "ft"), ("Table 1d", "pixel (w/o norm)", "ft"), 0.4),
]

# Cells that print the same run twice.
SAME = [
    (("Table 1a", "1", "ft"), ("Table 2", "ViT-L, 1", "ft acc")),
    (("Table 1c", "encoder w/ [M]", "ft"), ("Table 2", "ViT-L w/ [M], 8", "ft acc")),
    (("Table 1c", "encoder w/o [M]", "ft"), ("Table 2", "ViT-L, 8", "ft acc")),
    (("Table 1a", "8", "ft"), ("Section 4", "baseline MAE", "top-1")),
    (("Table 1a", "8", "lin"), ("Figure 9", "0", "MAE")),
    (("Table 1a", "8", "ft"), ("Figure 9", "24", "MAE")),
    (("Table 3", "BEiT", "ViT-L"), ("Section 4.2, accuracy", "BEiT ViT-L, tokens", "top-1")),
    (("official COCO schedules", "100", "APbox"), ("Table 4", "MAE", "APbox ViT-B")),
    (("official COCO schedules", "100", "APmask"), ("Table 4", "MAE", "APmask ViT-B")),
    (("mae_segmentation", "MAE ViT-B", "mIoU"), ("mae_segmentation, curve", "160k", "mIoU")),
]


def published(table, row, column):
    return shipped_tables()[table].cell(row, column)


def value(table, row, column):
    return published(table, row, column).published


@pytest.mark.parametrize(("table", "row", "column", "expected"), CELLS)
def test_cell_as_printed(table, row, column, expected):
    number = published(table, row, column)
    assert number.published == expected
    assert (number.table, number.row, number.column) == (table, row, column)


@pytest.mark.parametrize(("minuend", "subtrahend", "expected"), PROSE)
def test_difference_stated_in_the_text(minuend, subtrahend, expected):
    assert value(*minuend) - value(*subtrahend) == pytest.approx(expected)


@pytest.mark.parametrize(("first", "second"), SAME)
def test_same_run_in_two_places(first, second):
    assert value(*first) == value(*second)


def test_default_of_table_1_is_the_same_in_all_its_parts():
    defaults = [
        ("Table 1a", "8"),
        ("Table 1b", "512"),
        ("Table 1c", "encoder w/o [M]"),
        ("Table 1d", "pixel (w/o norm)"),
        ("Table 1e", "crop, rand size"),
        ("Table 1f", "random 75"),
    ]
    assert {(value(*row, "ft"), value(*row, "lin")) for row in defaults} == {(84.9, 73.5)}


@pytest.mark.parametrize("model", ["ViT-L", "ViT-H"])
@pytest.mark.parametrize("depth", [8, 1])
def test_speed_up_is_the_ratio_of_hours(model, depth):
    row = f"{model}, {depth}"
    ratio = value("Table 2", f"{model} w/ [M], 8", "hours") / value("Table 2", row, "hours")
    assert value("Table 2", row, "speedup") == round(ratio, 1)


def test_last_row_of_table_7_is_a_difference():
    table = shipped_tables()["Table 7"]
    last = table.rows[-1]
    for column in table.columns:
        printed = value("Table 7", last, column)
        own = value("Table 7", "dVAE token", column) - value("Table 7", "pixel (w/ norm)", column)
        assert printed == pytest.approx(own)
        assert table.cell(last, column).quantity.unit == "points"
        assert table.cell(last, column).minus == (
            ("dVAE token", column),
            ("pixel (w/ norm)", column),
        )


@pytest.mark.parametrize(
    ("column", "other"),
    [
        ("IN1K ViT-B", ("Table 3", "MAE", "ViT-B")),
        ("IN1K ViT-L", ("Table 3", "MAE", "ViT-L")),
        ("IN1K ViT-H", ("Table 3", "MAE", "ViT-H")),
        ("COCO ViT-B", ("Table 4", "MAE", "APbox ViT-B")),
        ("COCO ViT-L", ("Table 4", "MAE", "APbox ViT-L")),
        ("ADE20K ViT-B", ("Table 5", "MAE", "ViT-B")),
        ("ADE20K ViT-L", ("Table 5", "MAE", "ViT-L")),
    ],
)
def test_normalised_pixels_of_table_7_are_the_mae_of_tables_3_to_5(column, other):
    assert value("Table 7", "pixel (w/ norm)", column) == value(*other)


@pytest.mark.parametrize("model", ["ViT-B", "ViT-L", "ViT-H"])
def test_scratch_models_and_official_weights_agree_with_table_3(model):
    scratch = value("Table 3", "scratch, our impl.", model)
    assert value("Appendix A.2", model, "w/ EMA") == scratch
    official = value("official fine-tuning", model, "Acc@1")
    assert official == pytest.approx(value("Table 3", "MAE", model), abs=0.1)


def test_image_size_helps_on_every_robustness_set_but_corruptions():
    table = shipped_tables()["Table 13"]
    helped = {}
    for row in table.rows[:4]:
        small, large = table.cell(row, "ViT-H"), table.cell(row, "ViT-H448")
        helped[row] = (large.published > small.published) == small.quantity.higher_is_better
    assert [row for row, better in helped.items() if not better] == ["IN-Corruption"]


def test_papers_with_code_repeats_the_paper():
    prefix = "Papers with Code, "
    for model, name in [("ViT-B", "ViT-B"), ("ViT-L", "ViT-L"), ("ViT-H", "ViT-H")]:
        linear = value(prefix + "self-supervised", f"MAE ({name})", "Top 1 Accuracy")
        assert linear == value("Table 12", f"MAE, {model}", "acc")
        tuned = value(prefix + "image classification", f"MAE ({name})", "Top 1 Accuracy")
        assert tuned == value("Table 3", "MAE", model)
    generalization = prefix + "domain generalization"
    adversarial = value(generalization, "ImageNet-A, MAE (ViT-H, 448)", "Top-1 accuracy %")
    assert adversarial == value("Table 13", "IN-Adversarial", "ViT-H448")
    error = published(generalization, "ImageNet-R, MAE (ViT-H, 448)", "Top-1 Error Rate")
    assert error.published == 100 - value("Table 13", "IN-Rendition", "ViT-H448")
    assert error.quantity.higher_is_better is False
    corruption = published(generalization, "ImageNet-C, MAE (ViT-H)", "mean Corruption Error (mCE)")
    assert corruption.published == value("Table 13", "IN-Corruption", "ViT-H")
    assert corruption.quantity == published("Table 13", "IN-Corruption", "ViT-H").quantity


@pytest.mark.parametrize("model", ["ViT-B", "ViT-L"])
def test_mean_and_deviation_of_the_official_seeds(model):
    table = shipped_tables()["official fine-tuning, seeds"]
    *runs, mean, std = (table.cell(model, column).published for column in table.columns)
    assert fmean(runs) == pytest.approx(mean, abs=0.0051)
    assert pstdev(runs) == pytest.approx(std, abs=0.0051)


def test_every_number_has_a_source_and_every_gap_a_reason():
    cells = [cell for table in shipped_tables().values() for cell in table.cells.values()]
    assert len(cells) > 400
    for cell in cells:
        assert shipped_tables()[cell.table].source, cell
        assert cell.published is not None or cell.note, cell
    assert len({cell.place for cell in cells}) == len(cells)


def test_paper_tables_name_their_own_place():
    for name, table in shipped_tables().items():
        if name.startswith(("Table ", "Figure ", "Appendix ")):
            assert name in table.source and "arXiv:2111.06377" in table.source


def test_order_is_the_papers():
    table = shipped_tables()["Table 3"]
    assert table.columns == ("ViT-B", "ViT-L", "ViT-H", "ViT-H448")
    assert table.rows == ("scratch, our impl.", "DINO", "MoCo v3", "BEiT", "MAE")
    assert table.text_columns["pre-train data"]["BEiT"] == "IN1K+DALLE"
    assert [value("Table 3", "DINO", c) for c in table.columns] == [82.8, None, None, None]


def test_metric_direction_and_unit():
    assert published("Table 13", "IN-Corruption", "ViT-B").quantity.higher_is_better is False
    assert published("Table 13", "IN-Sketch", "ViT-B").quantity.higher_is_better is True
    assert published("Table 2", "ViT-L, 8", "hours").quantity.unit == "h"
    assert published("Table 12", "MAE, ViT-B", "params").quantity.higher_is_better is None


def test_notes():
    assert published("Table 2", "ViT-H w/ [M], 8", "hours").note == "estimated from ten epochs"
    assert published("Table 3", "DINO", "ViT-L").note == NOT_PUBLISHED
    assert published("Table 3", "MAE", "ViT-L").note == ""
    assert "82.6" in published("Section 4", "scratch, our impl.", "top-1").note


def test_unknown_names_are_refused_with_what_exists():
    with pytest.raises(ValueError, match="no table 'Table 99' and no such file; there are 'Figure"):
        find_table("Table 99")
    with pytest.raises(ValueError, match="Table 5: no row 'DINO'; it has 'supervised', 'MoCo v3'"):
        published("Table 5", "DINO", "ViT-B")
    with pytest.raises(ValueError, match="Table 5: no column 'ViT-H'; it has 'ViT-B', 'ViT-L'$"):
        published("Table 5", "MAE", "ViT-H")


def test_pages_of_the_tables_are_fresh(tmp_path):
    """``make pages`` was run after the last change of a table."""
    pages = Path(__file__).parents[2] / "docs/tables"
    written = {path.name: path.read_text() for path in write_pages(tmp_path)}
    assert written == {path.name: path.read_text() for path in pages.glob("*.md")}


@pytest.fixture(scope="module")
def model_index(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    (root / "configs").mkdir()
    return root, write_model_index(root)


def test_the_index_of_models_is_fresh(model_index):
    """``make pages`` was run after the last change of a table."""
    root, files = model_index
    for file in files:
        kept = Path(__file__).parents[2] / file.relative_to(root)
        assert file.read_text() == kept.read_text()


def test_the_index_of_models_has_every_measured_cell_and_invents_no_weights(model_index):
    root, (index, _) = model_index
    read = load_index(str(index))  # the library that mim reads it with
    read.build_models_with_collections()
    read.check(silent=True)
    assert read.check_errors == []
    entries = yaml.safe_load((root / METAFILE).read_text())["Models"]
    assert len({entry["Name"] for entry in entries}) == len(entries) == len(read.models)
    found = [
        (entry["In Collection"], entry["Config"], column, value)
        for entry in entries
        for column, value in entry["Results"][0]["Metrics"].items()
    ]
    wanted = []
    for table in shipped_tables().values():
        for cell in table.cells.values():
            if cell.task and cell.published is not None:
                start = table.starts[cell.start or "random"]
                task = table.tasks.get(cell.task)
                config = task.config if task else start.pretrain
                wanted.append((table.name, config, cell.column, cell.published))
    assert sorted(found) == sorted(wanted)
    public = {known.address for known in known_checkpoints().values()}
    weights = {entry["Weights"] for entry in entries if "Weights" in entry}
    assert weights and weights <= public
    trained = next(entry for entry in entries if entry["Name"].startswith("Table 4, MAE"))
    assert "Weights" not in trained  # the public file is where its training starts
