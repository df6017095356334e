"""``tools/estimate.py`` as a person calls it."""

import re

import pytest

from mae_bench.cli import estimate
from mae_bench.config.load import load_config

CONFIG = "configs/cls/vit_mini_finetune_miniworld.py"


def said(monkeypatch, capsys, *command: str) -> dict[str, str]:
    monkeypatch.setattr("sys.argv", ["estimate", *command])
    estimate.main()
    lines = capsys.readouterr().out.splitlines()
    return dict(re.split(r"  +", line, maxsplit=1) for line in lines if "  " in line)


@pytest.mark.slow
def test_an_estimate(monkeypatch, capsys):
    found = said(monkeypatch, capsys, CONFIG, "--gpus", "2", "--amp", "--gpu", "l40s-48g")
    assert found["parameters"] == "0.5 M with buffers"
    assert found["images seen"] == "30,000"  # 60 epochs of 500
    assert found["batch of a step"] == "50: 2 GPUs x 25 images x 1 passes"
    assert found["precision"] == "mixed bfloat16"
    assert found["memory"].endswith("of 48 GiB a GPU; 0.0 GiB of it activations")
    assert "on 2 x l40s-48g" in found["hours"] and "assumed 40%" in found["hours"]


@pytest.mark.slow
def test_an_own_config_asks_for_the_images_of_an_epoch(monkeypatch, capsys, tmp_path):
    own = tmp_path / "own.py"
    own.write_text(load_config(CONFIG).pretty_text)
    assert said(monkeypatch, capsys, str(own))["hours"] == "unknown: give --images"
    assert said(monkeypatch, capsys, str(own), "--images", "500")["images seen"] == "30,000"


@pytest.mark.parametrize(
    "options, message",
    [
        (["--gpus", "0"], "--gpus 0: must be 1 or more"),
        (["--gpus", "64"], "total_batch_size=50 is less than the 64 processes"),
        (["--gpu", "v100-32g", "--amp", "bfloat16"], "v100-32g has no bfloat16"),
        (["--utilisation", "1.5"], "--utilisation 1.5: a share of the peak"),
    ],
)
def test_what_cannot_be_is_refused(monkeypatch, capsys, options, message):
    with pytest.raises(ValueError, match=message):
        said(monkeypatch, capsys, CONFIG, *options)


def test_a_config_that_does_not_train_is_refused(monkeypatch, capsys):
    with pytest.raises(ValueError, match="does not train"):
        said(monkeypatch, capsys, "configs/cls/vit_base_robustness_in1k.py")
