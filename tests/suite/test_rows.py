"""Checkpoints of a user's own as lines of tables."""

from pathlib import Path

import pytest
import torch

from mae_bench.results.table_file import load_suite
from mae_bench.suite.plan import plan_jobs
from mae_bench.suite.rows import parse_checkpoints, with_checkpoints

SUITES = Path(__file__).parents[2] / "configs/suite"


def test_names_of_checkpoints(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for run in "ab":
        for name in ("checkpoint", "epoch_10"):
            path = Path(run, f"{name}.safetensors")
            path.parent.mkdir(exist_ok=True)
            path.touch()
    found = parse_checkpoints(["mine=x.pth", "*/checkpoint.safetensors", "other/y.pth"])
    assert found == {
        "mine": "x.pth",
        "a-checkpoint": "a/checkpoint.safetensors",
        "b-checkpoint": "b/checkpoint.safetensors",
        "y": "other/y.pth",
    }
    assert list(parse_checkpoints(["k=a/*.safetensors"])) == ["k-checkpoint", "k-epoch_10"]
    for options, message in (
        (["x=1.pth", "x=2.pth"], "the name 'x' is taken"),
        (["nothing/*"], "no file fits nothing/*"),
        (["x=1.pth", "x.pth"], "the name 'x' is taken; give NAME=FILE"),
    ):
        with pytest.raises(ValueError, match=message.replace("*", r"\*")):
            parse_checkpoints(options)


def vit(path: Path, dim: int, depth: int, patch: int = 16) -> str:
    """A file with as much of a ViT as tells which one it is."""
    tensors = {
        "cls_token": torch.zeros(1, 1, dim),
        "pos_embed": torch.zeros(1, 197, dim),
        "patch_embed.proj.weight": torch.zeros(dim, 3, patch, patch),
        "patch_embed.proj.bias": torch.zeros(dim),
    }
    tensors |= {f"blocks.{i}.norm1.weight": torch.zeros(dim) for i in range(depth)}
    torch.save({"model": tensors}, path)
    return str(path)


def test_a_row_of_a_table_of_two_models_is_of_the_one_it_fits(tmp_path):
    file = vit(tmp_path / "b.pth", 768, 12)
    (table,) = with_checkpoints(load_suite(SUITES / "table4.yaml"), {"my MAE": file}).tables
    assert table.rows[-1] == "my MAE"
    cell = table.cell("my MAE", "APbox ViT-B")
    assert (cell.task, cell.start, cell.published) == ("coco-base", "my_MAE", None)
    assert cell.overrides == {}  # not BEiT's layer scale
    assert table.starts["my_MAE"].checkpoint == file
    assert table.cell("my MAE", "APbox ViT-L").task is None
    with pytest.raises(ValueError, match="fits no model of .*table4.yaml"):
        with_checkpoints(
            load_suite(SUITES / "table4.yaml"), {"tiny": vit(tmp_path / "t.pth", 192, 12)}
        )


def test_a_column_where_columns_are_what_differs_in_the_start(tmp_path):
    file = vit(tmp_path / "l.pth", 1024, 24)
    (table,) = with_checkpoints(load_suite(SUITES / "table6.yaml"), {"mine": file}).tables
    assert table.columns[-1] == "mine"
    cell = table.cell("iNat 2018", "mine")
    assert (cell.task, cell.start) == ("inat2018", "mine")
    assert cell.overrides["model.backbone.arch"] == "large"
    assert table.cell("iNat 2018", "ViT-L").published == 80.1


def test_every_cell_of_a_table_of_one_model(tmp_path):
    suite = with_checkpoints(load_suite(SUITES / "demo.yaml"), {"mine": "any.pth"})
    (table,) = suite.tables
    assert table.rows == ("random", "MAE", "mine")
    assert {table.cell("mine", column).start for column in table.columns} == {"mine"}
    assert table.cell("mine", "box AP").task == "detection"


def test_the_name_of_a_start_gives_it_another_file():
    suite = load_suite(SUITES / "table4.yaml")
    (table,) = with_checkpoints(suite, {"mae-base": "own.pth"}).tables
    assert table.starts["mae-base"].checkpoint == "own.pth"
    assert table.starts["mae-base"].epochs == 1600
    assert table.rows == suite.tables[0].rows
    (table,) = with_checkpoints(load_suite(SUITES / "demo.yaml"), {"MAE": "own.pth"}).tables
    assert table.starts["MAE"].checkpoint == "own.pth" and table.starts["MAE"].pretrain is None


def test_a_name_that_is_taken_is_refused():
    with pytest.raises(ValueError, match="has a line 'random' already"):
        with_checkpoints(load_suite(SUITES / "demo.yaml"), {"random": "x"})


def test_one_checkpoint_through_all_tasks(tmp_path, monkeypatch):
    monkeypatch.chdir(SUITES.parents[1])
    full = load_suite(SUITES / "full.yaml")
    with pytest.raises(ValueError, match="full.yaml: measures files of your own: give --check"):
        with_checkpoints(full, {})
    file = vit(tmp_path / "b.pth", 768, 12)
    given = with_checkpoints(full, {"my MAE": file})
    jobs = {job.name: job for job in plan_jobs(given, tmp_path / "work").jobs}
    assert {name.rpartition("/")[2].partition(",")[0] for name in jobs} == {
        *(
            "frozen-base",
            "few-images-base",
            "logistic-base",
            "linear-robustness-base",
            "attentive-base",
            "linear-base",
            "finetune-base",
            "robustness-base",
            "coco-base",
        ),
        *("ade20k-base", "inat2017", "inat2018"),
        *("inat2019", "places205", "places365"),
    }
    assert {name.split("/")[1] for name in jobs} == {"my_MAE"}
    # the published rows stand beside it, and Table 13 tests what Table 3 has fine-tuned
    assert given.tables[3].cell("MAE", "ViT-B").published == 83.6
    assert jobs["seed0/my_MAE/robustness-base"].needs == ("seed0/my_MAE/finetune-base",)
    # a start of the tables with another file is given, too
    other = with_checkpoints(full, {"mae-large": file}).tables
    assert {c.start for t in other for c in t.cells.values() if c.task} == {"mae-large"}
