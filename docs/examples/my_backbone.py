"""A backbone of one's own: patches, then residual convolutions over them."""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn


class MyBackbone(BaseModule):
    def __init__(
        self,
        patch_size: int = 16,
        embed_dim: int = 64,
        depth: int = 4,
        output: str = "maps",
        out_indices: tuple[int, ...] = (),
        frozen: bool = False,
        init_cfg: dict | None = None,  # where --checkpoint arrives
    ) -> None:
        super().__init__(init_cfg)
        self.num_layers, self.embed_dim, self.patch_size = depth, embed_dim, patch_size
        self.output, self.out_indices = output, out_indices
        self.stem = nn.Conv2d(3, embed_dim, patch_size, patch_size)
        self.blocks = nn.ModuleList(nn.Conv2d(embed_dim, embed_dim, 3, 1, 1) for _ in range(depth))
        self.requires_grad_(not frozen)

    def layer_id(self, name: str) -> int:
        """0: before the blocks; i + 1: block i; num_layers + 1: after them."""
        return int(name.split(".")[1]) + 1 if name.startswith("blocks.") else 0

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        x = self.stem(images)  # (B, D, H/p, W/p)
        maps = []
        for block in self.blocks:
            x = x + F.gelu(block(x))
            maps.append(x)
        if self.output == "maps":
            return tuple(maps[i] for i in self.out_indices)
        if self.output == "mean":
            return (torch.mean(x, dim=(2, 3)),)  # (B, D)
        raise ValueError(f"output={self.output!r}: MyBackbone has maps and their mean, no tokens")
