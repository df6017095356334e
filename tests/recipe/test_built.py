"""The rates on the pages beside the sources' formulas, written out."""

import math
from pathlib import Path

import pytest

from mae_bench.config.load import load_config
from mae_bench.recipe.built import peak_rate, rates
from mae_bench.recipe.sources import Sources

CONFIGS = Path(__file__).parents[2] / "configs"
# Recipe of MAE's own schedule -> (base lr, batch, floor, epochs of warm-up, epochs, images)
COSINE = {
    "pretrain/mae_vit_base_p16": (1.5e-4, 4096, 0.0, 40, 1600, 1281167),
    "cls/vit_base_finetune_in1k": (5e-4, 1024, 1e-6, 5, 100, 1281167),
    "cls/vit_base_linear_in1k": (0.1, 16384, 0.0, 10, 90, 1281167),
    "cls/vit_base_scratch_in1k": (1e-4, 4096, 1e-6, 20, 300, 1281167),
    "cls/vit_base_finetune_places365": (1e-3, 1024, 1e-6, 5, 100, 1803460),
}


def as_on_the_page(name: str) -> tuple[float, dict[int, float]]:
    """The peak, and iteration -> rate."""
    path = CONFIGS / f"{name}.py"
    cfg = load_config(path)
    run = Sources(path).run(cfg.total_batch_size)
    peak = peak_rate(cfg, run)
    return peak, {step: share * peak for step, share in rates(cfg, run)}


@pytest.mark.parametrize("name", COSINE)
def test_cosine_ends_at_the_stated_rate(name):
    base, batch, floor, warm, epochs, images = COSINE[name]
    peak, found = as_on_the_page(name)
    assert peak == pytest.approx(base * batch / 256)
    per_epoch = images // batch

    def expected(step: int) -> float:
        epoch = step / per_epoch
        if epoch < warm:
            return peak * epoch / warm
        cosine = math.cos(math.pi * (epoch - warm) / (epochs - warm))
        return floor + (peak - floor) * 0.5 * (1 + cosine)

    assert max(found) == epochs * per_epoch - 1
    assert found == pytest.approx({step: expected(step) for step in found}, rel=1e-9)
    assert found[max(found)] == pytest.approx(floor, abs=1e-7 * peak)


def test_poly_of_mmcv_1():
    """Its warm-up runs towards the decayed rate of each iteration."""
    peak, found = as_on_the_page("seg/upernet_vit_base_ade20k")

    def expected(step: int) -> float:
        regular = 1 - step / 160000
        missing = (1 - step / 1500) * (1 - 1e-6) if step < 1500 else 0
        return 1e-4 * regular * (1 - missing)

    assert peak == 1e-4
    assert found == pytest.approx({step: expected(step) for step in found})


@pytest.mark.parametrize(
    ("name", "warm", "excess"),
    [
        ("det/mask_rcnn_vit_base_coco", 458, 0.0022),
        ("det/vitdet_mask_rcnn_vit_base_coco", 250, 0.0040),
    ],
)
def test_warm_up_of_coco_is_one_iteration_early(name, warm, excess):
    """By how much of the peak its last rate is above detectron2's, as the configs state it."""
    peak, found = as_on_the_page(name)
    assert found[0] == pytest.approx(peak / 1000)
    assert found[warm - 1] == pytest.approx(peak, rel=2e-5)
    in_detectron2 = 0.001 + (1 - 0.001) * (warm - 1) / warm
    assert found[warm - 1] / peak - in_detectron2 == pytest.approx(excess, abs=5e-5)
