"""One damaged or hostile file in a work dir: it is named and left out, the rest is shown."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from mae_bench.cli import report
from mae_bench.results import figures
from mae_bench.results.record import read_record, write_record
from mae_bench.results.table_file import load_suite, write_suite

pytestmark = pytest.mark.faults

RUN = "seed0/MAE/finetune"
PICTURE = "seed0/MAE/detection/20240101_100000/vis_data/vis_image/val_img_103.png"
SCALARS = f"{RUN}/20240101_100000/vis_data/scalars.json"
DEEP = b"[" * 5000
# file in the work dir -> what is in it
DAMAGE = {
    "a byte beyond ASCII": (SCALARS, b'{"loss": 1, "step": 1, "name": "\xff"}\n{"step": 2}'),
    "a line null": (SCALARS, b'null\n{"loss": 2.0, "step": 2}\n'),
    "a list for a number": (SCALARS, b'[1]\n{"loss": [1], "step": [2]}\n{"step": 2}\n'),
    "many brackets": (SCALARS, DEEP + b'\n{"step": 2}\n'),
    "a picture cut off": (PICTURE, b"\x89PNG\r\n\x1a\n\0\0\0"),
    "a picture of nothing": (PICTURE, b""),
    "drawn patches cut off": ("seed0/MAE/pretrain/reconstructions.png", b"\x89PNG"),
    "a failure": ("seed0/MAE/segmentation/failed.json", b"\xff\xfe"),
    "a failure that is a list": ("seed0/MAE/segmentation/failed.json", b"[1]"),
    "a suite": ("other/suite.json", b"[]"),
    "a record": ("other/record.json", DEEP),
    "a number of 400 digits": ("other/record.json", b'{"schema_version": ' + b"9" * 400 + b"}"),
}


def run_report(monkeypatch, capsys, folder: Path, *options: str) -> tuple[str, str]:
    monkeypatch.setattr("sys.argv", ["report", str(folder), *options])
    report.main()
    return capsys.readouterr()


@pytest.fixture
def no_drawings(monkeypatch):
    """Drawing takes a tenth of a second each time, and what is drawn does not matter here."""
    monkeypatch.setattr(figures, "draw_curves", lambda *arguments: "")


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_file_is_named_and_the_rest_is_shown(
    work_dir, monkeypatch, capsys, no_drawings, what
):
    name, content = DAMAGE[what]
    path = work_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    run_report(monkeypatch, capsys, work_dir, "--format", "html")
    page = (work_dir / "report.html").read_text()
    skipped = page.partition("<h3>Skipped</h3>")[2].partition("</ul>")[0]
    assert name in skipped and skipped.count("<li>") == 1
    for number in ("61.5", "50.0", "25.0"):
        assert number in page


def test_a_record_that_a_link_no_longer_leads_to_is_named(work_dir, monkeypatch, capsys):
    path = work_dir / "other/record.json"
    path.parent.mkdir()
    path.symlink_to("not-mounted")
    assert (
        f"skipped: [Errno 2] No such file or directory: '{path}'"
        in run_report(monkeypatch, capsys, work_dir)[1]
    )


WORDS = [[1], {"a": 1}, "cost $x^$ [/x]", -7, None, 10**300]


def changed_leaves(node, change):
    """Copies of a record, in each of which one value, at any depth, is another."""
    for key in list(node) if isinstance(node, dict) else range(len(node)):
        kept = node[key]
        for word in WORDS:
            node[key] = word
            yield change()
        node[key] = kept
        if isinstance(kept, (dict, list)):
            yield from changed_leaves(kept, change)


def test_no_foreign_record_ends_the_report(work_dir, monkeypatch, capsys, no_drawings):
    """Its own digest is left out, as in those of an earlier version."""
    path = work_dir / RUN / "record.json"
    data = json.loads(path.read_text())
    del data["digest"]
    data["data"] = {"val": {"samples": 3, "digest": "a", "classes": ["x"]}}
    data["exported"] = {
        "file": "c.safetensors",
        "sha256": "ab",
        "kept": [{"file": "x", "sha256": "c"}],
    }
    data["model"] = {"backbone": "ViT", "embed_dim": 1, "num_layers": 1, "patch_size": 16}
    data["run_card"] |= {"parameters": 9, "trainable_parameters": 9, "trained_blocks": 3.0}
    data["run_card"]["search"] = {"metric": "m", "means": {"a": 1}}
    data["data_counts"]["val"] = 3
    data["overrides"]["a.b"] = [1]
    # all of them are in one folder, a report of each would take a minute
    for number, foreign in enumerate(changed_leaves(data, lambda: json.dumps(data))):
        other = work_dir / f"foreign/{number}/record.json"
        other.parent.mkdir(parents=True)
        other.write_text(foreign)
    assert number > 250
    for options in (["--format", "html"], ["--format", "md"], ["--format", "csv"], []):
        run_report(monkeypatch, capsys, work_dir, *options)


HOSTILE = [
    "cost $x^$",
    "runs[seed0]",
    "w[/x] [bold]b",
    "<script>alert(1)</script>",
    "=1+1",
    "a|b *c* [d](http://e) `f` _g_",
    "\x1b[2J\x1b]0;t\x07\u202e",
    ":smile:",
]


@pytest.mark.parametrize("label", HOSTILE)
def test_a_label_is_no_markup(work_dir, monkeypatch, capsys, label):
    suite = (work_dir / "suite.yaml").read_text().replace("  MAE:", f"  {json.dumps(label)}:")
    (work_dir / "suite.yaml").write_text(suite)
    write_suite(load_suite(work_dir / "suite.yaml"), work_dir)
    for path in work_dir.rglob("record.json"):
        record = read_record(path)
        if record.initialisation == "MAE":
            cells = [{**claim, "row": label} for claim in record.cells]
            write_record(replace(record, initialisation=label, cells=cells), path)
    shown = label.encode("unicode_escape").decode() if "\x1b" in label else label
    monkeypatch.setenv("COLUMNS", "200")
    assert shown in run_report(monkeypatch, capsys, work_dir)[0]
    rows = csv.reader(io.StringIO(run_report(monkeypatch, capsys, work_dir, "--format", "csv")[0]))
    assert (f"'{shown}" if label[0] == "=" else shown) in {row[1] for row in rows}
    run_report(monkeypatch, capsys, work_dir, "--format", "html")
    page = (work_dir / "report.html").read_text()
    assert "<script>" not in page and "\x1b" not in page and "\u202e" not in page
    text = run_report(monkeypatch, capsys, work_dir, "--format", "md")[0]
    for active in ("<script", "$x^$", " [d](", "*c*", "\x1b"):
        assert active not in text.replace("\\$", "").replace("\\*", "").replace("\\[", "")


def test_flipped_bits_of_side_files_end_no_report(
    work_dir, monkeypatch, capsys, no_drawings, chance, tally
):
    files = [p for p in work_dir.rglob("*") if p.suffix in (".json", ".png", ".txt")]
    for _ in range(20):
        for path in files:
            content = path.read_bytes()
            place = chance.randrange(len(content))
            flipped = content[place] ^ 1 << chance.randrange(8)
            tally["flipped bits"] += 1
            path.write_bytes(content[:place] + bytes([flipped]) + content[place + 1 :])
            if path.name == "record.json":
                with pytest.raises(ValueError, match="record.json"):
                    read_record(path)
                path.write_bytes(content)
        run_report(monkeypatch, capsys, work_dir, "--format", "html")
