"""Table and pictures of robustness records."""

import re
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mae_bench.results.record import write_record
from mae_bench.results.robustness_page import accuracy_by_severity, print_table, write_pictures

ROOT = Path(__file__).parents[2]
ERRORS = {f"imagenet_c/error/fog/{severity}": 10.0 * severity for severity in range(1, 6)}
METRICS = {
    "imagenet_val/top1": 95.0,
    "imagenet_c/error/fog": 30.0,
    "imagenet_c/mCE": 51.0,
    **ERRORS,
}


@pytest.fixture
def robust(record):
    return replace(record, metrics=METRICS, run_card={"parameters": 86_000_000})


def test_accuracy_by_severity(robust):
    curves = accuracy_by_severity(robust)
    assert list(curves) == ["fog"]
    assert curves["fog"].points == {0: 95, 1: 90, 2: 80, 3: 70, 4: 60, 5: 50}


def test_accuracy_by_severity_of_miniworld(robust):
    metrics = {"imagenet_c/error/fog": 30.0, "imagenet_c/mean_error": 30.0}
    metrics |= {f"imagenet_c/error/fog/{severity}": 10.0 * severity for severity in range(1, 6)}
    curves = accuracy_by_severity(replace(robust, metrics=metrics))
    assert list(curves) == ["fog"]
    assert curves["fog"].points == {1: 90, 2: 80, 3: 70, 4: 60, 5: 50}


def test_page_has_a_picture_of_each_corruption_and_of_table_13(robust):
    made_here = {k.replace("imagenet_c", "corrupted_val"): v for k, v in METRICS.items()}
    page = write_pictures({"MAE": robust, "other": replace(robust, metrics=made_here)})
    labels = re.findall('aria-label="([^"]*)"', page)
    assert labels[0] == "fog: top-1 accuracy, % by severity, MAE, other"
    assert labels[1] == (
        "IN-Corruption: mCE, % (lower is better) by parameters, millions, "
        "MAE, published, supervised, published, MAE"
    )
    assert len(labels) == 1 + 4
    # Only the second record's corruptions were made here.
    assert re.findall("<p>(.*?)</p>", page)[2:3] == [
        "other: corruptions made here from ImageNet val, not the distributed files"
    ]


def test_record_of_something_else(robust):
    with pytest.raises(ValueError, match="A: no errors by corruption and severity"):
        write_pictures({"A": replace(robust, metrics={"accuracy/top1": 1.0})})


def test_page_of_what_there_is(robust):
    sketch = write_pictures({"A": replace(robust, metrics={"imagenet_sketch/top1": 20.0})})
    table = "Every set, in percent"
    assert re.findall("<h1>(.*?)</h1>", sketch) == [table, "MAE against supervised, Table 13"]
    assert "IN-Sketch: top-1 accuracy, % by parameters, millions, MAE, published" in sketch
    metrics = {f"imagenet_c/error/fog/{severity}": 10.0 for severity in range(1, 6)}
    miniworld = write_pictures({"A": replace(robust, metrics=metrics)})
    assert re.findall("<h1>(.*?)</h1>", miniworld) == ["Accuracy against severity"]
    assert "validation set" not in miniworld


def test_sets_with_their_difference_to_the_clean_accuracy_and_their_calibration(robust):
    metrics = {
        "imagenet_val/top1": 80.0,
        "imagenet_val/real_top1": 85.5,
        "imagenet_val/ece": 3.26,
        "imagenet_val/confidence": 77.0,
        "imagenet_a/top1": 30.0,
        "imagenet_a/clean_top1": 90.0,
        "imagenet_a/top1_1000way": 25.0,
        "imagenet_r/top1": 40.0,  # its classes were not looked at on val
        "imagenet_r/top1_1000way": 35.0,
        "imagenet_v2/top1": 70.5,
        "imagenet_c/mean_error": 45.0,
        "cue_conflict/shape_bias": 21.4,
    }
    page = write_pictures({"A & B": replace(robust, metrics=metrics), "old": robust})
    rows = [re.findall("<td>(.*?)</td>", row) for row in re.findall("<tr>(.*?)</tr>", page)]
    assert [row for row in rows if "A &amp; B" in row] == [
        ["ImageNet val", "A &amp; B", "80.0", "", "77.0", "3.3", "85.5", ""],
        ["ImageNet-A", "A &amp; B", "30.0", "-60.0", "", "", "", ""],
        ["ImageNet-R", "A &amp; B", "40.0", "", "", "", "", ""],
        ["ImageNet-V2, matched frequency", "A &amp; B", "70.5", "-9.5", "", "", "", ""],
        ["ImageNet-C", "A &amp; B", "55.0", "-25.0", "", "", "", ""],
        ["cue conflict", "A &amp; B", "", "", "", "", "", "21.4"],
    ]
    # a record from before there was calibration
    assert ["ImageNet val", "old", "95.0", "", "", "", "", ""] in rows


def test_table(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    cell = dict(table="Table 13", row="IN-Corruption", column="ViT-B", metric="imagenet_c/mCE")
    print_table(
        METRICS, {"imagenet_val": 50000, "imagenet_c": 5}, [cell], ["imagenet_a: no folder"]
    )
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert ["ImageNet", "val", "50,000", "top-1", "95.00"] in lines
    of_c = {**METRICS, "imagenet_c/mean_error": 30.0, "imagenet_c/ece": 5.0}
    print_table(of_c, {"imagenet_val": 50000, "imagenet_c": 5})
    shown = " ".join(capsys.readouterr().out.split())
    assert "accuracy less the clean one -25.00" in shown
    assert "expected calibration error \u2193 5.00" in shown
    mce = next(line for line in lines if "mCE," in line)
    assert mce[-2:] == ["51.00", "51.7"]
    assert ["missing:", "imagenet_a:", "no", "folder"] in lines


def test_command(robust, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_record(robust, "a.json")

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["plot_robustness.py", *arguments])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "tools/plot_robustness.py"), run_name="__main__")
        return ended.value.code

    assert run("MAE=a.json", "--out", "page.html") == 0
    assert "IN-Sketch" in Path("page.html").read_text()
    assert run("a.json") == 2
    assert "give each record a name" in capsys.readouterr().err
    assert run("MAE=b.json") == 2
    assert "b.json: no such record" in capsys.readouterr().err
