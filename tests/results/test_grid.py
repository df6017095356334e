"""Tables on a terminal, and LaTeX that compiles: by pdflatex, or by its structure."""

import io
import re
import shutil
import subprocess
from dataclasses import replace

import pytest

from mae_bench.results.grid import Grid, GridCell, GridRow, escape_latex, latex_document
from mae_bench.results.measured import MeasuredTable
from mae_bench.results.runs_grid import runs_grids
from mae_bench.results.shipped import shipped_tables
from mae_bench.results.table_grid import table_grid
from mae_bench.text import PlainConsole

NASTY = r"a_b & 50% of $x {y} \ ~ ^ # <i> [z] | ± − ↓ × · é 漢"


@pytest.fixture
def document():
    nasty = Grid(
        NASTY,
        NASTY,
        [NASTY, NASTY, "b"],
        [
            GridRow(NASTY, [GridCell(NASTY, True, ("a", "aa")), GridCell()]),
            GridRow("[r]", [GridCell()] * 2),
        ],
        [("a", NASTY)],
    )
    tables = shipped_tables().values()
    return latex_document([nasty, *(table_grid(MeasuredTable(table)) for table in tables)])


def test_structure(document):
    stack = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", document):
        if kind == "begin":
            stack.append(name)
        else:
            assert stack.pop() == name
    assert stack == []
    tabulars = re.findall(r"\\begin\{tabular\}\{(l?r*)\}\n(.*?)\\end\{tabular\}", document, re.S)
    assert len(tabulars) == 1 + len(shipped_tables())
    for columns, body in tabulars:
        for line in body.strip().splitlines():
            if line != r"\hline":
                assert line.endswith(r" \\")
                assert len(re.findall(r"(?<!\\)&", line)) == len(columns) - 1
    # nothing that LaTeX would read as a command is left bare
    text = re.sub(r"\$\\?\w*-?\$", "", document)
    assert not re.search(r"(?<!\\)[$#%_^~]", text)
    assert document.count("{") - document.count(r"\{") == document.count("}") - document.count(
        r"\}"
    )
    assert all(ord(character) < 256 for character in document)


def test_escapes():
    assert escape_latex("50 % & a_b") == r"50 \% \& a\_b"
    assert escape_latex("\\") == r"\textbackslash{}"
    assert escape_latex("1.0 ± 0.2 ↓") == r"1.0 $\pm$ 0.2 $\downarrow$"
    assert escape_latex("漢") == "?"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine")
def test_pdflatex_compiles_it(document, tmp_path):
    (tmp_path / "tables.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Overfull" not in done.stdout


def test_markdown_section_has_footnotes_and_escapes_bars():
    row = GridRow("a|b", [GridCell("1.0", True, ("a", "b")), GridCell()])
    grid = Grid("T", "About.", ["h", "x", "y"], [row], [("a", "one"), ("b", "two")])
    assert grid.markdown_section() == (
        "## T\n\nAbout.\n\n| h | x | y |\n|---|---:|---:|\n"
        "| a\\|b | **1.0**<sup>a,b</sup> |  |\n\n- <sup>a</sup> one\n- <sup>b</sup> two\n"
    )


def test_long_labels_leave_the_numbers_on_a_terminal_of_eighty_columns():
    label = ", ".join(f"train_dataloader.dataset.key_{i}=value" for i in range(20))
    console = PlainConsole(width=80, file=io.StringIO())
    console.print(Grid("", "", ["start", "top-1", "seeds"], [row(label, "83.6", "3")]))
    assert re.search(r"\b83\.6 +3\b", console.file.getvalue())
    many = [f"{i}.5" for i in range(10, 18)]
    console = PlainConsole(width=80, file=io.StringIO())
    console.print(Grid("", "", ["start", *many], [row(label, *many)]))
    assert all(console.file.getvalue().count(number) == 2 for number in many)


@pytest.mark.parametrize("width", [40, 80, 300])
def test_columns_that_do_not_fit_a_terminal_come_below(width):
    values = [f"{number}.0 ± 0.1" for number in range(10, 24)]
    headings = [f"linear probing of {number}" for number in range(14)]
    grid = Grid("Name", "", ["start", *headings], [row("mine", *values)], [("a", "a note")])
    console = PlainConsole(width=width, file=io.StringIO())
    console.print(grid)
    text = console.file.getvalue()
    assert all(text.count(value) == 1 for value in values)
    assert max(map(len, text.splitlines())) <= width
    assert text.count("Name") == text.count("a note") == 1
    assert text.count("mine") == text.count("start") == {40: 7, 80: 3, 300: 1}[width]


def row(label: str, *texts: str) -> GridRow:
    return GridRow(label, [GridCell(text) for text in texts])


def test_what_all_runs_by_hand_have_in_common_is_said_once(record):
    runs = {
        name: replace(record, cells=[], overrides={"lr": 1, "size": 32, **own}, seed=seed)
        for name, own, seed in (("a", {}, 0), ("b", {}, 1), ("c", {"epochs": 5}, 0))
    }
    (grid,) = runs_grids(runs, runs)
    assert grid.about.endswith(" All with lr=1, size=32.")
    start = grid.rows[0].label
    assert [line.label for line in grid.rows] == [start, f"{start}, epochs=5"]
    assert [line.cells[-1].text for line in grid.rows] == ["2", "1"]
    (alone,) = runs_grids(["c"], runs)
    assert alone.rows[0].label == f"{start}, lr=1, size=32, epochs=5"


def test_metrics_of_runs_by_hand_as_tables_have_them(record):
    metrics = {"coco/bbox_mAP": 0.345, "coco/segm_mAP": -1.0, "coco/bbox_mAP_s": 0.1, "loss": 0.42}
    (grid,) = runs_grids(["a"], {"a": replace(record, cells=[], metrics=metrics)})
    shown = dict(zip(grid.headings[1:], (cell.text for cell in grid.rows[0].cells), strict=True))
    assert shown == {"bbox_mAP": "34.5", "segm_mAP": "", "loss": "0.420", "seeds": "1"}
