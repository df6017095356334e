"""mmseg's segmentor, test-time augmentation and data set, and ours in their place."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.models import EncoderDecoder, FCNHead, SegDataPreProcessor, SegTTAModel
from mmseg.structures import SegDataSample
from torch import nn

from mae_bench.models import VisionTransformer
from mae_bench.openmmlab.multi_scale import MultiScaleSegmentor

from .promises import Promise, StandIn, check, every_promise

SIDE = 16
ARCH = dict(embed_dim=16, depth=1, num_heads=2)


def segmentor(kind: type, binary: bool, threshold: float | None = None) -> Any:
    """A ViT of one block with a convolution, its weights from a seed."""
    classes = dict(num_classes=2, out_channels=1) if binary else dict(num_classes=3)
    model = kind(
        backbone=dict(
            type=VisionTransformer, arch=ARCH, img_size=SIDE, patch_size=4, out_indices=[0]
        ),
        decode_head=dict(
            type=FCNHead,
            in_channels=16,
            channels=8,
            num_convs=1,
            in_index=0,
            threshold=threshold,
            loss_decode=dict(type="mmseg.CrossEntropyLoss", use_sigmoid=binary),
            **classes,
        ),
        data_preprocessor=dict(type=SegDataPreProcessor, size_divisor=4),
        train_cfg={},
        test_cfg=ConfigDict(mode="whole"),
    )
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    return model.eval()


def views(count: int) -> dict[str, list]:
    """One picture at several scales, as mmcv's TestTimeAug gives it."""
    generator = torch.Generator().manual_seed(2)
    inputs, samples = [], []
    for i in range(count):
        side = SIDE + 8 * i
        meta = dict(img_path="a.jpg", ori_shape=(SIDE, SIDE), img_shape=(side, side), flip=False)
        sample = SegDataSample(metainfo=meta)
        sample.gt_sem_seg = PixelData(data=torch.zeros(1, SIDE, SIDE, dtype=torch.long))
        inputs.append(torch.randn(3, side, side, generator=generator) * 20)
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


def of_one_view(binary: bool, threshold: float | None = None) -> Any:
    """Observe the prediction of one view, its type, and the fields of the sample."""

    def observe(kind: type, folder: Path) -> Any:
        with torch.no_grad():
            (sample,) = segmentor(kind, binary, threshold).test_step(views(1))
        found = sample.pred_sem_seg.data
        assert len(found.unique()) > 1, "a prediction of one class shows nothing"
        return found, str(found.dtype), sorted(sample.keys()), sorted(sample.metainfo_keys())

    return observe


def averaged(binary: bool) -> Any:
    """Observe the prediction of three views, by our class or by mmseg's wrapper of its own."""

    def observe(kind: type, folder: Path) -> Any:
        data = views(3)
        with torch.no_grad():
            if kind is MultiScaleSegmentor:
                (sample,) = segmentor(kind, binary).test_step(data)
            else:
                wrapped = SegTTAModel(module=segmentor(EncoderDecoder, binary))
                lists = {key: [[value] for value in values] for key, values in data.items()}
                (sample,) = wrapped.test_step(lists)
        return sample.pred_sem_seg.data.squeeze()

    return observe


def mean_of_probabilities() -> torch.Tensor:
    """The mean over views of the sigmoid, against mmseg's default threshold, by hand."""
    model = segmentor(EncoderDecoder, True)
    found = []
    for image, sample in zip(*views(3).values(), strict=True):
        with torch.no_grad():
            (result,) = model.test_step(dict(inputs=[image], data_samples=[sample]))
        found.append(result.seg_logits.data.double())
    assert all(((p >= 0) & (p <= 1)).all() for p in found), "mmseg has taken the sigmoid already"
    return (torch.stack(found).mean(dim=0) > 0.3).squeeze()


TABLE = [
    StandIn(
        MultiScaleSegmentor,
        EncoderDecoder,
        [
            Promise("test of one view", of_one_view(binary=False)),
            Promise("test of one view, two classes in one channel", of_one_view(binary=True)),
            Promise("the head's threshold", of_one_view(binary=True, threshold=0.6)),
        ],
    ),
    StandIn(
        MultiScaleSegmentor,
        SegTTAModel,
        [
            Promise("mean over views", averaged(binary=False)),
            Promise("mean over views, two classes in one channel", lambda kind, folder: torch.equal(
                        averaged(binary=True)(kind, folder).bool(), mean_of_probabilities()), True,
                    "the mean of the probabilities is compared with the threshold; mmseg takes the "
                    "sigmoid twice, after which every pixel is above its default of 0.3"),
        ],
    ),
]  # fmt: skip


@every_promise(TABLE)
def test_promise(stand_in, promise, tmp_path):
    check(stand_in, promise, tmp_path)


def test_mmseg_takes_the_sigmoid_twice(tmp_path):
    assert bool(averaged(binary=True)(SegTTAModel, tmp_path).all())
    share = float(np.mean(mean_of_probabilities().numpy()))
    assert 0 < share < 1
