"""Table files: what they mean, and one line with file and key for each mistake."""

import copy

import pytest
import yaml

from mae_bench.results.shipped import is_variant, shipped_tables
from mae_bench.results.table_file import load_suite, read_suite, table_from, write_suite

TABLE = {
    "name": "T",
    "source": "a paper",
    "starts": {
        "mae-base": {"checkpoint": "b.pth", "method": "mae", "data": "D", "epochs": 8},
        "ablation": {"pretrain": "pre.py", "overrides": {"a": 1, "b": 2}},
        "variant": {"like": "ablation", "overrides": {"b": 3}},
        "other": {"like": "variant", "pretrain": "other.py", "overrides": None},
    },
    "tasks": {
        "fine-base": {"config": "fine.py", "overrides": {"lr": 0.1}},
        "rob": {"config": "rob.py", "test": "fine-base"},
    },
    "cell": {"facts": {"train": 100, "classes": 10}, "quantity": "top-1 accuracy"},
    "columns": {
        "B": {"task": "fine-{size}", "metric": "top1", "vars": {"size": "base"}},
        "note": {"task": None},
    },
    "rows": {
        "MAE": {"published": [83.6, None], "start": "mae-{size}", "facts": {"epochs": 5}},
        1: {"published": {"B": 80}, "start": "variant"},
    },
    "cells": {"MAE": {"B": {"overrides": {"x": True}, "note": "why", "unknown": "lr"}}},
}


def changed(**changes):
    return {**copy.deepcopy(TABLE), **changes}


def test_a_cell_is_merged_from_table_column_row_and_itself():
    table = table_from(TABLE, "t.yaml")
    cell = table.cell("MAE", "B")
    assert (cell.task, cell.start, cell.metric) == ("fine-base", "mae-base", "top1")
    assert cell.facts.train == (100,) and cell.facts.epochs == 5 and cell.facts.classes == 10
    assert cell.overrides == {"x": True} and cell.published == 83.6
    assert cell.note == "why" and cell.unknown == ("lr",)
    assert table.cell("MAE", "note").task is None
    assert table.cell("MAE", "note").note == "not published"
    assert table.cell("1", "B").start == "variant"


def test_starts_are_like_others():
    starts = table_from(TABLE, "t.yaml").starts
    assert starts["variant"].overrides == {"a": 1, "b": 3}
    assert starts["variant"].pretrain == "pre.py"
    assert starts["other"].overrides == {} and starts["other"].pretrain == "other.py"


def test_a_start_in_place_is_named_after_its_row():
    rows = {"my MAE": {"start": {"checkpoint": "x.pth"}}, "random": {}}
    table = table_from(changed(rows=rows, cells={}), "t.yaml")
    assert table.cell("my MAE", "B").start == "my_MAE"
    assert table.starts["my_MAE"].checkpoint == "x.pth"
    assert table.cell("random", "B").start == "random"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rowz": {}}, "key 'rowz' is unknown; did you mean 'rows'"),
        ({"name": 3}, "key 'name' must be text"),
        ({"seeds": []}, "key 'seeds' must be a list of different"),
        ({"seeds": [0, 0]}, "key 'seeds' must be a list of different"),
        ({"data": "imagenet"}, "key 'data' must be one of miniworld"),
        ({"columns": {}}, "key 'columns' must be a non-empty mapping"),
        ({"baseline": "x"}, "key 'baseline' names no row"),
        ({"initialisations": {}}, "key 'initialisations' is of an older form of suites"),
        ({"rows": {"a": {"published": [1]}}}, "key 'rows.a.published' has 1 values for 2 columns"),
        ({"rows": {"a": {"published": {"C": 1}}}}, "key 'rows.a.published.C' names no column"),
        ({"rows": {"a": {"published": ["x", 1]}}}, "key 'rows.a.published.B' must be a number"),
        ({"rows": {"a": {"start": "nowhere"}}}, "key 'cells.a.B.start' names none of 'starts'"),
        ({"rows": {"a": {"start": "mae-{letter}"}}}, "no entry of 'vars' for 'letter'"),
        ({"rows": {"a": {"task": "x"}}}, "key 'cells.a.B.task' is 'x'"),
        ({"rows": {"a": {"quantity": "fun"}}}, "key 'cells.a.B.quantity' is 'fun'; it may be"),
        ({"rows": {"a": {"facts": {"epoch": 1}}}}, "key 'cells.a.B.facts.epoch' is unknown; did"),
        ({"rows": {"a": {"facts": {"model": "ViT"}}}}, "facts.model' is none of ViT-B/16"),
        ({"rows": {"a": {"minus": ["b", "c"]}}}, "refers to a cell that there is not"),
        ({"rows": {"a": {"overrides": {"randomness.seed": 1}}}}, "seed' is set by 'seeds'"),
        ({"cells": {"x": {"B": {}}}}, "key 'cells.x' names no row"),
        ({"cells": {"MAE": {"x": {}}}}, "key 'cells.MAE.x' names no column"),
        ({"starts": {"a b": None}}, "key 'starts.a b' is used as a folder"),
        ({"starts": {"a": {}}}, "key 'starts.a' needs either 'checkpoint' or 'pretrain'"),
        ({"starts": {"a": {"like": "b"}}}, "key 'starts.a.like' is 'b'"),
        ({"starts": {"a": {"checkpoint": "x", "epoch": 2}}}, "key 'starts.a.epoch' needs"),
        ({"tasks": {"pretrain": {"config": "x"}}}, "is the name of pre-trainings"),
        ({"tasks": {"a": {"config": "x", "test": "b"}}}, "key 'tasks.a.test' names no task"),
        ({"tasks": {"a": {"config": "x", "grid": {"b": [1]}}}}, "'select', the metric that"),
    ],
)
def test_mistakes_name_file_and_key(changes, message):
    with pytest.raises(ValueError) as refused:
        table_from(changed(**{"cells": {}, **changes}), "t.yaml")
    assert str(refused.value).startswith("t.yaml: ")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def write(path, data):
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def test_a_file_over_its_base(tmp_path):
    write(tmp_path / "base.yaml", TABLE)
    more = {"mine": {"start": {"checkpoint": "mine.pth"}}}
    path = write(tmp_path / "mine.yaml", {"base": "base.yaml", "seeds": [1, 2], "more_rows": more})
    (table,) = load_suite(path).tables
    assert table.rows == ("MAE", "1", "mine") and table.seeds == (1, 2)
    assert is_variant(path) and not is_variant(tmp_path / "base.yaml")
    with pytest.raises(ValueError, match=r"key 'base' names a file that does not exist"):
        load_suite(write(tmp_path / "x.yaml", {"base": "nowhere.yaml"}))


