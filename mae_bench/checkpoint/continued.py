"""Go on pre-training from a file: encoder and, where the file has one, decoder."""

from dataclasses import replace
from pathlib import Path

from mmengine.logging import print_log
from torch import Tensor

from ..models import MAE
from ..models.position import resize_position_table
from ..registry import WEIGHT_INITIALIZERS
from .fit import position_grid
from .loading_report import LoadingReport, Resized
from .reader import Checkpoint, read_checkpoint
from .transfer import load_backbone

PREFIX = "decoder."


def load_autoencoder(model: MAE, source: str | Path | Checkpoint) -> LoadingReport:
    """Load an autoencoder from a file of any format that we read.

    A file of the encoder alone leaves the decoder as it is. A decoder of another grid gets its
    position table resized.

    Args:
        model: the autoencoder.
        source: the file, or what :func:`read_checkpoint` made of it.

    Returns:
        the report of :func:`load_backbone`, with the decoder's tensors in it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: see :func:`load_backbone`; or a decoder that is not exactly the model's. The
            decoder is then as it was.
    """
    checkpoint = source if isinstance(source, Checkpoint) else read_checkpoint(source)
    path = checkpoint.path
    report = load_backbone(model.backbone, checkpoint)
    tensors, metadata, _ = checkpoint.fit(model.backbone.state_dict())
    stored = {k.removeprefix(PREFIX): v for k, v in tensors.items() if k.startswith(PREFIX)}
    if not stored:
        return report
    state = model.decoder.state_dict()
    resized = []
    positions = stored.get("pos_embed")
    if positions is not None and positions.shape != state["pos_embed"].shape:
        grid = position_grid(positions.shape[1], metadata, model.decoder.grid)
        stored["pos_embed"] = resize_position_table(positions, grid, model.decoder.grid)
        shapes = list(positions.shape), list(stored["pos_embed"].shape)
        resized.append(Resized(f"{PREFIX}pos_embed", *shapes))
    wrong = _differences(stored, state)
    if wrong:
        raise ValueError(
            f"{path}: its decoder differs in {wrong[0]}{' and others' * (len(wrong) > 1)}: give "
            "model.decoder its size, or a file of the encoder alone"
        )
    model.decoder.load_state_dict(stored)
    names = [PREFIX + name for name in stored]
    changed = {entry.name for entry in resized}
    numbers = {
        "loaded": sum(stored[name].numel() for name in stored if PREFIX + name not in changed),
        "resized": sum(stored[name].numel() for name in stored if PREFIX + name in changed),
        "dropped": -sum(tensors[name].numel() for name in names),
    }
    report = replace(
        report,
        loaded=report.loaded + [name for name in names if name not in changed],
        resized=report.resized + resized,
        dropped=[name for name in report.dropped if name not in names],
        values={kind: n + numbers.get(kind, 0) for kind, n in report.values.items()},
    )
    model.backbone.__dict__["loading_report"] = report
    return report


def _differences(stored: dict[str, Tensor], state: dict[str, Tensor]) -> list[str]:
    """Names that only one side has, or in another shape."""
    lone = sorted(set(stored) ^ set(state))
    shared = [name for name in state if name in stored]
    return lone + [name for name in shared if stored[name].shape != state[name].shape]


@WEIGHT_INITIALIZERS.register_module()
class PretrainedAutoencoder:
    """MMEngine initialiser that loads a checkpoint into the autoencoder whose ``init_cfg`` it is.

    The report is logged, and kept as ``backbone.loading_report`` for the record of the run.

    Args:
        checkpoint: file, see :func:`load_autoencoder`.
    """

    def __init__(self, checkpoint: str | Path) -> None:
        self.checkpoint = checkpoint

    def __call__(self, module: MAE) -> None:
        """Load into ``module``; raises as :func:`load_autoencoder`."""
        report = load_autoencoder(module, self.checkpoint)
        print_log(report.summary(), logger="current")
