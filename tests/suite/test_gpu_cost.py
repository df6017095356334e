"""What a dry run says of GPU hours."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from mae_bench.cli import run_suite
from mae_bench.config.load import load_config
from mae_bench.results.table import Resources, Search
from mae_bench.suite.gpu_cost import hours_of
from mae_bench.suite.job import Job
from mae_bench.training.training_cost import Estimate

SUITE = "configs/suite/table4.yaml"
CONFIG = "configs/det/mask_rcnn_vit_base_coco.py"


def dry_run(monkeypatch, capsys, tmp_path, *options: str) -> str:
    command = ["run_suite", SUITE, "--dry-run", "--work-dir", str(tmp_path), *options]
    monkeypatch.setattr("sys.argv", command)
    assert run_suite.main() == 0
    return capsys.readouterr().out


@pytest.mark.slow
def test_a_dry_run_sums_gpu_hours(monkeypatch, capsys, tmp_path):
    options = ("--only", "ViT-B", "--gpu", "a100-80g", "--resources", "amp=bfloat16", "gpus=8")
    said = dry_run(monkeypatch, capsys, tmp_path, *options)
    lines = re.findall(r"([\d.,]+) h on 8 GPUs  batch 64  (\S+)", said)
    assert len(lines) == 4  # supervised, MoCo v3, BEiT, MAE
    one = Estimate(load_config(CONFIG), "a100-80g", 8, "bfloat16", images=117266)
    hours = {name: float(text) for text, name in lines}
    assert hours["seed0/mae-base/coco-base"] == pytest.approx(one.hours, abs=0.01)
    total = float(re.search(r"([\d,.]+) GPU hours on a100-80g for 4 trainings", said)[1])
    assert total == pytest.approx(8 * sum(hours.values()), abs=0.5)


def test_an_unknown_gpu_is_refused(monkeypatch, capsys, tmp_path):
    with pytest.raises(ValueError, match="no GPU z80 here"):
        dry_run(monkeypatch, capsys, tmp_path, "--only", "MAE, ViT-B", "--gpu", "z80")


def test_a_gpu_is_for_a_dry_run(monkeypatch, tmp_path):
    command = ["run_suite", SUITE, "--gpu", "a100-80g", "--work-dir", str(tmp_path)]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(ValueError, match="--gpu is for --dry-run"):
        run_suite.main()


def test_a_runner_of_a_search_takes_its_share_of_the_budget():
    one = Job("s/a/b", "b", "a", 0, Path("s/a/b"), (), None, None, (), None, "")
    training, unknown = SimpleNamespace(hours=10.0, gpus=8), SimpleNamespace(hours=None, gpus=8)
    assert hours_of(one, training) == 10
    search = Search({"lr": [1, 2]}, trials=12, runners=4)
    assert hours_of(replace(one, search=search), training) == 30
    assert hours_of(replace(one, search=search), unknown) is None
    search = replace(search, gpu_hours=160)
    assert hours_of(replace(one, search=search), training) == 5
    assert hours_of(replace(one, search=search), unknown) == 5
    assert Resources(gpus=8, nodes=2).processes == 16
