"""Configs that were merged: an old name says the new command, and that command is the old run."""

import shlex

import pytest

from mae_bench.config.load import load_config
from mae_bench.config.overrides import parse_options

from ..recipes import CONFIGS, OLD_NAMES, load_recipe


@pytest.mark.parametrize("name", OLD_NAMES)
def test_old_name_says_the_new_command(name):
    with pytest.raises(FileNotFoundError, match="it was merged, and is now ") as caught:
        load_config(CONFIGS / name)
    config, *options = shlex.split(str(caught.value).partition("is now ")[2])
    pairs = dict(option.split("=", 1) for option in options[1:])
    typed = load_config(config, parse_options(pairs))
    expected = load_recipe(name.removesuffix(".py"))
    assert typed.pretty_text == expected.pretty_text


def test_another_missing_file_is_just_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.py: no such config file$"):
        load_config(CONFIGS / "cls/absent.py")
    with pytest.raises(FileNotFoundError, match="no such config file$"):
        load_config(tmp_path / "vit_huge_linear_in1k.py")
