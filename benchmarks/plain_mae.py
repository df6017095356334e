"""The masked autoencoder without any care for speed, to measure against.

The convolution embeds every patch before most are thrown away, blocks are timm's with attention as
two products and a softmax, tokens are put back into image order for the decoder, and every patch is
predicted and scored before the visible ones are weighted with zero. Parameters have the names of
``MAE``.
"""

from functools import partial
from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from mae_bench.models.mae import MAE


def plain_block(dim: int, num_heads: int) -> nn.Module:
    """timm's block, from which the authors' code is made, with its attention written out."""
    block = Block(dim, num_heads, qkv_bias=True, norm_layer=partial(nn.LayerNorm, eps=1e-6))
    block.attn.fused_attn = False
    return block


class PlainMAE(nn.Module):
    """MAE with normalised pixels and random masking, with the weights of ``model``."""

    def __init__(self, model: MAE) -> None:
        super().__init__()
        vit: Any = model.backbone
        decoder: Any = model.decoder
        self.patch_size, self.mask_ratio = vit.patch_size, model.mask_ratio
        self.backbone: Any = nn.Module()
        self.backbone.cls_token = nn.Parameter(torch.empty_like(vit.cls_token))
        self.backbone.pos_embed = nn.Parameter(torch.empty_like(vit.pos_embed), False)
        self.backbone.patch_embed = nn.ModuleDict(
            dict(proj=nn.Conv2d(3, vit.embed_dim, self.patch_size, self.patch_size))
        )
        self.backbone.blocks = nn.ModuleList(
            plain_block(vit.embed_dim, vit.num_heads) for _ in vit.blocks
        )
        self.backbone.norm = nn.LayerNorm(vit.embed_dim, eps=1e-6)
        width = decoder.embed.out_features
        self.decoder: Any = nn.Module()
        self.decoder.embed = nn.Linear(vit.embed_dim, width)
        self.decoder.mask_token = nn.Parameter(torch.empty_like(decoder.mask_token))
        self.decoder.pos_embed = nn.Parameter(torch.empty_like(decoder.pos_embed), False)
        self.decoder.blocks = nn.ModuleList(
            plain_block(width, block.attn.num_heads) for block in decoder.blocks
        )
        self.decoder.norm = nn.LayerNorm(width, eps=1e-6)
        self.decoder.pred = nn.Linear(width, decoder.pred.out_features)
        self.load_state_dict(model.state_dict())

    def forward(self, images: Tensor) -> Tensor:
        """Loss of images (B, 3, H, W)."""
        vit, decoder = self.backbone, self.decoder
        x = vit.patch_embed["proj"](images).flatten(2).transpose(1, 2) + vit.pos_embed[:, 1:]
        batch, num_patches, dim = x.shape
        visible = int(num_patches * (1 - self.mask_ratio))
        order = torch.rand(batch, num_patches, device=x.device).argsort(dim=1)
        back = order.argsort(dim=1)
        x = x.gather(1, order[:, :visible, None].expand(-1, -1, dim))
        class_token = (vit.cls_token + vit.pos_embed[:, :1]).expand(batch, -1, -1)
        x = torch.cat([class_token.to(x.dtype), x], dim=1)
        for block in vit.blocks:
            x = block(x)
        x = decoder.embed(vit.norm(x))
        mask_tokens = decoder.mask_token.to(x.dtype).expand(batch, num_patches - visible, -1)
        patches = torch.cat([x[:, 1:], mask_tokens], dim=1)
        patches = patches.gather(1, back[:, :, None].expand(-1, -1, patches.shape[-1]))
        x = torch.cat([x[:, :1], patches], dim=1) + decoder.pos_embed
        for block in decoder.blocks:
            x = block(x)
        prediction = decoder.pred(decoder.norm(x))[:, 1:]
        p = self.patch_size
        cut = images.unfold(2, p, p).unfold(3, p, p)  # (B, 3, rows, columns, p, p)
        target = cut.permute(0, 2, 3, 4, 5, 1).reshape(batch, num_patches, -1)
        target = (target - target.mean(-1, keepdim=True)) / (
            target.var(-1, keepdim=True) + 1e-6
        ).sqrt()
        errors = (prediction.float() - target).square().mean(dim=-1)
        hidden = (back >= visible).float()
        return (errors * hidden).sum() / hidden.sum()
