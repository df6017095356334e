"""Where a training step waits for the GPU: nowhere, but in detection, where it is counted."""

import time

import pytest
from mmengine.registry import MODELS
from torch.profiler import profile, supported_activities

from mae_bench.training.seeded import seed_everything

from ..training.test_precision import CONFIGS, random_batch, small_config, wrapper_for
from .device import DEVICE, sync_debug_mode, wait

pytestmark = pytest.mark.gpu

# Of CUDA's runtime, those that the host waits in.
WAITING = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
WAITING += ("cudaMemcpy", "cudaMemcpyAsync")  # the latter to and from pageable memory


def prepared_step(name: str):
    """A step on data that is on the device, its libraries loaded and its moments made."""
    cfg = small_config(CONFIGS / f"{name}.py")
    seed_everything(0)
    model = MODELS.build(cfg.model).to(DEVICE).train()
    wrapper = wrapper_for("bfloat16", model)
    batch = random_batch(cfg)
    if name.startswith("pretrain"):
        for number, sample in enumerate(batch["data_samples"]):
            sample.set_metainfo(dict(sample_seed=number))  # as the runner has it
    data = model.data_preprocessor(batch, True)

    def step() -> None:
        with wrapper.optim_context(model):
            losses = model(**data, mode="loss")
        loss, _ = model.parse_losses(losses)
        wrapper.update_params(loss)

    for _ in range(2):
        step()
    wait()
    return step


@pytest.mark.parametrize(
    "name",
    ["pretrain/mae_vit_base_p16", "cls/vit_base_finetune_in1k", "seg/upernet_vit_base_ade20k"],
)
def test_a_step_never_waits(name):
    step = prepared_step(name)
    with sync_debug_mode("error"):
        step()


def test_how_often_detection_waits(record_property):
    step = prepared_step("det/mask_rcnn_vit_base_coco")
    with sync_debug_mode("warn") as found:
        step()
    wait()
    with profile(activities=list(supported_activities())) as seen:
        start = time.perf_counter()
        step()
        wait()
        seconds = time.perf_counter() - start
    waited = sum(e.self_cpu_time_total for e in seen.key_averages() if e.key in WAITING) / 1e6
    record_property("waits", len(found))
    record_property("share of the step", waited / seconds)
    assert (len(found) > 0) == (DEVICE == "cuda")
    assert 0 <= waited <= seconds
