"""Cascade Mask R-CNN as detectron2 has it: one mask head, and no sampling after the first stage."""

from typing import Any

import torch
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.models.task_modules import PseudoSampler
from mmdet.models.utils import unpack_gt_instances
from mmdet.structures.bbox import bbox2roi, get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor

from ..registry import MODELS


@MODELS.register_module()
class OneMaskCascadeRoIHead(CascadeRoIHead):
    """mmdet's ``CascadeRoIHead`` with the training and the test of detectron2's.

    * One mask head, trained on the proposals of the first stage, used on the final boxes.
    * Ground truth is among the proposals of the first stage only. Later stages get all boxes that
      the one before has made of its own, and label them anew; no box is left out but empty ones.
    * Losses are added. The gradient of each box head is divided by the number of stages where it
      enters the features.
    * A test averages the class probabilities of all stages, not their logits.

    Args:
        mask_head: one config; others as in ``CascadeRoIHead``, ``train_cfg`` with an entry for each
            stage, whose sampler counts in the first one alone.

    Raises:
        ValueError: a box head that regresses boxes for each class of its own.

    Source: detectron2, ``modeling/roi_heads/cascade_rcnn.py``; ViTDet's cascade uses it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not all(head.reg_class_agnostic for head in self.bbox_head):
            raise ValueError("OneMaskCascadeRoIHead needs box heads with reg_class_agnostic=True")

    init_mask_head = StandardRoIHead.init_mask_head
    _mask_forward = StandardRoIHead._mask_forward
    predict_mask = StandardRoIHead.predict_mask

    def _bbox_forward(self, stage: int, x: tuple[Tensor, ...], rois: Tensor) -> dict[str, Tensor]:
        extractor = self.bbox_roi_extractor[stage]
        features = extractor(x[: extractor.num_inputs], rois)
        if features.requires_grad:
            features.register_hook(lambda gradient: gradient / self.num_stages)
        cls_score, bbox_pred = self.bbox_head[stage](features)
        return dict(cls_score=cls_score, bbox_pred=bbox_pred)

    def loss(
        self, x: tuple[Tensor, ...], rpn_results_list: list[InstanceData], batch_data_samples: list
    ) -> dict[str, Tensor]:
        """Losses of all box heads and of the mask head.

        Args:
            x: features (B, C, H, W) of each level.
            rpn_results_list: ``bboxes`` of each image.
            batch_data_samples: with ``gt_instances``.
        """
        truth, ignored, metas = unpack_gt_instances(batch_data_samples)
        boxes = [proposals.bboxes for proposals in rpn_results_list]
        losses = {}
        for stage in range(self.num_stages):
            sampler = PseudoSampler() if stage else self.bbox_sampler[0]
            sampled = []
            for priors, gt, gt_ignored in zip(boxes, truth, ignored, strict=True):
                proposals = InstanceData(priors=priors)
                assigned = self.bbox_assigner[stage].assign(proposals, gt, gt_ignored)
                sampled.append(sampler.sample(assigned, proposals, gt))
            results = self.bbox_loss(stage, x, sampled)
            losses.update({f"s{stage}.{k}": v for k, v in results["loss_bbox"].items()})
            if stage == 0:
                first = sampled
            if stage == self.num_stages - 1:
                break
            with torch.no_grad():
                boxes = self._refine(stage, results["rois"], results["bbox_pred"], metas)
                boxes = [kept[(kept[:, 2:] > kept[:, :2]).all(dim=1)] for kept in boxes]
        if self.with_mask:
            losses.update(self._mask_loss(x, first, truth))
        return losses

    def _mask_loss(self, x: tuple[Tensor, ...], sampled: list, truth: list) -> dict[str, Tensor]:
        rois = bbox2roi([result.pos_priors for result in sampled])
        predicted = self._mask_forward(x, rois)["mask_preds"]
        return self.mask_head.loss_and_target(predicted, sampled, truth, self.train_cfg[0])[
            "loss_mask"
        ]

    def _refine(self, stage: int, rois: Tensor, deltas: Tensor, metas: list[dict]) -> list[Tensor]:
        """Boxes (N, 4) of each image that a stage makes of rois (all N, 5), cut at the image."""
        refined = []
        for i, meta in enumerate(metas):
            chosen = rois[:, 0] == i
            # Which class is asked does not count: boxes are regressed for all classes alike.
            labels = rois.new_zeros(int(chosen.sum()), dtype=torch.long)
            boxes = self.bbox_head[stage].regress_by_class(
                rois[chosen, 1:], labels, deltas[chosen], meta
            )
            refined.append(get_box_tensor(boxes))
        return refined

    def _refine_roi(
        self,
        x: tuple[Tensor, ...],
        rois: Tensor,
        batch_img_metas: list[dict],
        num_proposals_per_img: tuple[int, ...],
        **kwargs: Any,
    ) -> tuple:
        """Pass all stages: rois, logarithms of the mean probabilities and last deltas by image."""
        mean: Tensor | float = 0.0
        for stage in range(self.num_stages):
            results = self._bbox_forward(stage, x, rois)
            mean = mean + results["cls_score"].float().softmax(dim=-1) / self.num_stages
            if stage < self.num_stages - 1:
                refined = self._refine(stage, rois, results["bbox_pred"], batch_img_metas)
                rois = bbox2roi(refined)
        parts = (rois, torch.as_tensor(mean).log(), results["bbox_pred"])
        return tuple(part.split(num_proposals_per_img) for part in parts)

    def forward(
        self, x: tuple[Tensor, ...], rpn_results_list: list[InstanceData], batch_data_samples: list
    ) -> tuple:
        """What the heads give for proposals, without losses or post-processing."""
        metas = [sample.metainfo for sample in batch_data_samples]
        proposals = [results.bboxes for results in rpn_results_list]
        counts = tuple(len(boxes) for boxes in proposals)
        rois, scores, deltas = self._refine_roi(x, bbox2roi(proposals), metas, counts)
        if not self.with_mask:
            return scores, deltas
        return scores, deltas, self._mask_forward(x, torch.cat(rois))["mask_preds"]
