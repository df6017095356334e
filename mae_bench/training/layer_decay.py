"""Parameter groups: layer-wise learning-rate decay and exemptions from weight decay."""

from collections.abc import Sequence
from typing import Any

from mmengine.optim import OptimWrapper
from timm.layers import LayerNorm2d
from torch import nn

from ..distributed import unwrap
from ..models.backbone import as_backbone
from ..registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS

PARAMWISE_KEYS = {"layer_decay", "no_decay", "exempt"}
EXEMPT = ("one_dimensional", "norms", "named")
NORMS = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.GroupNorm,
    nn.LayerNorm,
)


def parameter_groups(
    model: nn.Module,
    lr: float,
    weight_decay: float,
    layer_decay: float = 1.0,
    no_decay: Sequence[str] = (),
    exempt: str = "one_dimensional",
) -> list[dict[str, Any]]:
    """Trainable parameters of a model, grouped by learning rate and weight decay.

    A parameter of layer ``id`` of a backbone with ``n`` blocks gets ``lr * layer_decay ** (n + 1 -
    id)``: 1 for whatever is not in the backbone, ``layer_decay ** (n + 1)`` for the embeddings.

    Args:
        model: has a ``backbone`` with ``num_layers`` and ``layer_id(name)`` if ``layer_decay`` is
            not 1.
        lr: learning rate of the head.
        weight_decay: of whatever is not exempt.
        layer_decay: factor from one layer to the one below it.
        no_decay: last parts of parameter names that are exempt from weight decay, such as
            ``"pos_embed"``.
        exempt: what else is: ``"one_dimensional"``: biases, norms and all else of one dimension
            (MAE, BEiT); ``"norms"``: weights and biases of norms, other biases are decayed
            (detectron2 with ``weight_decay_norm=0``, which knows no LayerNorm over channels, so
            ``LayerNorm2d`` is decayed); ``"named"``: nothing (``weight_decay_norm=None``).

    Returns:
        groups with ``params``, ``lr``, ``weight_decay`` and ``lr_scale``, highest layer last.

    Raises:
        ValueError: another ``exempt``, or ``layer_decay`` for a model whose backbone has no layers
            to tell.

    Source: MAE Table 9 (layer decay, following Clark et al. 2020 and BEiT); ids and exemptions
    from the official fine-tuning code; detectron2, ``solver/build.py``.
    """
    if exempt not in EXEMPT:
        raise ValueError(f"exempt={exempt!r} is not one of {', '.join(EXEMPT)}")
    if layer_decay != 1.0:
        if not hasattr(model, "backbone"):
            raise ValueError(f"layer_decay={layer_decay}: {type(model).__name__} has no backbone")
        backbone = as_backbone(model.get_submodule("backbone"))
    norms = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, NORMS) and not isinstance(module, LayerNorm2d)
        for parameter in module.parameters(recurse=False)
    }
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        scale = 1.0
        if layer_decay != 1.0 and name.startswith("backbone."):
            layer = backbone.layer_id(name.removeprefix("backbone."))
            scale = layer_decay ** (backbone.num_layers + 1 - layer)
        if exempt == "one_dimensional":
            spared = parameter.ndim <= 1 or name.endswith(".bias")
        else:
            spared = exempt == "norms" and id(parameter) in norms
        decay = 0.0 if spared or name.endswith(tuple(no_decay)) else weight_decay
        group = groups.setdefault(
            (scale, decay),
            dict(params=[], lr=lr * scale, weight_decay=decay, lr_scale=scale),
        )
        group["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayConstructor:
    """MMEngine's entry to :func:`parameter_groups`; the one constructor of all recipes.

    Args:
        optim_wrapper_cfg: with ``optimizer`` giving ``lr`` and ``weight_decay``.
        paramwise_cfg: ``layer_decay``, ``no_decay`` and ``exempt``, as in
            :func:`parameter_groups`.

    Raises:
        ValueError: an unknown key in ``paramwise_cfg``.
    """

    def __init__(
        self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: dict[str, Any] | None = None
    ) -> None:
        self.optim_wrapper_cfg = dict(optim_wrapper_cfg)
        self.paramwise_cfg = dict(paramwise_cfg or {})
        unknown = set(self.paramwise_cfg) - PARAMWISE_KEYS
        if unknown:
            raise ValueError(
                f"paramwise_cfg has unknown keys {sorted(unknown)}; "
                f"it takes {sorted(PARAMWISE_KEYS)}"
            )

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer wrapper for a model, wrapped for distribution or not."""
        model = unwrap(model)
        wrapper_cfg = dict(self.optim_wrapper_cfg)
        wrapper_cfg.setdefault("type", "OptimWrapper")
        optimizer_cfg = dict(wrapper_cfg.pop("optimizer"))
        optimizer_cfg["params"] = parameter_groups(
            model,
            optimizer_cfg["lr"],
            optimizer_cfg.get("weight_decay", 0.0),
            **self.paramwise_cfg,
        )
        optimizer = OPTIMIZERS.build(optimizer_cfg)
        return OPTIM_WRAPPERS.build(wrapper_cfg, default_args=dict(optimizer=optimizer))
