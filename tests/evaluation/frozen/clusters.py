"""Features of classes that overlap."""

import torch

CLASSES, WIDTH = 5, 8


def clusters(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of classes that overlap, of quite different lengths, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(9))
    labels = torch.randint(CLASSES, (count,), generator=generator)
    noise = 1.5 * torch.randn(count, WIDTH, generator=generator)
    lengths = 0.1 + 10 * torch.rand(count, 1, generator=generator)
    return (centres[labels] + noise) * lengths, labels
