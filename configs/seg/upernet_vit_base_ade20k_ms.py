"""UperNet with ViT-B/16 on ADE20K, tested at six scales and mirrored.

    tools/test.py configs/seg/upernet_vit_base_ade20k_ms.py CHECKPOINT

Reproduces mmsegmentation's figure with multi-scale and flip for the model of
upernet_vit_base_ade20k.py trained with model.backbone.layer_scale_init=1.0 (give that option here
too); without it this tests MAE's own model.

Sources: BEiT's code: scales of 0.5 to 1.75 times 512 for the short side, but never less than the
crop, so that the first three are 512; mean of the probabilities. UNKNOWN: whether the paper tests
like this; its public reproductions reach its number at one scale.
"""

from mmcv.transforms import TestTimeAug
from mmengine.config import read_base
from mmseg.datasets.transforms import ResizeShortestEdge

from mae_bench.datasets.loading import LoadImage
from mae_bench.openmmlab.multi_scale import MultiScaleSegmentor, views_of_one_picture

with read_base():
    from .upernet_vit_base_ade20k import *

model.update(type=MultiScaleSegmentor)
test_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    collate_fn=dict(type=views_of_one_picture),
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(
        type=ADE20K,
        data_root="data/ade/ADEChallengeData2016",
        data_prefix=dict(img_path="images/validation", seg_map_path="annotations/validation"),
        pipeline=[
            dict(type=LoadImage),
            dict(
                type=TestTimeAug,
                transforms=[
                    [
                        dict(
                            type=ResizeShortestEdge,
                            scale=max(size, round(ratio * size)),
                            max_size=10000,
                        )
                        for ratio in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
                    ],
                    [dict(type=RandomFlip, prob=0.0), dict(type=RandomFlip, prob=1.0)],
                    [dict(type=LoadMask)],
                    [dict(type=PackSegInputs)],
                ],
            ),
        ],
    ),
)
