"""How far a run is from the recipe behind the published number that it is compared with.

Only what decides a number and what a record holds: epochs, batch, amount of data, pre-training,
overrides. Values that were not published are None and are not compared.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .cells import MAE, ancestors, start_of
from .record import Record

# epochs count as equal within this share: samplers round, and COCO drops pictures without objects
TOLERANCE = 0.02
PRETRAINING_DATA = "imagenet-1k"
# overrides that do not touch what is learned or measured
_NEUTRAL = re.compile(
    r"(randomness|work_dir|default_hooks|custom_hooks|visualizer|vis_backends|env_cfg|log_\w+)\b"
    r"|(train|val|test)_dataloader\..*(num_workers|persistent_workers|pin_memory|prefetch_factor"
    r"|data_root)$"
    r"|(val|test)_dataloader\.batch_size$"
)
# what the points of Figure 9 differ in: blocks and, chosen for each, epochs (Appendix A.1)
_NEUTRAL_PARTIAL = re.compile(
    rf"{_NEUTRAL.pattern}|model\.backbone\.trainable_blocks$|train_cfg\.max_epochs$"
    r"|param_scheduler\.\d+\.(total|end|T_max)$"
)
CORRUPTED_HERE = "corrupted_val"  # group of metrics on corruptions made here


@dataclass(frozen=True)
class Recipe:
    """What was published of how a number was made.

    Args:
        epochs: of the training that is evaluated.
        batch: its effective batch.
        train, evaluated: pictures; several numbers where readers count differently.
        pretrain_epochs: of the MAE; None where the number is of no MAE or that was not published.
    """

    epochs: float | None = None
    batch: int | None = None
    train: tuple[int, ...] = ()
    evaluated: tuple[int, ...] = ()
    pretrain_epochs: int | None = None


# MAE Table 9 and the official FINETUNE.md, Table 10, Table 11
_IMAGENET = Recipe(train=(1_281_167,), evaluated=(50_000,))
_FINE_TUNING = {
    "ViT-B": replace(_IMAGENET, epochs=100, batch=1024),
    "ViT-L": replace(_IMAGENET, epochs=50, batch=1024),
    "ViT-H": replace(_IMAGENET, epochs=50, batch=1024),
    "ViT-H448": _IMAGENET,
}
_LINEAR = replace(_IMAGENET, epochs=90, batch=16384)
_SCRATCH = {
    "ViT-B": replace(_IMAGENET, epochs=300, batch=4096),
    "ViT-L": replace(_IMAGENET, epochs=200, batch=4096),
    "ViT-H": replace(_IMAGENET, epochs=200, batch=4096),
}
# 117,266 of the 118,287 pictures have objects. Epochs were searched per entry; those of MAE ViT-B
# are in the official repository, issue 43.
_COCO = Recipe(train=(118_287, 117_266), evaluated=(5_000,))
# MAE Appendix A.4
_ADE20K = Recipe(epochs=100, batch=16, train=(20_210,), evaluated=(2_000,))
# the data sets' own descriptions; epochs and learning rates were not published (Appendix A.5)
_CLASSIFICATION = {
    "iNat 2017": Recipe(train=(579_184,), evaluated=(95_986,)),
    "iNat 2018": Recipe(train=(437_513,), evaluated=(24_426,)),
    "Places205": Recipe(train=(2_448_873,), evaluated=(20_500,)),
    "Places365": Recipe(train=(1_803_460,), evaluated=(36_500,)),
}
# pictures in the robustness sets; ImageNet-C has 15 corruptions at 5 severities
_ROBUSTNESS = {
    "IN-Corruption": (50_000 * 15 * 5,),
    "IN-Adversarial": (7_500,),
    "IN-Rendition": (30_000,),
    "IN-Sketch": (50_000, 50_874, 50_889),  # README, path list, archive
}
# MAE Appendix A.1: 1600 epochs behind these tables, 800 behind the ablations
_PRETRAINED_1600 = ("Table 3", "Table 4", "Table 5", "Table 6", "Table 7", "Table 12", "Table 13")


def published_recipe(table: str, row: str, column: str) -> Recipe:
    """What was published of the recipe of a cell; all None for tables other than the paper's."""
    pretrain = 1600 if table in _PRETRAINED_1600 else None
    if table.startswith("Table 1") and table[-1].isalpha() or table in ("Table 2", "Figure 9"):
        pretrain = 800
    match = re.search(r"ViT-(H448|B|L|H)", f"{column} {row}")
    model = match[0] if match else "ViT-L"  # the ablations are of ViT-L and do not repeat it
    if table == "Appendix A.2" or "scratch" in row:
        return _SCRATCH.get(model, Recipe())
    if table == "Table 13":
        name = row.removeprefix("supervised, ")
        trained = (_FINE_TUNING if name == row else _SCRATCH).get(model, Recipe())
        return replace(
            trained,
            evaluated=_ROBUSTNESS[name],
            pretrain_epochs=pretrain if name == row else None,
        )
    recipe = Recipe()
    if table == "Table 6":
        recipe = _CLASSIFICATION.get(row, Recipe())
    elif table == "Table 4" or column.startswith("COCO"):
        mae_base = model == "ViT-B" and ("MAE" in row or table == "Table 7")
        recipe = replace(_COCO, epochs=100) if mae_base else _COCO
    elif table == "Table 5" or column.startswith("ADE20K"):
        recipe = _ADE20K
    elif table == "Table 12" or column == "lin" or (table, row) == ("Figure 9", "0"):
        recipe = _LINEAR
    elif table == "Figure 9":
        recipe = replace(_IMAGENET, batch=1024)  # 50, 100 or 200 epochs, chosen per point
    elif table in ("Table 3", "Table 7") or column in ("ft", "ft acc"):
        recipe = _FINE_TUNING.get(model, Recipe())
    return replace(recipe, pretrain_epochs=pretrain)


