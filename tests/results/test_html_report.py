"""The report is one file that holds every figure and asks the network for nothing."""

import json
import re
import runpy
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mae_bench.results.curves import read_scalars
from mae_bench.results.html_report import clock, write_report
from mae_bench.results.record import write_record

REPORT = Path(__file__).resolve().parents[2] / "tools" / "report.py"
BASE = {"embed_dim": 768, "num_layers": 12, "patch_size": 16, "img_size": 224, "classes": 1000}
LARGE = {**BASE, "embed_dim": 1024, "num_layers": 24}
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
                assert attributes[key].startswith(("data:image/png;base64,", "#", "data:,"))
    assert "//" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", html)
    assert set(re.findall(r"url\((.)", html)) <= {"#"}
    assert not {"script", "iframe"} & {tag for tag, _ in page.elements}


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
        "Speed: top-1: top-1 by run time (min), random, MAE",
        "Speed: box AP: box AP by run time (min), random, MAE",
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
    runs = {f"run-seed0-{x}-{y}" for x in ("random", "MAE") for y in ("finetune", "detection")}
    assert runs <= targets
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
    # each table has a caption; landmarks, a way past the navigation, a name for what scrolls
    tags = [tag for tag, _ in page.elements]
    assert tags.count("caption") == tags.count("table") == 2
    assert all(tags.count(tag) == 1 for tag in ("main", "header", "nav", "h1"))
    assert page.all("a")[0] == {"class": "skip", "href": "#main"}
    for region in page.elements:
        if "scroll" in (region[1].get("class") or ""):
            assert region[1]["role"] == "region" and region[1]["tabindex"] == "0"


def test_published_table_stands_beside_the_suite(work_dir, coco_run):
    for seed, box in ((0, 0.49), (1, 0.50)):
        write_record(coco_run(box, seed=seed), work_dir / f"by hand/{seed}/record.json")
    (work_dir / "by hand/2").mkdir()
    (work_dir / "by hand/2/record.json").write_text("{}")
    page = Page(write_report(work_dir, work_dir / "r.html").read_text(encoding="utf-8"))
    assert "49.5 ± 0.7" in page.text  # published 50.3
    assert "−0.8" in page.text
    assert "Skipped" in page.text and "by hand/2/record.json: not a record" in page.text
    targets = {link["href"] for link in page.all("a")}
    assert {"#run-by-hand-0", "#run-by-hand-1"} <= targets


def test_scaling_and_partial_fine_tuning_are_drawn(tmp_path, record):
    counts = {"train": 1_281_167, "val": 50_000}
    for name, column, model in (("base", "ViT-B", BASE), ("large", "ViT-L", LARGE)):
        claim = dict(table="Table 3", row="MAE", column=column)
        run = replace(record, cells=[claim], model=model, data_counts=counts)
        write_record(run, tmp_path / f"{name}.record.json")
    for blocks, top1 in {0.0: 40.0, 1.0: 55.0, 4.0: 61.0}.items():
        size = 1_000_000 + int(blocks) * 500_000
        run = replace(
            record,
            run_card={"trained_blocks": blocks, "parameters": size, "trainable_parameters": size},
            metrics={"accuracy/top1": top1},
            data_counts=counts,
            model=LARGE,
            cells=[dict(table="Figure 9", row=f"{blocks:g}", column="MAE")],
        )
        write_record(run, tmp_path / f"{blocks:g}.record.json")
    page = Page(write_report(tmp_path, tmp_path / "r.html").read_text(encoding="utf-8"))
    labels = {svg["aria-label"] for svg in page.all("svg")}
    assert {
        "Scaling: ImageNet-1K fine-tuning: top-1 (%) by parameters of the ViT (M), "
        "MAE, measured, MAE, published",
        "Partial fine-tuning, 50,000 validation images: top-1 (%) by blocks that train, "
        "MAE, MAE, published, MoCo v3, published",
        "Scaling: finetune, accuracy/top1: finetune, accuracy/top1 by parameters (M), MAE",
    } <= labels


def test_severity_curves_are_drawn(tmp_path, record):
    errors = {f"imagenet_c/error/fog/{level}": 10.0 * level for level in range(1, 6)}
    write_record(replace(record, metrics=errors), tmp_path / "record.json")
    page = Page(write_report(tmp_path, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert [svg["aria-label"] for svg in page.all("svg")] == [
        "Severity: mean of all: top-1 (%) by severity, MAE",
        "Severity: fog: top-1 (%) by severity, MAE",
    ]


def test_report_of_an_unfinished_suite_says_what_failed(work_dir):
    folder = work_dir / "seed0" / "MAE" / "finetune"
    (folder / "record.json").unlink()
    failure = {"reason": "exit code 1", "log_tail": ["step 3", "error: no such folder", "  at x"]}
    (folder / "failed.json").write_text(json.dumps(failure))
    html = write_report(work_dir, work_dir / "out" / "report.html").read_text(encoding="utf-8")
    assert "seed0/MAE/finetune: exit code 1: error: no such folder" in Page(html).text
    assert "run-seed0-MAE-finetune" not in html


def test_several_seeds_link_each_run(work_dir):
    record = json.loads((work_dir / "seed0/MAE/finetune/record.json").read_text())
    other = work_dir / "seed1/MAE/finetune/record.json"
    other.parent.mkdir(parents=True)
    del record["digest"]
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


def test_command_writes_each_format(work_dir, monkeypatch, capsys):
    def run(*options):
        monkeypatch.setattr(sys, "argv", ["report.py", str(work_dir), *options])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(REPORT), run_name="__main__")
        return ended.value.code, *capsys.readouterr()

    (work_dir / "x.record.json").write_text("no record")
    code, out, errors = run("--format", "md")
    assert code == 0 and "| MAE | **61.5** |" in out
    assert f"skipped: {work_dir}/x.record.json: unreadable" in errors
    csv = work_dir / "t.csv"
    assert run("--format", "csv", "--out", str(csv))[0] == 0
    assert "A <small> suite,MAE,top-1,top-1 accuracy,%,,61.5,,1," in csv.read_text()
    assert r"\textbf{61.5}" in run("--format", "latex")[1]
    assert run("--format", "html")[1].strip() == str(work_dir / "report.html")
    assert "61.5" in run()[1]
    assert (
        "| top-1 | 50.0 (1) | 61.5 (1) | +11.5 |  | unknown |"
        in run("--compare", "random", "MAE", "--format", "md")[1]
    )
    for options, message in (
        (["--out", str(csv)], "--out needs --format"),
        (["--compare", "random", "DINO"], "'DINO' was not measured"),
    ):
        code, _, errors = run(*options)
        assert code == 2 and message in errors


def test_folder_without_any_record_is_an_error(tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    for folder, message in (
        (tmp_path / "empty", "no table to make: no record"),
        ("nowhere", "no such folder"),
    ):
        monkeypatch.setattr(sys, "argv", ["report.py", str(folder)])
        with pytest.raises(SystemExit):
            runpy.run_path(str(REPORT), run_name="__main__")
        assert message in capsys.readouterr().err
