"""Registries of mae_bench: children of MMEngine's roots under the scope ``mae_bench``.

A config reaches our classes either directly (``type=VisionTransformer`` after an import) or as a
string with our prefix (``type="mae_bench.VisionTransformer"``), whatever its ``default_scope`` is.
``locations`` are imported on the first look-up, so importing this file costs nothing.
"""

from mmengine import registry as mmengine_registry
from mmengine.registry import Registry

SCOPE = "mae_bench"


def _child(parent: Registry, *locations: str) -> Registry:
    return Registry(parent.name, parent=parent, scope=SCOPE, locations=list(locations))


MODELS = _child(
    mmengine_registry.MODELS,
    "mae_bench.models",
    "mae_bench.openmmlab.attentive_probe",
    "mae_bench.openmmlab.cascade",
    "mae_bench.openmmlab.classifiers",
    "mae_bench.openmmlab.host_backbone",
    "mae_bench.openmmlab.label_smoothing",
    "mae_bench.openmmlab.linear_probe",
    "mae_bench.openmmlab.mask_head",
    "mae_bench.openmmlab.multi_scale",
    "mae_bench.openmmlab.patch_classifier",
    "mae_bench.openmmlab.roi_extractor",
    "mae_bench.openmmlab.seg_heads",
)
WEIGHT_INITIALIZERS = _child(
    mmengine_registry.WEIGHT_INITIALIZERS,
    "mae_bench.checkpoint.transfer",
    "mae_bench.checkpoint.continued",
)
DATASETS = _child(
    mmengine_registry.DATASETS,
    "mae_bench.datasets.coco_instances",
    "mae_bench.datasets.image_folders",
    "mae_bench.datasets.imagenet_s",
    "mae_bench.datasets.images_and_masks",
    "mae_bench.datasets.inaturalist",
    "mae_bench.datasets.places",
    "mae_bench.datasets.robustness_sets",
)
TRANSFORMS = _child(
    mmengine_registry.TRANSFORMS,
    "mae_bench.datasets.augmentation",
    "mae_bench.datasets.imagenet_s",
    "mae_bench.datasets.loading",
    "mae_bench.datasets.masks",
    "mae_bench.openmmlab.large_scale_jitter",
    "mae_bench.openmmlab.mask_geometry",
    "mae_bench.openmmlab.seg_transforms",
)
HOOKS = _child(mmengine_registry.HOOKS, "mae_bench.training.hooks")
LOOPS = _child(
    mmengine_registry.LOOPS,
    "mae_bench.training",
    "mae_bench.evaluation.frozen",
    "mae_bench.evaluation.robustness",
)
OPTIMIZERS = _child(mmengine_registry.OPTIMIZERS, "mae_bench.training")
OPTIM_WRAPPERS = _child(mmengine_registry.OPTIM_WRAPPERS, "mae_bench.training")
OPTIM_WRAPPER_CONSTRUCTORS = _child(
    mmengine_registry.OPTIM_WRAPPER_CONSTRUCTORS, "mae_bench.training"
)
PARAM_SCHEDULERS = _child(mmengine_registry.PARAM_SCHEDULERS, "mae_bench.training")
METRICS = _child(
    mmengine_registry.METRICS,
    "mae_bench.evaluation.frozen",
    "mae_bench.openmmlab.coco_metric",
)
