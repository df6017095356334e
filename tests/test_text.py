"""Words of strangers move no cursor."""

import unicodedata

import pytest

from mae_bench.checkpoint.loading_report import LoadingReport
from mae_bench.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("MAE ViT-B, 1600 epochs", "MAE ViT-B, 1600 epochs"),
        ("Käfer 日本 ± ½", "Käfer 日本 ± ½"),
        ("two\nlines", "two\nlines"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("a\rb\tc\0", "a\\rb\\tc\\x00"),
        ("safe\u202egnp.exe", "safe\\u202egnp.exe"),
        (5, "5"),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown


def test_no_control_character_is_left():
    controls = [chr(code) for code in range(0x3000) if unicodedata.category(chr(code))[0] == "C"]
    shown = printable("".join(controls))
    assert all(unicodedata.category(char)[0] != "C" or char == "\n" for char in shown)


def test_names_of_tensors_move_no_cursor():
    values = {"loaded": 1, "resized": 0, "dropped": 1, "initialised": 0}
    report = LoadingReport("a\x1b[2J", ["b"], [], ["c\x1b]0;t\x07"], [], values, notes=["\x1b[31m"])
    assert "\x1b" not in report.summary() and "\\x1b[2J" in report.summary()
