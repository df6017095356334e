"""Configs and suites that were merged: an old name says the new command, which is the old run."""

import shlex
from pathlib import Path

import pytest

from mae_bench.config.load import load_config
from mae_bench.config.overrides import parse_options
from mae_bench.results.table_file import load_suite
from mae_bench.suite.plan import chosen_cells

from ..recipes import CONFIGS, OLD_NAMES

RECIPES = [name for name in OLD_NAMES if not name.startswith("suite/")]


@pytest.mark.parametrize("name", RECIPES)
def test_old_name_says_the_new_command(name):
    with pytest.raises(FileNotFoundError, match="it was merged, and is now ") as caught:
        load_config(CONFIGS / name)
    config, *options = shlex.split(str(caught.value).partition("is now ")[2])
    pairs = dict(option.split("=", 1) for option in options[1:])
    entry = OLD_NAMES[name]
    assert parse_options(pairs) == entry.get("overrides", {})
    assert Path(config).samefile(CONFIGS / entry["config"])


def test_old_names_are_of_configs_and_keys_that_there_are():
    """One of those that differ in values only."""
    entries = {(e["config"], *e.get("overrides", {})): e for e in map(OLD_NAMES.get, RECIPES)}
    for entry in entries.values():
        load_config(CONFIGS / entry["config"], entry.get("overrides", {}))


@pytest.mark.parametrize("name", sorted({*OLD_NAMES} - {*RECIPES}))
def test_old_suite_says_the_new_one_and_which_cells(name):
    with pytest.raises(FileNotFoundError, match="it was merged, and is now ") as caught:
        load_suite(CONFIGS / name)
    file, *only = shlex.split(str(caught.value).partition("is now ")[2])
    size = "ViT-B" if "_base" in name else "ViT-L" if "_large" in name else ""
    row = "BEiT" if "beit" in name else ""
    suite = load_suite(file)
    cells = chosen_cells(suite.tables[0], only[1] if only else None)
    assert cells and all(size in c.column and row in c.row for c in cells)


def test_another_missing_file_is_just_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.py: no such config file$"):
        load_config(CONFIGS / "cls/absent.py")
    with pytest.raises(FileNotFoundError, match="no such config file$"):
        load_config(tmp_path / "vit_huge_linear_in1k.py")
