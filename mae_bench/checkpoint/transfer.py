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

from ..models.backbone import optional
from ..registry import WEIGHT_INITIALIZERS
from .fit import DOCS, OFFSET_TABLES, RELATIVE_TABLE, fit_tensor
from .format import CheckpointMetadata
from .loading_report import LoadingReport, make_report
from .metadata import metadata_heads
from .names import ENCODER, visible_architecture, visible_options
from .reader import Checkpoint, read_checkpoint
from .variants import is_layer_scale, match_variants

# Of a backbone's tensors, those that belong to transfer and may start afresh.
MAY_START_AFRESH = re.compile(rf"fc_norm\.|(.*\.)?({RELATIVE_TABLE}|{'|'.join(OFFSET_TABLES)})$")


def load_backbone(
    backbone: nn.Module,
    source: str | Path | Checkpoint | Mapping[str, Tensor],
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
        source: a file of any format that we read, what :func:`read_checkpoint` made of one, or
            tensors under the same names.
        allow_unfilled: names in the backbone, of tensors or of modules, that may stay at
            initialisation, because the file lacks them or has them in another shape.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a bad file (see ``read_checkpoint``), a tensor of the backbone that the file
            does not fill, a tensor of another shape, a tensor of the encoder that the backbone
            lacks, or another number of heads. The backbone is then as it was.
    """
    if isinstance(source, Mapping):
        return fill_backbone(backbone, "tensors", source, None, allow_unfilled)
    checkpoint = source if isinstance(source, Checkpoint) else read_checkpoint(source)
    tensors, metadata, left_out = checkpoint.fit(backbone.state_dict())
    return fill_backbone(
        backbone,
        str(checkpoint.path),
        tensors,
        metadata,
        allow_unfilled,
        left_out,
        checkpoint.notes,
    )


def fill_backbone(
    backbone: nn.Module,
    where: str,
    tensors: Mapping[str, Tensor],
    metadata: CheckpointMetadata | None,
    allow_unfilled: Sequence[str] = (),
    left_out: Mapping[str, int] | None = None,
    notes: Sequence[str] = (),
) -> LoadingReport:
    """Put tensors under a backbone's names into it; see :func:`load_backbone`.

    Args:
        backbone: module with timm's parameter names.
        where: the file, for errors and report.
        tensors: under the backbone's names, and others beside.
        metadata: what is known of them.
        allow_unfilled: names that may stay at initialisation.
        left_out, notes: for the report.

    Raises:
        ValueError: as :func:`load_backbone`.
    """
    state = backbone.state_dict()
    for name in allow_unfilled:
        if not any(_is_within(key, name) for key in state):
            raise ValueError(f"allow_unfilled: the backbone has no tensor or module named {name!r}")

    fresh = optional(backbone, "fresh")

    def may_stay(key: str) -> bool:
        allowed = key in fresh or any(_is_within(key, name) for name in allow_unfilled)
        neutral = is_layer_scale(key) and bool((state[key] == 1).all())
        return allowed or neutral or MAY_START_AFRESH.match(key) is not None

    try:
        check_heads(backbone, metadata)
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
                raise ValueError(describe_mismatch(key, fitted, tensors, state))
    except ValueError as error:
        raise ValueError(f"{where}: {error}; the model was not changed") from None

    backbone.load_state_dict(new, strict=False)
    changed = [key for key in new if new[key] is not tensors[key]]
    report = make_report(where, tensors, state, new, changed, left_out)
    report = replace(report, folded=folded, notes=list(notes))
    backbone.__dict__["loading_report"] = report
    return report


@WEIGHT_INITIALIZERS.register_module()
class PretrainedBackbone:
    """MMEngine initialiser that loads a checkpoint into the backbone whose ``init_cfg`` it is.

    Config: ``init_cfg=dict(type="mae_bench.PretrainedBackbone", checkpoint=PATH)``. The report
    is logged, and kept as ``backbone.loading_report`` for the record of the run.

    Args:
        checkpoint: file, see :func:`load_backbone`.
        allow_unfilled: names that may stay at initialisation.
        key, prefix: of :func:`read_checkpoint`.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        allow_unfilled: Sequence[str] = (),
        key: str | None = None,
        prefix: str | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.allow_unfilled = allow_unfilled
        self.key, self.prefix = key, prefix

    def __call__(self, module: nn.Module) -> None:
        """Load into ``module``, the backbone that holds the ``init_cfg``.

        Raises:
            FileNotFoundError, ValueError: as :func:`load_backbone`.
        """
        read = read_checkpoint(self.checkpoint, self.key, self.prefix)
        report = load_backbone(module, read, self.allow_unfilled)
        print_log(report.summary(), logger="current")
        # MMEngine keeps this table during init_weights only, to log where each parameter is from.
        if hasattr(module, "_params_init_info"):
            update_init_info(module, init_info=f"PretrainedBackbone: loaded {self.checkpoint}")


def _is_within(key: str, name: str) -> bool:
    return key == name or key.startswith(f"{name}.")


def first_names(names: Sequence[str]) -> str:
    """The first three names and how many more there are; "nothing" where there is none."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (", ".join(names[:3]) or "nothing") + more


def check_heads(backbone: nn.Module, metadata: CheckpointMetadata | None) -> None:
    """Heads do not show in any shape, so another number of them would pass unnoticed."""
    stored = metadata_heads(metadata) if metadata else None
    wanted = optional(backbone, "num_heads")
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
            f"{len(missing)} tensors not filled: {first_names(missing)}; the file has no layer "
            "scale: set layer_scale_init to None, or to 1, which leaves the function as it is"
        )
    if missing == ["cls_token"]:
        raise ValueError("the file has no class token: set class_token=False")
    if missing == ["reg_token"]:
        raise ValueError("the file has no register tokens: set register_tokens=0")
    if missing:
        # A decoder repeats the encoder's names: only where all names are strange is it a prefix.
        strange = not any(key in state for key in tensors)
        cause = _prefix_cause(missing[0], tensors) if strange else differences
        cause = cause or (
            f"the file has {first_names(list(tensors))}: give its tensors timm's names ({DOCS}), "
            "or allow those by name with allow_unfilled"
        )
        raise ValueError(f"{len(missing)} tensors not filled: {first_names(missing)}; {cause}")
    if unknown:
        built = visible_options(state)
        options = {k: v for k, v in visible_options(tensors).items() if v != built.get(k)}
        trained_with = ", ".join(f"{name}={value!r}" for name, value in options.items())
        cause = differences or (
            "build the model with the options the checkpoint was trained with"
            + (f": {trained_with}" if trained_with else "")
        )
        raise ValueError(f"the model has no place for {first_names(unknown)}; {cause}")


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


def describe_mismatch(
    key: str, tensor: Tensor, tensors: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> str:
    """Say that a tensor has another shape than the model's, and the likely cause."""
    cause = _differences(tensors, state) or "build the model with the checkpoint's architecture"
    return f"{key} is {tuple(tensor.shape)}, model needs {tuple(state[key].shape)}; {cause}"
