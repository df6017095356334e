"""The dense benchmarks at tiny size: the variants compute the same, and the tables are printed."""

import argparse
from pathlib import Path

import pytest

from benchmarks import coco_eval, det, seg

ROOT = Path(__file__).parents[2]


def test_evaluations_agree_and_are_printed(capsys):
    coco_eval.run(argparse.Namespace(rounds=1, pictures=6, found=5))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [line.split()[1] for line in lines[1:]] == ["---", "bbox", "segm", "both"]


def test_made_truth_has_what_coco_has():
    data, found = coco_eval.make_truth(3, 4)
    assert len(data["images"]) == 3 and len(found) == 12
    assert len(data["annotations"]) == 3 * coco_eval.OBJECTS
    for entry in data["annotations"]:
        x, y, w, h = entry["bbox"]
        assert x >= 0 and x + w <= coco_eval.WIDTH and y >= 0 and y + h <= coco_eval.HEIGHT


@pytest.mark.slow
@pytest.mark.parametrize(
    ("benchmark", "size", "batch"), [(det, 128, 1), (seg, 64, 2)], ids=["det", "seg"]
)
def test_variants_have_the_same_loss_twice(benchmark, size, batch, monkeypatch):
    monkeypatch.chdir(ROOT)
    losses = []
    for variant in benchmark.VARIANTS:
        step = benchmark.build_step(variant, "tiny", size, batch)
        losses.append([step(), step()])
    first, second = zip(*losses, strict=True)
    assert first == pytest.approx([first[0]] * len(first), rel=1e-4)
    # After one step of the optimizer too: the gradients agree.
    assert second == pytest.approx([second[0]] * len(second), rel=1e-2)
    assert abs(second[0] / first[0] - 1) > 1e-5
