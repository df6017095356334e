"""The tests of a GPU run only where they are asked for, and fail where there is none."""

from functools import partial

import pytest
import torch
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmengine.runner import amp

from .device import DEVICE, ON_GPU


def pytest_collection_modifyitems(config, items) -> None:
    """Neither ``-m "not slow"`` nor a plain call of pytest takes them."""
    if "gpu" in config.option.markexpr:
        return
    taken = [item for item in items if item.get_closest_marker("gpu")]
    config.hook.pytest_deselected(items=taken)
    items[:] = [item for item in items if item not in taken]


@pytest.fixture(scope="session", autouse=True)
def device():
    """A GPU, with products in float32 as they are written, and kernels that add up in one order.

    Never a skip: whoever asks for these tests wants to know.
    """
    if ON_GPU and not torch.cuda.is_available():
        pytest.exit("the tests of a GPU need one, and PyTorch finds none", returncode=1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True


@pytest.fixture(autouse=True)
def float16_without_a_gpu(monkeypatch):
    """For the rehearsal: MMEngine's wrapper has float16 and the scale of the loss on GPUs only."""
    if not ON_GPU:
        scaler = partial(torch.amp.GradScaler, device=DEVICE)
        monkeypatch.setattr(amp_optimizer_wrapper, "is_cuda_available", lambda: True)
        monkeypatch.setattr(amp_optimizer_wrapper, "GradScaler", scaler)
        monkeypatch.setattr(amp, "autocast", lambda dtype: torch.autocast(DEVICE, dtype))
