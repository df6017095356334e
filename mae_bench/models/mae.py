"""Masked autoencoder: mask, encode what is visible, decode, score what was masked."""

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel, BaseModule
from torch import Tensor, nn

from ..registry import MODELS
from .masking import Masking, random_masking
from .position import Grid, resize_position_table, sincos_position_table
from .targets import normalise_patches, patch_statistics
from .vit import (
    LAYER_NORM_EPS,
    Block,
    VisionTransformer,
    init_transformer,
    patchify,
    unpatchify,
)


def gather_tokens(x: Tensor, index: Tensor) -> Tensor:
    """Tokens of x (B or 1, N, C) at index (B, n) -> (B, n, C)."""
    x = x.expand(len(index), -1, -1)
    return x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


class MAEDecoder(BaseModule):
    """Light Transformer that predicts the masked patches from the encoded visible ones.

    Attention does not depend on the order of its tokens, so the sequence is never put back into
    image order: it stays [class, visible, masked] with the positions gathered to match, and the
    prediction is made for its masked end only.

    Args:
        encoder_dim: width of the encoder.
        out_dim: values predicted for a patch.
        grid: (rows, columns) of patches the position table is made for.
        embed_dim, depth, num_heads: size of the decoder.

    Source: MAE, section 3 ("MAE decoder"); 8 blocks of width 512 with 16 heads by default.
    """

    def __init__(
        self,
        encoder_dim: int,
        out_dim: int,
        grid: Grid,
        embed_dim: int = 512,
        depth: int = 8,
        num_heads: int = 16,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.embed = nn.Linear(encoder_dim, embed_dim)
        self.mask_token = nn.Parameter(torch.empty(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(
            torch.cat([torch.zeros(1, 1, embed_dim), sincos_position_table(embed_dim, grid)], 1),
            requires_grad=False,
        )
        self.blocks = nn.ModuleList(Block(embed_dim, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dim, eps=LAYER_NORM_EPS)
        self.pred = nn.Linear(embed_dim, out_dim)
        nn.init.normal_(self.mask_token, std=0.02)
        self.apply(init_transformer)

    def forward(self, encoded: Tensor, masking: Masking, grid: Grid) -> Tensor:
        """Predict the masked patches.

        Args:
            encoded: (B, 1 + V, encoder_dim), class token first, visible patches in the order of
                ``masking.visible``.
            masking: which patches those are.
            grid: (rows, columns) of the image.

        Returns:
            (B, M, out_dim), in the order of ``masking.masked``.
        """
        x = self.embed(encoded)
        num_masked = masking.masked.shape[1]
        positions = resize_position_table(self.pos_embed, self.grid, grid)
        patch_positions = gather_tokens(
            positions[:, 1:], torch.cat([masking.visible, masking.masked], dim=1)
        )
        mask_tokens = self.mask_token.to(x.dtype).expand(len(x), num_masked, -1)
        patches = torch.cat([x[:, 1:], mask_tokens], dim=1) + patch_positions
        x = torch.cat([x[:, :1] + positions[:, :1], patches], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.pred(self.norm(x[:, -num_masked:]))


@MODELS.register_module()
class MAE(BaseModel):
    """Masked autoencoder pre-training as an MMEngine model.

    Args:
        backbone: config of a :class:`VisionTransformer` with ``output="tokens"``. Its sin-cos
            positions are kept fixed here; fine-tuning trains them.
        decoder: arguments of :class:`MAEDecoder` that differ from the default size.
        mask_ratio: share of patches hidden from the encoder.
        norm_pix: predict each patch normalised by its own mean and deviation; else plain pixels.
        data_preprocessor: normalises and stacks the images.

    Source: MAE, section 3 and Appendix A.1; loss on masked patches only.
    """

    def __init__(
        self,
        backbone: dict[str, Any],
        decoder: dict[str, Any] | None = None,
        mask_ratio: float = 0.75,
        norm_pix: bool = True,
        data_preprocessor: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.backbone: VisionTransformer = MODELS.build(backbone)
        if self.backbone.output != "tokens" or self.backbone.cls_token is None:
            raise ValueError('MAE needs a backbone with output="tokens" and a class token')
        if any(b.window_size or b.attn.rel_pos_bias for b in self.backbone.blocks) or (
            self.backbone.rel_pos_bias
        ):
            raise ValueError(
                "MAE sees any subset of the patches: its backbone can have neither windows nor "
                "rel_pos_bias, which belong to transfer"
            )
        self.backbone.pos_embed.requires_grad_(False)
        out_dim = self.backbone.patch_embed.proj.weight[0].numel()
        self.decoder = MAEDecoder(
            self.backbone.embed_dim, out_dim, self.backbone.grid, **(decoder or {})
        )
        self.mask_ratio = mask_ratio
        self.norm_pix = norm_pix

    def encode(self, patches: Tensor, masking: Masking, grid: Grid) -> Tensor:
        """Encode the visible patches only.

        Args:
            patches: (B, N, p * p * C).
            masking: which of them are visible.
            grid: (rows, columns), N patches in all.

        Returns:
            (B, 1 + V, D), after the final norm.
        """
        vit = self.backbone
        x = vit.patch_embed(gather_tokens(patches, masking.visible))
        x = x + gather_tokens(vit.patch_positions(grid), masking.visible)
        x = vit.prepend_class_token(x)
        for block in vit.blocks:
            x = block(x)
        return vit.norm(x)

    def target(self, patches: Tensor) -> Tensor:
        """What is to be predicted for patches (B, n, p * p * C); same shape, float32."""
        patches = patches.float()
        return normalise_patches(patches) if self.norm_pix else patches

    def predict_masked(self, images: Tensor, masking: Masking | None = None):
        """Run the autoencoder.

        Args:
            images: (B, C, H, W), normalised.
            masking: a split of the patches; drawn at random when None.

        Returns:
            prediction (B, M, p * p * C), patches (B, N, p * p * C), and the masking used.
        """
        p = self.backbone.patch_size
        patches = patchify(images, p)
        grid = (images.shape[2] // p, images.shape[3] // p)
        if masking is None:
            batch, num_patches = patches.shape[:2]
            masking = random_masking(batch, num_patches, self.mask_ratio, patches.device)
        encoded = self.encode(patches, masking, grid)
        return self.decoder(encoded, masking, grid), patches, masking

    def loss(self, images: Tensor, masking: Masking | None = None) -> Tensor:
        """Mean squared error over the masked patches, a scalar in float32."""
        prediction, patches, masking = self.predict_masked(images, masking)
        target = self.target(gather_tokens(patches, masking.masked))
        return F.mse_loss(prediction.float(), target)

    @torch.no_grad()
    def reconstruct(self, images: Tensor, masking: Masking | None = None) -> tuple[Tensor, Tensor]:
        """What the model makes of images it sees only in part.

        A model of normalised pixels predicts each patch up to its mean and deviation; those are
        taken from the true patch, as in the paper's figures.

        Args:
            images: (B, C, H, W), normalised.
            masking: a split of the patches; drawn at random when None.

        Returns:
            the reconstruction with the visible patches pasted in, (B, C, H, W), in the scale of
            ``images``, and the mask (B, 1, H, W), 1 where pixels were hidden.

        Source: MAE, Figures 2 to 4.
        """
        prediction, patches, masking = self.predict_masked(images, masking)
        hidden = gather_tokens(patches, masking.masked).float()
        if self.norm_pix:
            mean, std = patch_statistics(hidden)
            prediction = prediction.float() * std + mean
        index = masking.masked.unsqueeze(-1).expand(-1, -1, patches.shape[-1])
        pasted = patches.scatter(1, index, prediction.to(patches.dtype))
        p = self.backbone.patch_size
        grid = (images.shape[2] // p, images.shape[3] // p)
        mask = masking.as_mask().unsqueeze(-1).expand(-1, -1, p * p)
        return unpatchify(pasted, grid, p), unpatchify(mask, grid, p)

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = "tensor"):
        """MMEngine's entry: ``mode="loss"`` gives the loss dict, ``"tensor"`` the prediction.

        Raises:
            ValueError: another mode; :meth:`reconstruct` makes pictures.
        """
        if mode == "loss":
            return {"loss": self.loss(inputs)}
        if mode == "tensor":
            return self.predict_masked(inputs)[0]
        raise ValueError(f'mode={mode!r}: MAE knows "loss" and "tensor"')
