"""Memory and speed of the GPUs that trainings are estimated for."""

from typing import NamedTuple

GIB = 2**30


class GPU(NamedTuple):
    """A GPU by its data sheet.

    Attributes:
        memory: GiB.
        mixed: dense TFLOP/s in 16 bits, sums in float32, without structured sparsity.
        single: TFLOP/s in float32, without TF32, which PyTorch leaves off.
        bfloat16: whether it has that format.
    """

    memory: int
    mixed: float
    single: float
    bfloat16: bool = True


# Source: NVIDIA's data sheets; where they give 16 bits with sparsity, half of it.
GPUS = {
    "v100-16g": GPU(16, 125.0, 15.7, bfloat16=False),
    "v100-32g": GPU(32, 125.0, 15.7, bfloat16=False),
    "a100-40g": GPU(40, 312.0, 19.5),
    "a100-80g": GPU(80, 312.0, 19.5),
    "h100-80g": GPU(80, 989.0, 67.0),
    "h200-141g": GPU(141, 989.0, 67.0),
    "l40s-48g": GPU(48, 362.0, 91.6),
    "rtx3090-24g": GPU(24, 71.0, 35.6),
    "rtx4090-24g": GPU(24, 165.2, 82.6),
}


def gpu_named(name: str) -> GPU:
    """A GPU of the list.

    Raises:
        ValueError: it is not in the list.
    """
    if name not in GPUS:
        raise ValueError(f"no GPU {name} here: {', '.join(GPUS)}")
    return GPUS[name]