def test_several_tables_share_starts_and_tasks(tmp_path):
    write(tmp_path / "one.yaml", TABLE)
    own = changed(name="second")
    del own["tasks"]
    suite = {"name": "both", "tasks": TABLE["tasks"], "seeds": [4], "tables": ["one.yaml", own]}
    loaded = load_suite(write(tmp_path / "both.yaml", suite))
    assert [table.name for table in loaded.tables] == ["T", "second"]
    assert {table.seeds for table in loaded.tables} == {(4,)}
    write_suite(loaded, tmp_path)
    again = read_suite(tmp_path / "suite.json")
    assert again.tables == loaded.tables
    suite["tables"] = ["one.yaml", "one.yaml"]
    with pytest.raises(ValueError, match="has a table twice"):
        load_suite(write(tmp_path / "both.yaml", suite))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "not YAML"),
        ("[" * 5000, "nested too deeply"),
        ("- a", "the file is no mapping"),
        ("name: a\nname: b", "key 'name' is there twice"),
        ("rows:\n  MAE: {}\n  MAE: {}", "key 'MAE' is there twice"),
        (
            "a: &a [x,x,x,x,x,x,x,x,x]\n"
            + "".join(
                f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n"
                for old, new in zip("abcdefgh", "bcdefghi", strict=True)
            ),
            "aliases stand for more than 200,000 entries",
        ),
        (
            "a: &a {k: 1}\n"
            + "".join(
                f"{new}: &{new} {{<<: [{','.join([f'*{old}'] * 9)}]}}\n"
                for old, new in zip("abcdefgh", "bcdefghi", strict=True)
            ),
            "aliases stand for more than 200,000 entries",
        ),
        ("name: &a [*a]", "nested too deeply"),
        ("name: 2024-99-99", "month must be in 1..12"),
        pytest.param("seeds: [" + "9" * 5000 + "]", "value has 5000 digits", id="digits"),
    ],
)
def test_hostile_and_broken_files(tmp_path, text, message):
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(ValueError, match="t.yaml: ") as refused:
        load_suite(tmp_path / "t.yaml")
    assert message in str(refused.value)


def test_damaged_suite_of_a_work_dir_is_named(tmp_path):
    for text in ("{", "[]", '{"name": "x", "file": "y", "tables": [{}]}'):
        (tmp_path / "suite.json").write_text(text)
        with pytest.raises(
            ValueError, match="suite.json: (unreadable as|holds list, not a|not the suite)"
        ):
            read_suite(tmp_path / "suite.json")


def test_every_shipped_table_is_listed_once():
    assert {"Table 1a", "Table 13", "Figure 9", "Appendix A.2", "ViTDet"} <= set(shipped_tables())
    assert len(shipped_tables()) >= 45
