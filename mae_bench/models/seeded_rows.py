"""Random numbers that depend on the sample alone, not on its batch, process or device."""

from collections.abc import Sequence

import torch
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15
FACTORS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def _signed(value: int) -> int:
    """The int64 with the bits of an unsigned 64-bit number."""
    return value - 2**64 if value >= 2**63 else value


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Shift int64 as if it were unsigned."""
    return (x >> bits) & (2 ** (64 - bits) - 1)


class SeededRows:
    """For each row of a batch the stream of SplitMix64 from a seed of its own.

    A torch.Generator has one stream for the whole batch, so what a sample gets depends on its
    neighbours, on how the batch is split over processes, and on the device.

    Args:
        seeds: one for each row, 0 <= seed < 2**63.
        device: of the numbers.

    Source: Steele, Lea, Flood (2014), "Fast splittable pseudorandom number generators"; constants
    of Java's SplittableRandom. PyTorch's int64 arithmetic wraps, as that needs.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        # Not with device=: the host would wait until the GPU has done all it was given before.
        numbers = torch.tensor(seeds, dtype=torch.int64)
        self.seeds = numbers.to(device, non_blocking=True).unsqueeze(1)
        self.drawn = 0

    def bits(self, columns: int) -> Tensor:
        """The next 64 bits of each row's stream, ``columns`` times: (B, columns) int64."""
        index = torch.arange(1, columns + 1, device=self.seeds.device) + self.drawn
        self.drawn += columns
        x = self.seeds + index * _signed(GOLDEN)
        for shift, factor in FACTORS:
            x = (x ^ _shift_right(x, shift)) * _signed(factor)
        return x ^ _shift_right(x, 31)

    def rand(self, columns: int) -> Tensor:
        """Uniform numbers in [0, 1): (B, columns) float32."""
        return _shift_right(self.bits(columns), 40).float() * 2.0**-24
