"""Masked autoencoder: mask, encode what is visible, decode, score what was masked."""

from typing import Any

import torch
from mmengine.model import BaseModel, BaseModule
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from ..registry import MODELS
from .kernels.linear import project
from .masking import SAMPLINGS, Masking, gather_tokens, sample_masking
from .position import Grid, resize_position_table, sincos_position_table
from .seeded_rows import SeededRows
from .targets import Target, build_target
from .vit import LAYER_NORM_EPS, Block, VisionTransformer, init_transformer, patchify, unpatchify


class MAEDecoder(BaseModule):
    """Light Transformer that predicts the masked patches from the encoded visible ones.

    Attention does not depend on the order of its tokens, so the sequence is never put back into
    image order: it stays [class, visible, masked] with the positions gathered to match. Of the last
    block only the tokens that are predicted are computed; the others serve it as keys and values.

    Args:
        encoder_dim: width of the encoder.
        out_dim: values predicted for a patch.
        grid: (rows, columns) of patches the position table is made for.
        embed_dim, depth, num_heads: size of the decoder.
        mask_tokens: whether masked patches enter here, as one learned token; else the encoder
            has them already.

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
        mask_tokens: bool = True,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.embed = nn.Linear(encoder_dim, embed_dim)
        self.mask_token = nn.Parameter(torch.empty(1, 1, embed_dim)) if mask_tokens else None
        self.pos_embed = nn.Parameter(
            torch.cat([torch.zeros(1, 1, embed_dim), sincos_position_table(embed_dim, grid)], 1),
            requires_grad=False,
        )
        self.blocks = nn.ModuleList(Block(embed_dim, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dim, eps=LAYER_NORM_EPS)
        self.pred = nn.Linear(embed_dim, out_dim)
        if self.mask_token is not None:
            nn.init.normal_(self.mask_token, std=0.02)
        self.apply(init_transformer)

    def forward(
        self, encoded: Tensor, masking: Masking, grid: Grid, and_visible: bool = False
    ) -> Tensor:
        """Predict the masked patches.

        Args:
            encoded: (B, 1 + V, encoder_dim), class token first, visible patches in the order of
                ``masking.visible``; without own mask tokens (B, 1 + V + M, encoder_dim), masked
                patches last.
            masking: which patches those are.
            grid: (rows, columns) of the image.
            and_visible: predict the visible patches as well.

        Returns:
            (B, M, out_dim), in the order of ``masking.masked``; (B, V + M, out_dim) with the
            visible ones, which come first.
        """
        x = project(self.embed, encoded)
        order = masking.in_order()
        num_predicted = order.shape[1] if and_visible else masking.masked.shape[1]
        if self.mask_token is not None:
            mask_tokens = self.mask_token.to(x.dtype).expand(
                x.shape[0], masking.masked.shape[1], -1
            )
            x = torch.cat([x, mask_tokens], dim=1)
        positions = resize_position_table(self.pos_embed, self.grid, grid)
        with_class_token = torch.cat([torch.zeros_like(order[:, :1]), order + 1], dim=1)
        x = x + gather_tokens(positions, with_class_token)
        for block in self.blocks[:-1]:
            x = block(x)
        for block in self.blocks[-1:]:
            # By place: what MMEngine wraps for activation checkpointing takes no keywords.
            x = block(x, None, None, num_predicted)
        return project(self.pred, self.norm(x[:, -num_predicted:]))


@MODELS.register_module()
class MAE(BaseModel):
    """Masked autoencoder pre-training as an MMEngine model.

    Args:
        backbone: config of a ``VisionTransformer`` with ``output="tokens"``. Its sin-cos
            positions are kept fixed here; fine-tuning trains them.
        decoder: arguments of ``MAEDecoder`` that differ from the default size.
        mask_ratio: share of patches hidden from the encoder.
        norm_pix: predict each patch normalised by its own mean and deviation; else plain pixels.
        data_preprocessor: normalises and stacks the images.
        sampling: which patches are hidden: ``"random"``, ``"block"`` or ``"grid"`` (Table 1f).
        target: config of a registered ``Target`` to predict in place of pixels (Table 1d).
        encoder_mask_tokens: the encoder gets all patches, those that are masked as one learned
            token (Table 1c).
        loss_on_all: score the visible patches too (footnote 1).

    Raises:
        ValueError: an unknown ``sampling``, or a backbone that cannot take a subset of patches.

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
        sampling: str = "random",
        target: dict[str, Any] | None = None,
        encoder_mask_tokens: bool = False,
        loss_on_all: bool = False,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        if sampling not in SAMPLINGS:
            raise ValueError(f"sampling={sampling!r} is not one of {', '.join(SAMPLINGS)}")
        self.backbone: VisionTransformer = MODELS.build(backbone)
        if self.backbone.output != "tokens" or self.backbone.num_prefix_tokens != 1:
            raise ValueError('MAE needs a backbone with output="tokens" and a class token alone')
        if any(b.window_size or b.attn.rel_pos_bias for b in self.backbone.blocks) or (
            self.backbone.rel_pos_bias
        ):
            raise ValueError(
                "MAE sees any subset of the patches: its backbone can have neither windows nor "
                "rel_pos_bias, which belong to transfer"
            )
        self.backbone.pos_embed.requires_grad_(False)
        values = self.backbone.patch_embed.proj.weight[0].numel()
        self.target: Target = build_target(target, values, norm_pix)
        self.decoder = MAEDecoder(
            self.backbone.embed_dim,
            self.target.out_dim,
            self.backbone.grid,
            mask_tokens=not encoder_mask_tokens,
            **(decoder or {}),
        )
        self.encoder_mask_token = None
        if encoder_mask_tokens:
            self.encoder_mask_token = nn.Parameter(torch.empty(1, 1, self.backbone.embed_dim))
            nn.init.normal_(self.encoder_mask_token, std=0.02)
        self.mask_ratio = mask_ratio
        self.sampling = sampling
        self.loss_on_all = loss_on_all

    def grid_of(self, images: Tensor) -> Grid:
        """(rows, columns) of patches of images (B, C, H, W)."""
        p = self.backbone.patch_size
        return images.shape[2] // p, images.shape[3] // p

    def encode(self, patches: Tensor, masking: Masking, grid: Grid) -> Tensor:
        """Encode the visible patches only.

        Args:
            patches: (B, N, p * p * C).
            masking: which of them are visible.
            grid: (rows, columns), N patches in all.

        Returns:
            (B, 1 + V, D), after the final norm; with mask tokens in the encoder (B, 1 + V + M, D).
        """
        vit = self.backbone
        x = vit.patch_embed(gather_tokens(patches, masking.visible))
        index = masking.visible
        if self.encoder_mask_token is not None:
            index = masking.in_order()
            token = self.encoder_mask_token.to(x.dtype)
            x = torch.cat([x, token.expand(x.shape[0], masking.masked.shape[1], -1)], dim=1)
        x = x + gather_tokens(vit.patch_positions(grid), index)
        x = vit.prepend_class_token(x)
        for block in vit.blocks:
            x = block(x)
        return vit.norm(x)

    def make_target(self, images: Tensor, patches: Tensor, index: Tensor) -> Tensor:
        """What is to be predicted.

        Args:
            images: (B, C, H, W), normalised.
            patches: (B, N, p * p * C), those images cut.
            index: (B, n), which patches.

        Returns:
            (B, n, out_dim) in float32, or (B, n) tokens.
        """
        if self.target.of_images:
            scale = self.data_preprocessor
            pixels = (images.float() * scale.std + scale.mean) / 255
            return self.target(pixels.clamp(0, 1)).gather(1, index)
        return self.target(gather_tokens(patches, index).float())

    def predict_masked(
        self, images: Tensor, masking: Masking | None = None, and_visible: bool = False
    ) -> tuple[Tensor, Tensor, Masking]:
        """Run the autoencoder.

        Args:
            images: (B, C, H, W), normalised.
            masking: a split of the patches; drawn at random when None.
            and_visible: predict the visible patches as well.

        Returns:
            prediction (B, M, out_dim), or (B, V + M, out_dim) with the visible patches first,
            patches (B, N, p * p * C), and the masking used.
        """
        patches = patchify(images, self.backbone.patch_size)
        grid = self.grid_of(images)
        if masking is None:
            masking = sample_masking(
                self.sampling, len(patches), grid, self.mask_ratio, patches.device
            )
        encoded = self.encode(patches, masking, grid)
        return self.decoder(encoded, masking, grid, and_visible), patches, masking

    def masking_by_sample(self, images: Tensor, data_samples: Any) -> Masking | None:
        """Draw masks by the ``sample_seed`` of each sample; None where they have none.

        Such a mask depends neither on the other images of the batch nor on the process or device.
        """
        samples = data_samples if isinstance(data_samples, (list, tuple)) else ()
        seeds = [s.get("sample_seed") for s in samples if isinstance(s, BaseDataElement)]
        if len(seeds) != images.shape[0] or None in seeds:
            return None
        generator = SeededRows(seeds, images.device)
        grid = self.grid_of(images)
        return sample_masking(
            self.sampling, len(images), grid, self.mask_ratio, images.device, generator
        )

    def loss(self, images: Tensor, masking: Masking | None = None) -> Tensor:
        """Score of the prediction over the masked patches, or over all; a scalar in float32."""
        prediction, patches, masking = self.predict_masked(images, masking, self.loss_on_all)
        index = masking.in_order() if self.loss_on_all else masking.masked
        return self.target.loss(prediction.float(), self.make_target(images, patches, index))

    @torch.no_grad()
    def reconstruct(
        self, images: Tensor, masking: Masking | None = None, paste_visible: bool = True
    ) -> tuple[Tensor, Tensor]:
        """What the model makes of images it sees only in part.

        A model of normalised pixels predicts each patch up to its mean and deviation; those are
        taken from the true patch, as in the paper's figures.

        Args:
            images: (B, C, H, W), normalised.
            masking: a split of the patches; drawn at random when None.
            paste_visible: show the visible patches as they are, not as the model predicts them,
                which no loss ever asked it to.

        Returns:
            the reconstruction (B, C, H, W), in the scale of ``images``, and the mask (B, 1, H, W),
            1 where pixels were hidden.

        Raises:
            ValueError: the model predicts tokens, not pixels.

        Source: MAE, Figures 2 to 4.
        """
        prediction, patches, masking = self.predict_masked(images, masking, not paste_visible)
        shown = masking.masked if paste_visible else masking.in_order()
        pixels = self.target.to_pixels(prediction.float(), gather_tokens(patches, shown).float())
        index = shown.unsqueeze(-1).expand(-1, -1, patches.shape[-1])
        patches = patches.scatter(1, index, pixels.to(patches.dtype))
        p, grid = self.backbone.patch_size, self.grid_of(images)
        mask = masking.as_mask().unsqueeze(-1).expand(-1, -1, p * p)
        return unpatchify(patches, grid, p), unpatchify(mask, grid, p)

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = "tensor"):
        """MMEngine's entry: ``mode="loss"`` gives the loss dict, ``"tensor"`` the prediction.

        Raises:
            ValueError: another mode; ``reconstruct`` makes images.
        """
        if mode == "loss":
            return {"loss": self.loss(inputs, self.masking_by_sample(inputs, data_samples))}
        if mode == "tensor":
            return self.predict_masked(inputs)[0]
        raise ValueError(f'mode={mode!r}: MAE knows "loss" and "tensor"')
