"""A whole model, backbone, neck and heads: written, read back, and taken as a start."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..distributed import unwrap
from ..models.backbone import optional
from .adapters.openmmlab_model import PARTS
from .fit import position_grid
from .format import CheckpointMetadata, save_checkpoint
from .loading_report import LoadingReport, make_report
from .reader import Checkpoint, read_checkpoint
from .transfer import check_heads, describe_mismatch, fill_backbone, first_names
from .variants import match_variants

BACKBONE = "backbone."
# Mean and std belong to the config, not to what was learned.
PREPROCESSOR = "data_preprocessor."


def load_model(model: nn.Module, source: str | Path | Checkpoint) -> LoadingReport:
    """Load a whole model that was trained with the same config.

    Args:
        model: has a ``backbone``, whose names carry no prefix in our format.
        source: a file of any format that holds all of the model, or what :func:`read_checkpoint`
            made of one.

    Returns:
        the report, which ``model.backbone.loading_report`` keeps too.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a bad file, or names or shapes that are not exactly the model's. The model is
            then as it was.
    """
    inner: Any = unwrap(model)
    checkpoint = source if isinstance(source, Checkpoint) else read_checkpoint(source)
    path = checkpoint.path
    state = _state(inner)
    tensors, metadata, left_out = _under_names_of(state, checkpoint)
    backbone = {n.removeprefix(BACKBONE): t for n, t in state.items() if n.startswith(BACKBONE)}
    inside, folded = match_variants(_part(tensors, BACKBONE), backbone)
    tensors = {n: t for n, t in tensors.items() if not n.startswith(BACKBONE)}
    tensors |= {BACKBONE + name: tensor for name, tensor in inside.items()}
    missing = [key for key in state if key not in tensors]
    extra = [key for key in tensors if key not in state]
    try:
        check_heads(inner.backbone, metadata)
        if missing or extra:
            raise ValueError(
                f"is of another model: lacks {first_names(missing)}; has besides "
                f"{first_names(extra)}; use the config it was trained with"
            )
        for key, tensor in tensors.items():
            if tensor.shape != state[key].shape:
                raise ValueError(describe_mismatch(key, tensor, tensors, state))
    except ValueError as error:
        raise ValueError(f"{path}: {error}; the model was not changed") from None
    inner.load_state_dict(tensors, strict=False)
    report = make_report(str(path), tensors, state, tensors, [], left_out)
    report = replace(report, folded=folded, notes=checkpoint.notes)
    inner.backbone.__dict__["loading_report"] = report
    return report


def start_model(model: nn.Module, source: str | Path | Checkpoint) -> LoadingReport:
    """Load all parts that a file has, to train them on for other data.

    The backbone is loaded as by :func:`load_backbone`. Output layers of another number of classes
    stay at their initialisation, and so do parts that the file lacks as a whole.

    Args:
        model: has a ``backbone``.
        source: as of :func:`load_model`.

    Returns:
        the report, which ``model.backbone.loading_report`` keeps too.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a bad file, a backbone that does not fit, or a part of another structure. The
            heads are then as they were.
    """
    inner: Any = unwrap(model)
    checkpoint = source if isinstance(source, Checkpoint) else read_checkpoint(source)
    path = checkpoint.path
    state = _state(inner)
    tensors, metadata, left_out = _under_names_of(state, checkpoint)
    heads = {n: t for n, t in tensors.items() if not n.startswith(BACKBONE)}
    wanted = {n: t for n, t in state.items() if not n.startswith(BACKBONE)}
    parts = {_top(name) for name in heads} & {_top(name) for name in wanted}
    extra = [name for name in heads if _top(name) in parts and name not in wanted]
    missing = [name for name in wanted if _top(name) in parts and name not in heads]
    if extra or missing:
        raise ValueError(
            f"{path}: its {_top((extra + missing)[0])} is of another structure: lacks "
            f"{first_names(missing)}; has besides {first_names(extra)}; use the same head, or "
            "start the backbone alone, with --checkpoint"
        )
    common = [name for name in wanted if name in heads]
    for name in common:
        if heads[name].shape[1:] != wanted[name].shape[1:]:
            raise ValueError(f"{path}: {describe_mismatch(name, heads[name], heads, wanted)}")
    new = {name: heads[name] for name in common if heads[name].shape == wanted[name].shape}
    inside = fill_backbone(inner.backbone, str(path), _part(tensors, BACKBONE), metadata)
    inner.load_state_dict(new, strict=False)
    rest = make_report(str(path), heads, wanted, new, [], left_out)
    report = LoadingReport(
        checkpoint=str(path),
        loaded=[BACKBONE + name for name in inside.loaded] + rest.loaded,
        resized=[entry._replace(name=BACKBONE + entry.name) for entry in inside.resized],
        dropped=inside.dropped + rest.dropped,
        initialised=[BACKBONE + name for name in inside.initialised] + rest.initialised,
        values={kind: number + rest.values[kind] for kind, number in inside.values.items()},
        folded=inside.folded,
        notes=checkpoint.notes + _remade(heads, wanted, new),
    )
    inner.backbone.__dict__["loading_report"] = report
    return report


def export_model(model: nn.Module, path: str | Path, metadata: CheckpointMetadata) -> None:
    """Write a model, the way :func:`load_model` and :func:`load_backbone` read it.

    Backbone tensors have their own (timm's) names; those of decoder, neck and heads keep the name
    of their module as prefix, so one file serves any later task and a test of this one.

    Raises:
        ValueError: the metadata has another patch size or grid than the backbone, or see
            ``save_checkpoint``.
    """
    inner: Any = unwrap(model)
    tensors = model_tensors(inner)
    # Its kernel may be larger, or be applied before others.
    patch_size = inner.backbone.patch_size
    if patch_size != metadata.patch_size:
        raise ValueError(
            f"{path}: the metadata says patch_size {metadata.patch_size}, the backbone has "
            f"{patch_size}: correct the metadata"
        )
    # Others, such as SAM's map of positions, are not resized.
    if "pos_embed" in tensors and optional(inner.backbone, "grid") is not None:
        position_grid(tensors["pos_embed"].shape[1], metadata, metadata.grid)
    save_checkpoint(path, tensors, metadata)


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Tensors of a model under the names that a file of ours has: a backbone's without prefix."""
    return {name.removeprefix(BACKBONE): tensor for name, tensor in _state(model).items()}


def _state(model: nn.Module) -> dict[str, Tensor]:
    state = model.state_dict()
    return {name: tensor for name, tensor in state.items() if not name.startswith(PREPROCESSOR)}


def _top(name: str) -> str:
    return name.split(".")[0]


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _under_names_of(
    state: Mapping[str, Tensor], checkpoint: Checkpoint
) -> tuple[dict[str, Tensor], CheckpointMetadata | None, dict[str, int]]:
    """Tensors of all parts under the names of a model, metadata, and foreign names left out.

    What is of no other part of the model is of its backbone.

    Raises:
        ValueError: a tensor with no equal here.
    """
    stored = checkpoint.stored
    if all(name in stored for name in state):  # as the model itself was saved
        own = {name: t for name, t in stored.items() if not name.startswith(PREPROCESSOR)}
        return own, checkpoint.metadata, {}
    tensors, dropped, _ = checkpoint.imported
    parts = {_top(name) for name in state if not name.startswith(BACKBONE)} | set(PARTS)
    named = {n if _top(n) in parts else BACKBONE + n: t for n, t in tensors.items()}
    return named, checkpoint.metadata, dropped


def _remade(
    stored: Mapping[str, Tensor], state: Mapping[str, Tensor], new: Mapping[str, Tensor]
) -> list[str]:
    """Say which output layers start afresh, for another number of classes."""
    return [
        f"starts afresh for another number of classes: {name} {tuple(stored[name].shape)} -> "
        f"{tuple(state[name].shape)}"
        for name in state
        if name in stored and name not in new
    ]
