"""Memory and speed of the GPUs that trainings are estimated for."""

import re
from typing import NamedTuple

GIB = 2**30


class GPU(NamedTuple):
    """A GPU by its data sheet.

    Attributes:
        memory: GiB.
        mixed: dense TFLOP/s in 16 bits, sums in float32, without structured sparsity.
        single: TFLOP/s in float32, without TF32, which PyTorch leaves off.
        device: how the name that PyTorch gives it ends, a pattern. Other forms of the same GPU (on
            a PCIe card, part of one) are slower and have other names.
        bfloat16: whether it has that format.
    """

    memory: int
    mixed: float
    single: float
    device: str
    bfloat16: bool = True


# Source: NVIDIA's data sheets; where they give 16 bits with sparsity, half of it.
GPUS = {
    "v100-16g": GPU(16, 125.0, 15.7, "V100-SXM2-16GB", bfloat16=False),
    "v100-32g": GPU(32, 125.0, 15.7, r"V100-SXM[23]-32GB(-LS)?", bfloat16=False),
    "a100-40g": GPU(40, 312.0, 19.5, "A100-.*40GB"),
    "a100-80g": GPU(80, 312.0, 19.5, "A100.*80GB( PCIe)?"),
    "h100-80g": GPU(80, 989.0, 67.0, "H100 80GB HBM3"),
    "h200-141g": GPU(141, 989.0, 67.0, "NVIDIA H200"),
    "l40s-48g": GPU(48, 362.0, 91.6, "L40S"),
    "rtx3090-24g": GPU(24, 71.0, 35.6, "RTX 3090"),
    "rtx4090-24g": GPU(24, 165.2, 82.6, "RTX 4090"),
}


def gpu_named(name: str) -> GPU:
    """A GPU of the list.

    Raises:
        ValueError: it is not in the list.
    """
    if name not in GPUS:
        raise ValueError(f"no GPU {name} here: {', '.join(GPUS)}")
    return GPUS[name]


def gpu_of_device(name: str) -> GPU | None:
    """The GPU of the list that PyTorch calls so; None where it is none of them."""
    return next((gpu for gpu in GPUS.values() if re.search(f"{gpu.device}$", name)), None)
