"""Estimates against what a real step takes and against operations counted by hand."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mae_bench.config.load import load_config
from mae_bench.training.gpus import GIB, GPUS
from mae_bench.training.step_cost import LiveMemory, step_cost
from mae_bench.training.training_cost import Estimate

ROOT = Path(__file__).parents[2]
PRETRAIN = "configs/pretrain/mae_vit_mini_miniworld.py"
FINETUNE = "configs/cls/vit_mini_finetune_miniworld.py"
SMALL = {"model.backbone.arch": "small"}
BASE = "configs/pretrain/mae_vit_base_p16.py"


def load(config: str, overrides: dict | None = None) -> Config:
    return load_config(ROOT / config, overrides or {})


def measured_peak(config: str, batch: int, overrides: dict) -> int:
    """Bytes that a process takes from the system for a step, on real tensors."""
    script = Path(__file__).with_name("measured_peak.py")
    exact = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, str(script), config, str(batch), json.dumps(overrides)]
    env = os.environ | exact | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    "config, batch, overrides",
    [
        pytest.param(FINETUNE, 256, {}, marks=pytest.mark.slow),
        pytest.param(PRETRAIN, 256, {}, marks=pytest.mark.slow),
        pytest.param(FINETUNE, 512, {"model.backbone.with_cp": True}, marks=pytest.mark.slow),
        pytest.param(BASE, 8, {}, marks=pytest.mark.slow),
        pytest.param(BASE, 8, {"model.backbone.with_cp": True}, marks=pytest.mark.slow),
        pytest.param(BASE, 16, SMALL, marks=pytest.mark.slow),
        pytest.param("configs/cls/vit_base_finetune_in1k.py", 6, {}, marks=pytest.mark.slow),
        pytest.param("configs/det/mask_rcnn_vit_base_coco.py", 1, {}, marks=pytest.mark.slow),
        pytest.param("configs/seg/upernet_vit_base_ade20k.py", 2, {}, marks=pytest.mark.slow),
    ],
)
def test_memory_is_what_a_real_step_takes(config, batch, overrides):
    estimated = step_cost(load(config, overrides), batch).peak
    assert estimated == pytest.approx(measured_peak(config, batch, overrides), rel=0.15)


def test_live_memory_counts_each_storage_once_and_lets_it_go():
    with LiveMemory() as memory:
        first = torch.zeros(1000)
        view = first[:10].view(2, 5)
        second = first + 1
        assert memory.live == 8000
        del first
        assert memory.live == 8000  # its view is left
        del view, second
        assert memory.live == 0
    assert memory.peak == 8000


def test_operations_of_a_vit_are_those_that_its_layers_multiply():
    """ViT-B/16 at 224: 17.58 GFLOP forward as multiply-adds, timm's and torchvision's figure."""
    cost = step_cost(load("configs/cls/vit_base_finetune_in1k.py"), 2)
    tokens, width, depth = 197, 768, 12
    layers = depth * 12 * width**2 * tokens + 196 * 768 * width + width * 1000
    forward = 2 * layers
    logits = depth * 2 * 2 * tokens**2 * width
    assert forward + logits == pytest.approx(2 * 17.58e9, rel=3e-3)
    # Backward: twice the products of the layers, but the images get no gradient, and attention has
    # its logits computed again.
    patches = 2 * 196 * 768 * width
    assert cost.operations == pytest.approx(2 * (3 * forward - patches + 3.5 * logits), rel=1e-3)


def test_checkpointing_saves_memory_and_costs_operations():
    plain = step_cost(load(FINETUNE), 64)
    saved = step_cost(load(FINETUNE, {"model.backbone.with_cp": True}), 64)
    assert saved.activations < 0.5 * plain.activations
    assert 1.2 < saved.operations / plain.operations < 1.4


def test_frozen_weights_have_neither_gradients_nor_moments():
    cost = step_cost(load("configs/cls/vit_mini_linear_miniworld.py"), 4)
    head = 4 * (96 * 10 + 10)
    assert cost.gradients == head and cost.moments == head  # LARS: one momentum


@pytest.mark.parametrize(
    "config",
    [
        "configs/det/mask_rcnn_vit_mini_miniworld.py",
        "configs/seg/upernet_vit_mini_miniworld.py",
        pytest.param("configs/det/mask_rcnn_vit_base_coco.py", marks=pytest.mark.slow),
        pytest.param("configs/det/vitdet_cascade_vit_base_coco.py", marks=pytest.mark.slow),
        pytest.param("configs/seg/patch_classifier_vit_base_imagenet_s.py", marks=pytest.mark.slow),
        pytest.param("configs/pretrain/mae_vit_large_p16_pca.py", marks=pytest.mark.slow),
        pytest.param("configs/pretrain/mae_vit_large_p16_dvae.py", marks=pytest.mark.slow),
    ],
)
def test_activations_grow_with_the_batch(config):
    cfg = load(config)
    few, many = step_cost(cfg, 4), step_cost(cfg, 16)
    assert many.operations == pytest.approx(4 * few.operations, rel=1e-2)
    assert few.parameters == many.parameters and few.moments == many.moments
    assert many.activations > 2 * few.activations


def test_the_batch_of_the_recipe_is_shared_and_held():
    cfg = load("configs/pretrain/mae_vit_large_p16.py")
    one, eight = Estimate(cfg, "h100-80g", images=1281167), Estimate(cfg, "h100-80g", 8)
    assert one.shares.total == eight.shares.total == 4096
    assert eight.shares.accumulation * eight.shares.size * 8 == 4096
    assert one.seen == 1600 * (1281167 // 4096) * 4096
    assert eight.seen is None and eight.hours is None


def test_hours_are_operations_over_the_speed():
    cfg = load(PRETRAIN)
    found = Estimate(cfg, "a100-80g", 4, "bfloat16", images=10000, utilisation=0.5)
    seconds = found.step.operations / found.step.batch * found.seen / (4 * 312e12 * 0.5)
    assert found.hours == pytest.approx(seconds / 3600)
    alone = Estimate(cfg, "a100-80g", 1, images=10000, utilisation=0.5)
    assert alone.hours / found.hours == pytest.approx(4 * 312 / 19.5, rel=1e-2)


def test_memory_of_several_processes():
    cfg = load(FINETUNE, {"total_batch_size": 128})
    alone = Estimate(cfg, "a100-80g", batch=64)
    both = Estimate(cfg, "a100-80g", 2, batch=64)
    cut = Estimate(cfg, "a100-80g", 2, batch=64, sharded=True)
    assert both.step.batch == alone.step.batch == 64
    assert both.memory == both.step.peak + both.step.gradients
    state = cut.step.parameters + cut.step.gradients + cut.step.moments
    assert cut.memory == state // 2 + cut.step.activations


@pytest.mark.slow
def test_the_largest_batch_fits_and_a_larger_one_does_not(monkeypatch):
    monkeypatch.setitem(GPUS, "tiny", GPUS["a100-40g"]._replace(memory=1))
    found = Estimate(load(FINETUNE), "tiny", images=500)
    largest = found.largest_batch
    room = 0.9 * GIB
    assert step_cost(found.cfg, largest).peak <= room
    assert step_cost(found.cfg, largest + max(1, largest // 8)).peak > room


def test_an_average_of_the_weights_takes_memory():
    hook = [dict(type="mae_bench.WeightAverage")]
    plain, averaged = load(FINETUNE), load(FINETUNE)
    averaged.custom_hooks = [*(averaged.get("custom_hooks") or []), *hook]
    one, two = Estimate(plain, "a100-40g"), Estimate(averaged, "a100-40g")
    assert two.memory - one.memory == one.step.parameters


def test_a_gpu_without_the_format_or_unknown_is_refused():
    with pytest.raises(ValueError, match="v100-32g has no bfloat16: use --amp float16"):
        Estimate(load(FINETUNE), "v100-32g", precision="bfloat16")
    with pytest.raises(ValueError, match="no GPU z80 here: .*h100-80g"):
        Estimate(load(FINETUNE), "z80", precision="bfloat16")
