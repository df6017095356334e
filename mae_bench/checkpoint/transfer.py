"""Put a checkpoint into a backbone: resize what depends on the grid, report, refuse what is wrong.

Every check comes before the first write: a refused load leaves the model as it was.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mmengine.logging import print_log
from mmengine.model.weight_init import update_init_info
from torch import Tensor, nn

from ..distributed import unwrap
from ..registry import WEIGHT_INITIALIZERS
from .adapters import metadata_heads, read_any
from .fit import DOCS, OFFSET_TABLES, RELATIVE_TABLE, fit_tensor, position_grid
from .format import CheckpointMetadata, load_checkpoint, save_checkpoint
from .loading_report import LoadingReport, make_report
from .names import ENCODER, visible_architecture, visible_options
from .variants import is_layer_scale, match_variants

# Of a backbone's tensors, those that belong to transfer and may start afresh.
MAY_START_AFRESH = re.compile(rf"fc_norm\.|(.*\.)?({RELATIVE_TABLE}|{'|'.join(OFFSET_TABLES)})$")


def load_backbone(
    backbone: nn.Module,
    source: str | Path | Mapping[str, Tensor],
    allow_unfilled: Sequence[str] = (),
) -> LoadingReport:
    """Load a checkpoint into a backbone.

    Position embeddings and relative position tables of another grid are resized; for that the
    backbone has ``grid``, as ``VisionTransformer`` does. The grid of the file is that of its
    metadata; without metadata it is taken as square. Decoder, heads, and norms that the backbone
    lacks are dropped. ``fc_norm`` and relative position tables may stay at initialisation, and so
    may layer scale that starts at 1. Layer scale that the backbone lacks is folded, a table that
    all blocks share is copied into each block (see ``variants.py``).

    Args:
        backbone: module with timm's parameter names.
        source: a checkpoint, a plain file of tensors under the same names, a file of a foreign
            format (``adapters/``), or tensors under the same names.
        allow_unfilled: names in the backbone, of tensors or of modules, that may stay at
            initialisation, because the file lacks them or has them in another shape.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a bad file (see ``read_any``), a tensor of the backbone that the file does
            not fill, a tensor of another shape, a tensor of the encoder that the backbone lacks,
            or another number of heads. The backbone is then as it was.
    """
    metadata: CheckpointMetadata | None = None
    left_out: dict[str, int] = {}
    state = backbone.state_dict()
    if isinstance(source, Mapping):
        where, tensors = "tensors", dict(source)
    else:
        where = str(source)
        tensors, metadata, left_out = read_any(source, state)
    for name in allow_unfilled:
        if not any(_is_within(key, name) for key in state):
            raise ValueError(f"allow_unfilled: the backbone has no tensor or module named {name!r}")

    def may_stay(key: str) -> bool:
        allowed = any(_is_within(key, name) for name in allow_unfilled)
        neutral = is_layer_scale(key) and bool((state[key] == 1).all())
        return allowed or neutral or MAY_START_AFRESH.match(key) is not None

    try:
        _check_heads(backbone, metadata)
        tensors, folded = match_variants(tensors, state)
        _check_names(
            [key for key in state if key not in tensors and not may_stay(key)], tensors, state
        )
        new: dict[str, Tensor] = {}
        for key in [key for key in state if key in tensors]:
            fitted = fit_tensor(key, tensors[key], state[key], backbone, metadata)
            if fitted.shape == state[key].shape:
                new[key] = fitted
            elif not any(_is_within(key, name) for name in allow_unfilled):
                raise ValueError(_describe_mismatch(key, fitted, tensors, state))
    except ValueError as error:
        raise ValueError(f"{where}: {error}; the model was not changed") from None

    backbone.load_state_dict(new, strict=False)
    changed = [key for key in new if new[key] is not tensors[key]]
    report = make_report(where, tensors, state, new, changed, left_out)
    return replace(report, folded=folded)


def load_model(model: nn.Module, path: str | Path) -> LoadingReport:
    """Load a whole model, backbone, neck and heads, that was exported from one of the same config.

    Args:
        model: has a ``backbone``, whose names carry no prefix in the file.
        path: checkpoint of this format.

    Returns:
        the report, which ``model.backbone.loading_report`` keeps too.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a bad file, or names or shapes that are not exactly the model's. The model is
            then as it was.
    """
    inner = unwrap(model)
    stored, _ = load_checkpoint(path)
    # The preprocessor's mean and std belong to the config, not to what was learned.
    state = {k: v for k, v in inner.state_dict().items() if not k.startswith("data_preprocessor.")}
    tensors = {
        f"backbone.{name}" if f"backbone.{name}" in state else name: tensor
        for name, tensor in stored.items()
    }
    missing = [key for key in state if key not in tensors]
    extra = [key for key in tensors if key not in state]
    if missing or extra:
        raise ValueError(
            f"{path}: is of another model: lacks {_first(missing)}; has besides {_first(extra)}; "
            "use the config it was trained with; the model was not changed"
        )
    for key, tensor in tensors.items():
        if tensor.shape != state[key].shape:
            raise ValueError(
                f"{path}: {_describe_mismatch(key, tensor, tensors, state)}; the model was not "
                "changed"
            )
    inner.load_state_dict(tensors, strict=False)
    report = make_report(str(path), tensors, state, tensors, [])
    _keep_report(inner.backbone, report)
    return report


def export_model(model: nn.Module, path: str | Path, metadata: CheckpointMetadata) -> None:
    """Write a model, the way :func:`load_model` and :func:`load_backbone` read it.

    Backbone tensors have their own (timm's) names; those of decoder, neck and heads keep the name
    of their module as prefix, so one file serves any later task and a test of this one.

    Raises:
        ValueError: the metadata has another patch size or grid than the backbone, or see
            ``save_checkpoint``.
    """
    inner = unwrap(model)
    tensors = {
        name.removeprefix("backbone."): tensor
        for name, tensor in inner.state_dict().items()
        if not name.startswith("data_preprocessor.")
    }
    patch_size = visible_architecture(tensors).get("patch_size", metadata.patch_size)
    if patch_size != metadata.patch_size:
        raise ValueError(
            f"{path}: the metadata says patch_size {metadata.patch_size}, the backbone has "
            f"{patch_size}: correct the metadata"
        )
    if "pos_embed" in tensors:
        position_grid(tensors["pos_embed"].shape[1], metadata, metadata.grid)
    save_checkpoint(path, tensors, metadata)


@WEIGHT_INITIALIZERS.register_module()
class PretrainedBackbone:
    """MMEngine initialiser that loads a checkpoint into the backbone whose ``init_cfg`` it is.

    Config: ``init_cfg=dict(type="mae_bench.PretrainedBackbone", checkpoint=PATH)``. The report
    is logged, and kept as ``backbone.loading_report`` for the record of the run.

    Args:
        checkpoint: file, see :func:`load_backbone`.
        allow_unfilled: names that may stay at initialisation.
    """

    def __init__(self, checkpoint: str | Path, allow_unfilled: Sequence[str] = ()) -> None:
        self.checkpoint = checkpoint
        self.allow_unfilled = allow_unfilled

    def __call__(self, module: nn.Module) -> None:
        """Load into ``module``, the backbone that holds the ``init_cfg``.

        Raises:
            FileNotFoundError, ValueError: as :func:`load_backbone`.
        """
        report = load_backbone(module, self.checkpoint, self.allow_unfilled)
        print_log(report.summary(), logger="current")
        _keep_report(module, report)
        # MMEngine keeps this table during init_weights only, to log where each parameter is from.
        if hasattr(module, "_params_init_info"):
            update_init_info(module, init_info=f"PretrainedBackbone: loaded {self.checkpoint}")


def _keep_report(backbone: nn.Module, report: LoadingReport) -> None:
    backbone.__dict__["loading_report"] = report


def _is_within(key: str, name: str) -> bool:
    return key == name or key.startswith(f"{name}.")


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (", ".join(names[:3]) or "nothing") + more


def _check_heads(backbone: nn.Module, metadata: CheckpointMetadata | None) -> None:
    """Heads do not show in any shape, so another number of them would pass unnoticed."""
    stored = metadata_heads(metadata) if metadata else None
    wanted = getattr(backbone, "num_heads", None)
    if metadata and stored and wanted and stored != wanted:
        raise ValueError(
            f"checkpoint has num_heads {stored}, model {wanted}: build the model with the "
            f"architecture in the file, {metadata.architecture.get('arch')!r}"
        )


def _check_names(
    missing: Sequence[str], tensors: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> None:
    unknown = [key for key in tensors if key not in state and ENCODER.match(key)]
    differences = _differences(tensors, state)
    if missing and all(map(is_layer_scale, missing)):
        raise ValueError(
            f"{len(missing)} tensors not filled: {_first(missing)}; the file has no layer scale: "
            "set layer_scale_init to None, or to 1, which leaves the function as it is"
        )
    if missing:
        # A decoder repeats the encoder's names: only where all names are strange is it a prefix.
        strange = not any(key in state for key in tensors)
        cause = _prefix_cause(missing[0], tensors) if strange else differences
        cause = cause or (
            f"the file has {_first(list(tensors))}: give its tensors timm's names ({DOCS}), or "
            "allow those by name with allow_unfilled"
        )
        raise ValueError(f"{len(missing)} tensors not filled: {_first(missing)}; {cause}")
    if unknown:
        built = visible_options(state)
        options = {k: v for k, v in visible_options(tensors).items() if v != built.get(k)}
        trained_with = ", ".join(f"{name}={value!r}" for name, value in options.items())
        cause = differences or (
            "build the model with the options the checkpoint was trained with"
            + (f": {trained_with}" if trained_with else "")
        )
        raise ValueError(f"the model has no place for {_first(unknown)}; {cause}")


def _prefix_cause(missing: str, tensors: Mapping[str, Tensor]) -> str:
    for key in tensors:
        if key.endswith(f".{missing}"):
            prefix = key.removesuffix(missing)
            return f"names in the file start with {prefix!r}: save them without it"
        if missing.endswith(f".{key}"):
            prefix = missing.removesuffix(f".{key}")
            return f"names in the model start with {prefix!r}: load into that module instead"
    return ""


def _differences(tensors: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    stored, wanted = visible_architecture(tensors), visible_architecture(state)
    return ", ".join(
        f"checkpoint is {name} {stored[name]}, model {value}"
        for name, value in wanted.items()
        if name in stored and stored[name] != value
    )


def _describe_mismatch(
    key: str, tensor: Tensor, tensors: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> str:
    cause = _differences(tensors, state) or "build the model with the checkpoint's architecture"
    return f"{key} is {tuple(tensor.shape)}, model needs {tuple(state[key].shape)}; {cause}"
