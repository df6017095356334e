"""Augmentation of whole batches of normalised images: erasing and mixing, by timm's own parts."""

import torch
from timm.data.mixup import Mixup
from timm.data.random_erasing import RandomErasing
from torch import Tensor


class EraseAndMix:
    """Random erasing of each image, then mixup or CutMix of the batch with its reverse.

    mmpretrain has these too, but erases before normalising, with noise cut to whole bytes, and
    mixes with a random permutation, in which an image may meet itself. A config names this class
    among the ``augments`` of ``ImageClassifier.train_cfg``. Labels are smoothed in the loss:
    smoothing and mixing are linear, so their order does not matter.

    Args:
        erase_prob: probability that an image loses a rectangle of 2 % to 33 % of its area to
            noise from N(0, 1).
        mixup: parameter of mixup's Beta distribution.
        cutmix: the same for CutMix; one of both is drawn evenly for each batch.

    Source: MAE Table 9 (mixup 0.8, CutMix 1.0, each batch mixed); erasing and its probability
    from the official fine-tuning command; all as in timm, which that uses.
    """

    def __init__(self, erase_prob: float, mixup: float, cutmix: float) -> None:
        self.erase_prob = erase_prob
        self.mix = Mixup(mixup_alpha=mixup, cutmix_alpha=cutmix, label_smoothing=0.0)

    def __call__(self, images: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Augment a batch.

        Args:
            images: (B, C, H, W), normalised; changed in place. B must be even.
            scores: (B, classes), one-hot, or of several labels, or soft.

        Returns:
            images, and the scores (B, classes) mixed in the same shares.

        Raises:
            ValueError: an odd number of images.
        """
        if len(images) % 2:
            raise ValueError(
                f"a batch of {len(images)} cannot be mixed in pairs: choose an even "
                "train_dataloader.batch_size, and drop_last=True"
            )
        RandomErasing(self.erase_prob, mode="pixel", device=images.device)(images)
        # timm mixes labels by number. Those of the images themselves give the share of each image
        # in each, which mixes scores of any kind.
        self.mix.num_classes = len(images)
        images, shares = self.mix(images, torch.arange(len(images), device=images.device))
        return images, shares @ scores.to(shares.dtype)
