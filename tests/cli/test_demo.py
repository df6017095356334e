"""The demo ends with the card of its MAE."""

import sys
from pathlib import Path

import pytest

from mae_bench.cli import card, demo, run_suite


@pytest.mark.parametrize(
    ("options", "made", "code", "expected"),
    [
        ([], True, 0, [("work_dirs/demo", "work_dirs/demo_card")]),
        (["--work-dir", "other"], True, 0, [("other", "other_card")]),
        (["--dry-run"], True, 0, []),
        (["--only", "random"], False, 0, []),
        ([], True, 1, []),
    ],
    ids=["all", "elsewhere", "dry run", "without the MAE", "failed"],
)
def test_the_card_is_made_of_what_the_suite_has_left(
    options, made, code, expected, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["demo", *options])
    work_dir = Path(options[1] if "--work-dir" in options else "work_dirs/demo")
    file = work_dir / "seed0/MAE/pretrain/checkpoint.safetensors"
    if made:
        file.parent.mkdir(parents=True)
        file.touch()
    cards = []

    def make_card(checkpoint: str, data: str, work_dir: str) -> int:
        name, _, path = checkpoint.partition("=")
        assert (name, Path(path).is_file(), data) == ("MAE", True, "data/miniworld")
        cards.append((str(Path(path).parents[3]), work_dir))
        return 0

    monkeypatch.setattr(run_suite, "main", lambda suite: code)
    monkeypatch.setattr(card, "make_card", make_card)
    assert demo.main() == code and cards == expected
