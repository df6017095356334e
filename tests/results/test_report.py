"""The report is one file that holds every figure and asks the network for nothing."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mae_bench.results.curves import read_scalars
from mae_bench.results.report import clock, write_report

REPORT = Path(__file__).resolve().parents[2] / "tools" / "report.py"
VOID = {"meta", "img", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """Elements with their attributes, text, and a check that tags are closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def html(work_dir):
    return write_report(work_dir, work_dir / "report.html").read_text(encoding="utf-8")


def test_nothing_is_loaded_from_elsewhere(html):
    page = Page(html)
    for _, attributes in page.elements:
        for key in ("src", "href", "xlink:href", "srcset", "action", "data"):
            if key in attributes:
                assert attributes[key].startswith(("data:image/png;base64,", "#"))
    assert "//" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", html)
    assert set(re.findall(r"url\((.)", html)) <= {"#"}
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.elements}


def test_every_figure_is_there_with_its_text(html):
    page = Page(html)
    # one reconstruction; the two pictures of the last validation for each of two initialisations
    alts = [image["alt"] for image in page.all("img")]
    assert len(alts) == 5
    assert "Masked, reconstructed and original pictures of seed0/MAE/pretrain" in alts
    assert "detection, random: val_img_103.png" in alts
    assert not any("val_img_53" in alt for alt in alts)
    labels = [svg["aria-label"] for svg in page.all("svg")]
    assert labels == [
        "pretrain: training loss: loss by iteration, MAE",
        "finetune: training loss: loss by iteration, random, MAE",
        "finetune: top-1: top-1 by epoch, random, MAE",
        "detection: training loss: loss by iteration, random, MAE",
        "detection: box AP: box AP by epoch, random, MAE",
    ]


def test_ids_are_unique_and_every_link_has_its_target(html):
    page = Page(html)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {link["href"][1:] for link in page.all("a")}
    assert targets == {
        f"run-seed0-{x}-{y}" for x in ("random", "MAE") for y in ("finetune", "detection")
    }
    used = [a["xlink:href"][1:] for _, a in page.elements if "xlink:href" in a]
    assert {*targets, *used, *re.findall(r"url\(#([^)]+)\)", html)} <= set(ids)


def test_table_and_run_details_are_there(html):
    page = Page(html)
    assert {cell.get("scope") for cell in page.all("th")} == {"col", "row"}
    for text in ("61.5", "+11.5", "+15.0", "ab" * 32, "configs/cls/a.py", "1:05", "512 MiB"):
        assert text in page.text
    assert "5 finished runs, 5:25 of run time" in page.text  # five of 65 s
    # what people write is text, never markup
    assert "A <small> suite" in page.text
    assert "cpu <16 cores>" in page.text
    assert not {"small"} & {tag for tag, _ in page.elements}


def test_report_of_an_unfinished_suite_says_what_failed(work_dir):
    folder = work_dir / "seed0" / "MAE" / "finetune"
    (folder / "record.json").unlink()
    (folder / "failed.json").write_text(json.dumps({"reason": "exit code 1"}))
    html = write_report(work_dir, work_dir / "out" / "report.html").read_text(encoding="utf-8")
    assert "seed0/MAE/finetune: exit code 1" in Page(html).text
    assert "run-seed0-MAE-finetune" not in html


def test_several_seeds_link_each_run(work_dir):
    record = json.loads((work_dir / "seed0/MAE/finetune/record.json").read_text())
    other = work_dir / "seed1/MAE/finetune/record.json"
    other.parent.mkdir(parents=True)
    other.write_text(json.dumps(record | {"seed": 1, "metrics": {"accuracy/top1": 63.5}}))
    page = Page(write_report(work_dir, work_dir / "report.html").read_text(encoding="utf-8"))
    assert "62.5 ± 1.4" in page.text  # deviation of 61.5 and 63.5: sqrt(2)
    assert "#run-seed1-MAE-finetune" in {link["href"] for link in page.all("a")}


def test_scalars_of_a_resumed_run_are_joined(tmp_path):
    for start, lines in {
        "20240101_1": ['{"loss": 3.0, "step": 10}', '{"loss": 2.0, "step": 20}', '{"loss": 1.'],
        "20240101_2": ['{"loss": 2.5, "step": 20}', '{"mIoU": 7.0, "step": 20}', '{"lr": 1}'],
    }.items():
        path = tmp_path / start / "vis_data" / "scalars.json"
        path.parent.mkdir(parents=True)
        path.write_text("\n".join(lines))
    scalars = read_scalars(tmp_path)
    assert scalars.loss.xy() == ([10, 20], [3.0, 2.5])
    assert scalars.metrics["mIoU"].xy() == ([20], [7.0])
    assert scalars.val_unit == "iteration"


def test_clock():
    assert [clock(x) for x in (5, 65.4, 3723)] == ["0:05", "1:05", "1:02:03"]


def test_command_writes_each_format(work_dir):
    def run(*options):
        command = [sys.executable, str(REPORT), str(work_dir), *options]
        return subprocess.run(command, capture_output=True, text=True)

    assert "| MAE | **61.5** |" in run("--format", "md").stdout
    out = work_dir / "t.csv"
    assert run("--format", "csv", "--out", str(out)).returncode == 0
    assert "MAE,finetune,accuracy/top1,top-1,61.5,,1" in out.read_text()
    assert run("--format", "html").stdout.strip() == str(work_dir / "report.html")
    refused = run("--out", str(out))
    assert refused.returncode == 2
    assert "--out needs --format" in refused.stderr
