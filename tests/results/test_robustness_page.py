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
    assert re.findall("<p>(.*?)</p>", page)[1:2] == [
        "other: corruptions made here from ImageNet val, not the distributed files"
    ]


def test_record_of_something_else(robust):
    with pytest.raises(ValueError, match="A: no errors by corruption and severity"):
        write_pictures({"A": replace(robust, metrics={"accuracy/top1": 1.0})})


def test_page_of_what_there_is(robust):
    sketch = write_pictures({"A": replace(robust, metrics={"imagenet_sketch/top1": 20.0})})
    assert re.findall("<h1>(.*?)</h1>", sketch) == ["MAE against supervised, Table 13"]
    assert "IN-Sketch: top-1 accuracy, % by parameters, millions, MAE, published" in sketch
    metrics = {f"imagenet_c/error/fog/{severity}": 10.0 for severity in range(1, 6)}
    miniworld = write_pictures({"A": replace(robust, metrics=metrics)})
    assert re.findall("<h1>(.*?)</h1>", miniworld) == ["Accuracy against severity"]
    assert "validation set" not in miniworld


def test_table(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    cell = dict(table="Table 13", row="IN-Corruption", column="ViT-B", metric="imagenet_c/mCE")
    print_table(
        METRICS, {"imagenet_val": 50000, "imagenet_c": 5}, [cell], ["imagenet_a: no folder"]
    )
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert ["ImageNet", "val", "50,000", "top-1", "95.00"] in lines
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
