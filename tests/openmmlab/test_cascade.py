"""The cascade that follows detectron2, by hand; its losses and detections were compared with it."""

import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmdet.structures.mask import PolygonMasks
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData

from mae_bench.openmmlab.cascade import OneMaskCascadeRoIHead
from mae_bench.openmmlab.mask_head import UndecidedMaskHead

STAGES, CLASSES, SIDE = 3, 2, 64
TRUTH = torch.tensor([[8.0, 8, 40, 40], [30, 30, 60, 50]])


def extractor(size: int) -> dict:
    return dict(
        type="SingleRoIExtractor",
        roi_layer=dict(type="RoIAlign", output_size=size, sampling_ratio=0),
        out_channels=4,
        featmap_strides=[4],
    )


def box_head(agnostic: bool) -> dict:
    return dict(
        type="Shared4Conv1FCBBoxHead",
        in_channels=4,
        conv_out_channels=4,
        fc_out_channels=8,
        num_classes=CLASSES,
        reg_class_agnostic=agnostic,
    )


def stage_cfg(iou: float) -> dict:
    thresholds = dict(pos_iou_thr=iou, neg_iou_thr=iou, min_pos_iou=iou, match_low_quality=False)
    return dict(
        assigner=dict(type="MaxIoUAssigner", **thresholds),
        sampler=dict(type="RandomSampler", num=16, pos_fraction=0.25),
        mask_size=28,
        pos_weight=-1,
    )


def build(agnostic: bool = True) -> OneMaskCascadeRoIHead:
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmdet"):
        return MODELS.build(
            ConfigDict(
                type="mae_bench.OneMaskCascadeRoIHead",
                num_stages=STAGES,
                stage_loss_weights=[1] * STAGES,
                bbox_roi_extractor=extractor(7),
                bbox_head=[box_head(agnostic) for _ in range(STAGES)],
                mask_roi_extractor=extractor(14),
                mask_head=dict(
                    type="FCNMaskHead", in_channels=4, conv_out_channels=4, num_classes=CLASSES
                ),
                train_cfg=[stage_cfg(iou) for iou in (0.5, 0.6, 0.7)],
                test_cfg=dict(
                    score_thr=0.0,
                    nms=dict(type="nms", iou_threshold=0.5),
                    max_per_img=5,
                    mask_thr_binary=0.5,
                ),
            )
        )


@pytest.fixture(scope="module")
def head() -> OneMaskCascadeRoIHead:
    return build()


@pytest.fixture
def features() -> tuple[torch.Tensor]:
    return (torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1)),)


def proposals() -> InstanceData:
    """Twenty boxes over the image, some of them near the truth."""
    corners = torch.rand(20, 2, generator=torch.Generator().manual_seed(2)) * 40
    boxes = torch.cat([corners, corners + 20], dim=1)
    return InstanceData(bboxes=torch.cat([boxes, TRUTH + 2]))


def sample() -> DetDataSample:
    meta = dict(img_shape=(SIDE, SIDE), ori_shape=(SIDE, SIDE), scale_factor=(1.0, 1.0))
    found = DetDataSample(metainfo=meta)
    outlines = [[box[[0, 1, 2, 1, 2, 3, 0, 3]].double().numpy()] for box in TRUTH]
    found.gt_instances = InstanceData(
        bboxes=TRUTH.clone(), labels=torch.tensor([0, 1]), masks=PolygonMasks(outlines, SIDE, SIDE)
    )
    return found


def test_later_stages_get_every_box_of_the_one_before(head, features, monkeypatch):
    seen, refine = [], head._refine
    loss = head.bbox_loss

    def record(stage, x, sampled):
        seen.append(sampled[0])
        return loss(stage, x, sampled)

    refined = []

    def keep(*args):
        refined.extend(refine(*args))
        return refined[-1:]

    monkeypatch.setattr(head, "bbox_loss", record)
    monkeypatch.setattr(head, "_refine", keep)
    losses = head.loss(features, [proposals()], [sample()])
    assert sorted(name for name in losses if "loss" in name) == sorted(
        [f"s{i}.loss_{kind}" for i in range(STAGES) for kind in ("cls", "bbox")] + ["loss_mask"]
    )
    first = torch.cat([seen[0].pos_priors, seen[0].neg_priors])
    assert len(first) == 16  # sampled, with the truth among them
    assert (first[:, None] == TRUTH).all(dim=2).any(dim=0).all()
    for stage in (1, 2):
        boxes = torch.cat([seen[stage].pos_priors, seen[stage].neg_priors])
        expected = refined[stage - 1]
        assert len(boxes) == len(expected) == 16
        assert torch.equal(boxes[boxes[:, 0].argsort()], expected[expected[:, 0].argsort()])


def test_gradients_are_divided_where_they_enter_the_features(head, features):
    rois = bbox2roi([TRUTH])
    inputs = features[0].clone().requires_grad_()
    head._bbox_forward(1, (inputs,), rois)["cls_score"].sum().backward()
    weight = head.bbox_head[1].fc_cls.weight
    found, found_weight = inputs.grad.clone(), weight.grad.clone()
    inputs.grad = weight.grad = None
    plain = head.bbox_head[1](head.bbox_roi_extractor[1]((inputs,), rois))
    plain[0].sum().backward()
    torch.testing.assert_close(found, inputs.grad / STAGES)
    torch.testing.assert_close(found_weight, weight.grad)


def test_probabilities_are_averaged_and_boxes_are_the_last_ones(head, features, monkeypatch):
    """The mean of three softmaxes, not the softmax of the mean."""
    logits = torch.tensor([[3.0, 0, 0], [0, 3, 0], [0, 0, 0]])
    for stage, row in enumerate(logits):
        fixed = (row.repeat(2, 1), torch.zeros(2, 4))
        monkeypatch.setattr(head.bbox_head[stage], "forward", lambda _, fixed=fixed: fixed)
    meta = [sample().metainfo]
    rois, scores, deltas = head._refine_roi(features, bbox2roi([TRUTH]), meta, (2,))
    expected = logits.softmax(dim=1).mean(dim=0).repeat(2, 1)
    torch.testing.assert_close(scores[0].softmax(dim=1), expected)
    torch.testing.assert_close(rois[0][:, 1:], TRUTH)  # deltas of 0 leave a box as it is
    assert deltas[0].shape == (2, 4)


def test_one_mask_head_draws_the_final_boxes(head, features):
    assert isinstance(head.mask_head.conv_logits, torch.nn.Conv2d)
    head.eval()
    with torch.no_grad():
        (found,) = head.predict(features, [proposals()], [sample()], rescale=True)
        scores, deltas, masks = head(features, [proposals()], [sample()])
    head.train()
    assert found.masks.shape == (len(found.bboxes), SIDE, SIDE)
    assert masks.shape == (22, CLASSES, 28, 28) and deltas[0].shape == (22, 4)


def test_boxes_by_class_are_refused():
    with pytest.raises(ValueError, match="reg_class_agnostic=True"):
        build(agnostic=False)


def test_first_masks_are_undecided():
    torch.manual_seed(0)
    head = UndecidedMaskHead(in_channels=64, conv_out_channels=64, num_classes=80)
    head.init_weights()
    assert head.conv_logits.weight.std().item() == pytest.approx(0.001, rel=0.03)
    assert not head.conv_logits.bias.any()
    # fan out: 2 x 2 x 64
    assert head.upsample.weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.03)
