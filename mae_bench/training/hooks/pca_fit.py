"""Fit the PCA target before the first step of pre-training."""

import random
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...distributed import unwrap
from ...models.targets import PatchMoments, PCATarget
from ...models.vit import patchify
from ...registry import HOOKS


@HOOKS.register_module()
class FitPCATarget(Hook):
    """Fit the basis of :class:`PCATarget` on the training images, as they are augmented.

    A run that is resumed, or starts from a checkpoint with a basis, keeps that one. The states of
    the random number generators are put back, so the run goes on as if nothing had been drawn.

    Args:
        images: how many images are looked at, by all processes together.

    Source: MAE, section 4.1. On how many images the authors fitted is UNKNOWN; 10,000 images
    are 2 million patches for the 768 x 768 covariance.
    """

    def __init__(self, images: int = 10_000) -> None:
        self.images = images

    def before_train(self, runner: Runner) -> None:
        """Fit, unless there is a basis.

        Raises:
            ValueError: the model has another target, or there are too few images.
        """
        model = unwrap(runner.model)
        target = getattr(model, "target", None)
        if not isinstance(target, PCATarget):
            raise ValueError(
                "FitPCATarget needs model.target=dict(type=PCATarget); take it out of custom_hooks"
            )
        if target.fitted:
            return
        states = random.getstate(), np.random.get_state()
        with torch.random.fork_rng():
            self.fit(runner, model, target)
        random.setstate(states[0])
        np.random.set_state(states[1])

    def fit(self, runner: Runner, model: Any, target: PCATarget) -> None:
        """Gather the moments of this process's share of images, then of all."""
        moments = PatchMoments(len(target.mean), target.mean.device)
        patch_size = model.backbone.patch_size
        rows, columns = model.backbone.grid
        wanted = self.images / runner.world_size * rows * columns
        for batch in runner.train_dataloader:
            images = model.data_preprocessor(batch, False)["inputs"]
            moments.add(patchify(images, patch_size))
            if moments.count >= wanted:
                break
        for tensor in (moments.count, moments.total, moments.products):
            all_reduce(tensor)
        target.set_basis(*moments.principal_components(target.out_dim))
        runner.logger.info(
            f"fitted {target.out_dim} principal components on {int(moments.count)} patches"
        )