def departures(
    name: str, records: Mapping[str, Record], place: tuple[str, str, str], metric: str
) -> list[str]:
    """How run `name` differs from the published recipe of a cell, one phrase each.

    Args:
        name: key of `records`.
        records: run name -> record; those it comes from are looked up here.
        place: table, row and column of the cell.
        metric: of the record; where several sets are evaluated at once it starts with the set.

    What the records do not say is a phrase too: a number is not taken for a reproduction where
    that cannot be told.
    """
    recipe = published_recipe(*place)
    record = records[name]
    chain = [name, *ancestors(name, records)]
    found = []
    trained = next((records[run] for run in chain if "train" in records[run].data_counts), None)
    if trained is None:
        found.append("how the model was trained is in no record here")
    else:
        found += _training(trained, recipe)
    counts, group = record.data_counts, metric.split("/")[0]
    evaluated = next((counts[key] for key in (group, "test", "val") if key in counts), None)
    if group == CORRUPTED_HERE:
        found.append("corruptions made on the fly, not the distributed files of ImageNet-C")
    elif recipe.evaluated and evaluated not in (*recipe.evaluated, None):
        found.append(f"evaluated on {evaluated:,} pictures, published {recipe.evaluated[0]:,}")
    if trained is not None and start_of(record) == MAE and recipe.pretrain_epochs is not None:
        found += _pretraining(trained, recipe.pretrain_epochs)
    for run in chain:
        changed = _changed(records[run].overrides, place[0])
        if changed:
            found.append(f"{'' if run == name else 'of the run before: '}overrides {changed}")
    return found


def _training(record: Record, recipe: Recipe) -> list[str]:
    card, samples = record.run_card, record.data_counts["train"]
    found = []
    if recipe.epochs is not None:
        try:
            epochs = card["iterations"] * card["effective_batch"] / samples
        except KeyError:
            found.append(f"epochs not recorded, published {recipe.epochs:g}")
        else:
            if abs(epochs / recipe.epochs - 1) > TOLERANCE:
                found.append(f"{epochs:.4g} epochs, published {recipe.epochs:g}")
    batch = card.get("effective_batch")
    if recipe.batch is not None and batch != recipe.batch:
        found.append(f"batch {batch or 'not recorded'}, published {recipe.batch}")
    if recipe.train and samples not in recipe.train:
        found.append(f"trained on {samples:,} pictures, published {recipe.train[0]:,}")
    return found


def _pretraining(record: Record, epochs: int) -> list[str]:
    metadata: dict[str, Any] = (record.checkpoint or {}).get("metadata") or {}
    found = []
    data = metadata.get("data")
    if data != PRETRAINING_DATA:
        found.append(f"pre-trained on {data or 'unrecorded data'}, published {PRETRAINING_DATA}")
    own = metadata.get("epochs")
    if own != epochs:
        stated = "an unrecorded number of" if own is None else own
        found.append(f"pre-trained for {stated} epochs, published {epochs}")
    return found


def _changed(overrides: Mapping[str, Any], table: str) -> str:
    neutral = _NEUTRAL_PARTIAL if table == "Figure 9" else _NEUTRAL
    return ", ".join(f"{key}={value}" for key, value in overrides.items() if not neutral.match(key))
