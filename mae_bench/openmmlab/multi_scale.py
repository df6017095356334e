"""Segmentation tested at several scales and mirrored."""

from typing import Any

from mmengine.structures import PixelData
from mmseg.models import EncoderDecoder

from ..registry import MODELS


def views_of_one_picture(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Collate one sample of mmcv's ``TestTimeAug``: its views are the batch.

    Raises:
        ValueError: more than one sample.
    """
    if len(samples) != 1:
        raise ValueError(f"a batch of {len(samples)}: views of one image need batch_size=1")
    return samples[0]


@MODELS.register_module()
class MultiScaleSegmentor(EncoderDecoder):
    """mmseg's ``EncoderDecoder``, whose test averages over the views of an image.

    mmseg has the same as a wrapper around a model, whose checkpoints then have other names. With
    one view it is ``EncoderDecoder``.
    """

    def test_step(self, data: dict[str, Any]) -> list:
        """Mean of the class probabilities of all views, at the image's own size.

        With one output channel, of two classes, the mean is compared with the head's ``threshold``.

        Args:
            data: ``inputs``, views (3, h, w) of any sizes, and their ``data_samples``.

        Returns:
            one data sample with ``pred_sem_seg``.

        Raises:
            ValueError: views of several images.
        """
        images = {sample.img_path for sample in data["data_samples"]}
        if len(images) != 1:
            raise ValueError(f"views of {len(images)} images in a batch: set batch_size=1")
        results = []
        for image, sample in zip(data["inputs"], data["data_samples"], strict=True):
            results += super().test_step(dict(inputs=[image], data_samples=[sample]))
        scores = (result.seg_logits.data for result in results)  # (classes, H, W) each
        if self.out_channels == 1:  # mmseg has taken the sigmoid already
            probabilities = sum(scores) / len(results)
            found = (probabilities > self.decode_head.threshold).to(probabilities)
        else:
            probabilities = sum(score.softmax(dim=0) for score in scores)
            found = probabilities.argmax(dim=0, keepdim=True)
        merged = results[0]
        merged.pred_sem_seg = PixelData(data=found)
        return [merged]
