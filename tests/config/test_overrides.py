"""Values on a command line: read as typed, and written so that they are read back."""

import argparse
import math
import random
import shlex
import string

import pytest
import yaml

from mae_bench.config.overrides import OptionsAction, as_options, parse_options, parse_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-3", -3),
        ("1e-3", 0.001),
        (".5", 0.5),
        ("-inf", -math.inf),
        ("true", True),
        ("False", False),
        ("none", None),
        ("null", None),
        ("mse", "mse"),
        ("", ""),
        ("data/my data", "data/my data"),
        ("data/a,b", "data/a,b"),
        (r"C:\new\table", r"C:\new\table"),
        ("a=b", "a=b"),
        ("007", "007"),
        ("2019_1", "2019_1"),
        ("'1'", "1"),
        ('"None"', "None"),
        ("'it''s'", "its"),
        ("3,5,7", [3, 5, 7]),
        ("[cls_token,mask_token]", ["cls_token", "mask_token"]),
        ("('traffic light', 'dog')", ("traffic light", "dog")),
        ("['0', 1, None, true, -2.5e-3]", ["0", 1, None, True, -0.0025]),
        ("{'a': [1, {'b': ()}]}", {"a": [1, {"b": ()}]}),
        ("dict(type=mmdet.ResNet, a=dict(b='c d'))", {"type": "mmdet.ResNet", "a": {"b": "c d"}}),
    ],
)
def test_value(text, value):
    found = parse_value(text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "text",
    ["'open", "[1, 2", "[old] data", "[f(x)]", "[a/b]", "dict(1)", "dict(**a)", "[1/3]", "[...]"],
)
def test_half_a_literal_is_refused_with_what_to_write(text):
    with pytest.raises(ValueError, match="^key=.* not a Python literal: if it is text, quote it"):
        parse_options({"key": text})


def words(*options: str) -> dict:
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--cfg-options", nargs="+", action=OptionsAction, default={})
    return parser.parse_args(options).cfg_options


def test_words_of_a_command_line():
    found = words("--cfg-options", "a.b=1", "c=x y=z", "--cfg-options", "d='2'")
    assert found == {"a.b": 1, "c": "x y=z", "d": "2"}
    with pytest.raises(argparse.ArgumentError, match="'data' is no key=value; .* quotes"):
        words("--cfg-options", "root=my", "data")
    with pytest.raises(argparse.ArgumentError, match=r"a=\[1: not a Python literal"):
        words("--cfg-options", "a=[1")


YAML = """
lr: 1e-3
rates: [1e-3, 2]
quoted: '1'
folder: data/my data
words: [a, 'b c', '3']
skip: false
nothing: null
mapping: {type: X, size: [1, 2], text: "it's"}
"""


def test_values_of_a_suite_reach_the_command():
    values = yaml.safe_load(YAML)
    line = shlex.join(f"{key}={text}" for key, text in as_options(values).items())
    found = parse_options(dict(word.split("=", 1) for word in shlex.split(line)))
    # YAML reads 1e-3 as text.
    assert found == {**values, "lr": 0.001, "rates": [0.001, 2]}
    with pytest.raises(ValueError, match="day: a date cannot stand on a command line"):
        as_options(yaml.safe_load("day: 2020-01-02"))


def draw(generator: random.Random, depth: int = 0):
    """Any value that YAML has, with text that looks like something else."""
    kinds = ["int", "float", "text", "constant"] + ["list", "dict"] * (depth < 3)
    kind = generator.choice(kinds)
    if kind == "int":
        return generator.randint(-(10**20), 10**20)
    if kind == "float":
        return generator.choice(
            [generator.gauss(0, 1) * 10 ** generator.randint(-300, 300), math.inf]
        )
    if kind == "constant":
        return generator.choice([None, True, False])
    if kind == "text":
        alphabet = string.printable + "é漢" + "'\"\\,[](){}= " * 4
        drawn = "".join(generator.choices(alphabet, k=generator.randint(0, 8)))
        return generator.choice(
            [drawn, "none", "1,2", "-0.0", "0x1", "dict(", "'", "1e", "[", " 5 "]
        )
    items = [draw(generator, depth + 1) for _ in range(generator.randint(0, 3))]
    return items if kind == "list" else {f"k{i} '": item for i, item in enumerate(items)}


def test_every_value_is_read_back_as_it_was():
    generator = random.Random(0)
    for _ in range(3000):
        value = draw(generator)
        found = parse_options(as_options({"key": value}))["key"]
        assert repr(found) == repr(value)
