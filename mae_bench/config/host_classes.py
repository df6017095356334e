"""Backbone classes of other libraries in a config: ``HostBackbone`` is put around them."""

import inspect
from typing import Any

from mmengine.config import Config, ConfigDict
from torch import nn

from ..models.backbone import keeps_contract
from ..openmmlab.host_backbone import HostBackbone
from ..registry import MODELS
from ..signature import arguments
from .arguments import find_class
from .backbone_swap import DENSE_HEADS
from .keys import find

BACKBONE = "model.backbone"
# What a task asks of any backbone, whatever its class.
ASKED = ("output", "out_indices", "img_size", "frozen", "drop_path_rate", "init_cfg")


def is_host_class(kind: Any) -> bool:
    """Whether a class is a module that knows nothing of our contract."""
    is_module = inspect.isclass(kind) and nn.Module in kind.__mro__
    return is_module and not keeps_contract(kind) and "output" not in arguments(kind)[0]


def wrap_host_class(model: ConfigDict) -> None:
    """Put ``HostBackbone`` around the class of a model's backbone; it is asked for what heads take.

    A class whose argument ``out_type`` says what it gives, as those of mmpretrain have, is left to
    it in classification unless the config says more.
    """
    backbone = model.backbone
    kind = backbone.type
    if any(model.get(head) for head in DENSE_HEADS):
        backbone.setdefault("output", "maps")
    elif not model.get("neck") and "out_type" not in arguments(kind)[0]:
        backbone.setdefault("output", "mean")
    name = f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
    if MODELS.get(name) is not kind:
        name = f"{kind.__module__}.{kind.__qualname__}"
    backbone.update(type=HostBackbone, host_class=name)


def wrap_backbone(cfg: Config) -> None:
    """Wrap the backbone class that a config file names."""
    backbone = find(cfg, BACKBONE)
    if not hasattr(backbone, "keys"):
        return
    kind = find_class(backbone.get("type"), BACKBONE, cfg.default_scope)
    if is_host_class(kind):
        backbone.type = kind
        wrap_host_class(cfg.model)
